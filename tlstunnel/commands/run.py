"""
C{tlstunnel OPTIONS}: a tunnel in the foreground that logs to standard error.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    jsonFileLogObserver,
    textFileLogObserver,
)

from tlstunnel.errors import ConfigurationError
from tlstunnel.service import TunnelService
from tlstunnel.tap import Options

reactor: Any = _reactor


class RunOptions(Options):
    """
    The options of a tunnel in the foreground.
    """

    optFlags = [
        ["log-json", None, "log JSON lines"],
        ["verbose", "v", "log more"],
    ]

    def getUsage(self, width: int | None = None) -> str:
        """
        The help text, for people.
        """
        ours = (
            "Log (to standard error; under twistd its own options decide):\n"
            "      --log-json             one JSON object a line\n"
            "  -v, --verbose              also what is of interest in search of a fault\n\n"
        )
        commands = (
            "\nCommands, each with its own --help:\n"
            "  tlstunnel identity         keep identities and trust in a pool\n"
            "  tlstunnel demo             show it working, on this machine alone\n"
        )
        return super().getUsage(width).replace("Help:\n", ours + "Help:\n") + commands


def startLogging(options: RunOptions) -> None:
    """
    Log to standard error as C{options} say.
    """
    file = sys.stderr
    observer: ILogObserver = (
        jsonFileLogObserver(file, recordSeparator="")
        if options["log-json"]
        else textFileLogObserver(file)
    )
    level = LogLevel.debug if options["verbose"] else LogLevel.info
    filtered = FilteringLogObserver(observer, [LogLevelFilterPredicate(defaultLogLevel=level)])
    globalLogBeginner.beginLoggingTo([filtered], redirectStandardIO=False)


def main(options: RunOptions) -> int:
    """
    Run a tunnel until a signal ends it.

    @return: 0 after an orderly stop, 1 if it could not start.
    """
    service = TunnelService(options["tunnel"], reactor)
    try:
        service.privilegedStartService()
    except ConfigurationError as error:
        print(f"tlstunnel: {error}", file=sys.stderr)
        return 1
    startLogging(options)
    reactor.callWhenRunning(service.startService)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return 0
