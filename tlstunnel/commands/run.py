"""
C{tlstunnel OPTIONS}: a tunnel in the foreground that logs to standard error.
"""

from __future__ import annotations

import os
import select
import sys
from functools import partial
from typing import Any, cast

from twisted.logger import ILogObserver, LogLevel, globalLogBeginner
from twisted.python import usage

from tlstunnel.commands import COMMANDS
from tlstunnel.errors import ConfigurationError, nearest
from tlstunnel.program.commandline import TunnelOptions, accepting
from tlstunnel.program.jsonlines import jsonLine
from tlstunnel.program.log import lines, textLine
from tlstunnel.program.options import LOG_OPTIONS
from tlstunnel.program.output import LineOutput
from tlstunnel.program.workers import WORKER, makeProcess


def _installReactor() -> Any:
    """
    The reactor of this process: our own, where there is epoll and nobody chose another one before.
    """
    if hasattr(select, "epoll") and "twisted.internet.reactor" not in sys.modules:
        from tlstunnel.net.reactor import install

        install()
    from twisted.internet import reactor

    return reactor


reactor: Any = _installReactor()


@accepting(LOG_OPTIONS)
class RunOptions(TunnelOptions):
    """
    The options of a tunnel in the foreground.
    """

    def getUsage(self, width: int | None = None) -> str:
        """
        The help text, for people.
        """
        commands = "".join(
            f"  tlstunnel {name:16} {what}\n" for name, (_, _, what) in COMMANDS.items()
        )
        return f"{super().getUsage(width)}\nCommands, each with its own --help:\n{commands}"

    def parseArgs(self, *words: str) -> None:
        """
        There are only options, but for a command, which comes first.
        """
        if words:
            remedy = "put it before all options" if words[0] in COMMANDS else ""
            remedy = remedy or nearest(words[0], COMMANDS) or "each option begins with a hyphen"
            raise usage.UsageError(f"{words[0]!r} is neither an option nor a command; {remedy}")


def startLogging(options: RunOptions) -> None:
    """
    Log to standard error as C{options} say.
    """
    level = LogLevel.debug if options["verbose"] else LogLevel.info
    line = partial(jsonLine if options["log-json"] else textLine, worker=os.environ.get(WORKER, ""))
    observer = lines(LineOutput(sys.stderr.fileno()).write, line, level)
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, observer)], redirectStandardIO=False)


def main(options: RunOptions) -> int:
    """
    Run a tunnel until a signal ends it.

    @return: 0 after an orderly stop, 1 if it could not start.
    """
    try:
        process = makeProcess(options, reactor, ownLog=True)
        process.privilegedStartService()
    except ConfigurationError as error:
        print(f"tlstunnel: {error}", file=sys.stderr)
        return 1
    startLogging(options)
    reactor.callWhenRunning(process.startService)
    reactor.addSystemEventTrigger("before", "shutdown", process.stopService)
    reactor.run()
    return 0
