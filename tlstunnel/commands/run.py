"""
C{tlstunnel OPTIONS}: a tunnel in the foreground that logs to standard error.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Sized
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from twisted.logger import ILogObserver, LogLevel, globalLogBeginner
from twisted.python import usage

from tlstunnel.commands import COMMANDS
from tlstunnel.errors import ConfigurationError, nearest
from tlstunnel.identity.keyprovider import PROVIDER
from tlstunnel.program.check import check
from tlstunnel.program.commandline import TunnelOptions
from tlstunnel.program.jsonlines import jsonLine
from tlstunnel.program.keyproviders import loadProvider
from tlstunnel.program.log import lines, textLine
from tlstunnel.program.makeprocess import makeProcess, sourceOf
from tlstunnel.program.options import LOG_OPTIONS, VIEW_OPTIONS
from tlstunnel.program.output import LineOutput, complain
from tlstunnel.program.problems import Problems
from tlstunnel.program.process import Process
from tlstunnel.program.show import show
from tlstunnel.program.single import Single, descriptorOf
from tlstunnel.program.sources import ISource
from tlstunnel.program.tableoptions import accepting
from tlstunnel.tls.attempts import attempts

#: What the process ends with where a token has refused a PIN (EX_NOPERM of sysexits.h): whoever
#: starts it again and again must not do so then, as tokens lock themselves.
PIN_REFUSED = 77


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


@accepting((*VIEW_OPTIONS, *LOG_OPTIONS))
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
            for name, values in self.given.items():
                if taken := [each for each in values if str(each).startswith("-")]:
                    # What should follow that one is left over.
                    problem = f"has no value, as {taken[0]} follows it"
                    raise usage.UsageError(f"--{name}: {problem}; give it one, or leave it out")
            remedy = "put it before all options" if words[0] in COMMANDS else ""
            remedy = remedy or nearest(words[0], COMMANDS) or "each option begins with a hyphen"
            raise usage.UsageError(f"{words[0]!r} is neither an option nor a command; {remedy}")

    def postOptions(self) -> None:
        """
        Besides, what tells of a file needs one.
        """
        views = [each.name for each in VIEW_OPTIONS if each.name in self.given]
        if len(views) > 1:
            names = ", ".join(map("--{}".format, views))
            raise usage.UsageError(f"{names}: all were given; give one of them")
        if views and "config" not in self.given:
            raise usage.UsageError(f"--{views[0]}: is about a file; give --config too")
        super().postOptions()


def viewing(options: RunOptions) -> int:
    """
    Show what is in the file.

    @return: 0, or 1 if anything is wrong with it.
    """
    try:
        text = show(options.configuration())
    except Problems as error:
        # What is shown may go into a file.
        complain(str(error))
        return 1
    print(text, end="")
    return 0


def checking(options: RunOptions) -> int:
    """
    Tell everything that is wrong with the file, and with what it names.

    @return: 0, or 1 if anything is.
    """
    try:
        configuration, problems = options.examination()
    except Problems as error:
        print(error)
        return 1
    try:
        loadProvider(configuration)
    except ConfigurationError as error:
        problems.append(configuration.problemOf("process", error, PROVIDER))
    # Also beside tunnels that are wrong, the others are looked at.
    found = configuration.inOrder([*problems, *check(configuration, datetime.now(UTC))])
    for each in found:
        print(each)
    if not all(each.isWarning for each in found):
        return 1
    but = f" but for {_counted(found, 'warning')}" if found else ""
    what = [_counted(configuration.tunnels, "tunnel")]
    if configuration.poolService is not None:
        what.append("a pool service")
        what = what if configuration.tunnels else what[1:]
    print(f"{options['config']}: all is well{but}: {' and '.join(what)}")
    return 0


def _counted(several: Sized, name: str) -> str:
    return f"{len(several)} {name}{'s' if len(several) != 1 else ''}"


def startLogging(
    isVerbose: bool, asJSON: bool, usual: Any = LogLevel.info, worker: str = ""
) -> None:
    """
    Log to standard error.

    @param usual: the least level that is logged, unless that is all.
    @param worker: the number of this process among the workers, if it is one.
    """
    level = LogLevel.debug if isVerbose else usual
    line = partial(jsonLine if asJSON else textLine, worker=worker)
    # The system's log has a way of its own: see tlstunnel.program.inetd.
    write = getattr(sys.stderr, "writeLine", None) or LineOutput(sys.stderr.fileno()).write
    observer = lines(write, line, level)
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, observer)], redirectStandardIO=False)


def main(options: RunOptions) -> int:
    """
    Run a tunnel until a signal ends it.

    @return: 0 after an orderly stop, 1 if it could not start.
    """
    if options["check"]:
        return checking(options)
    if options["show"]:
        return viewing(options)
    if options["config"] is None and descriptorOf(options["tunnel"]) is not None:
        return servingOne(options)
    return serving(sourceOf(options))


def serving(source: ISource) -> int:
    """
    Serve what C{source} describes until a signal ends it.

    @return: 0 after an orderly stop, 1 if it could not start, or L{PIN_REFUSED}.
    """
    try:
        process, settings = makeProcess(source, reactor, ownLog=True)
        process.privilegedStartService()
    except ConfigurationError as error:
        complain(str(error))
        return PIN_REFUSED if attempts.areAny else 1
    startLogging(settings["verbose"], settings["log-json"])
    serve(process)
    return 0


def servingOne(options: RunOptions) -> int:
    """
    Serve the one connection that there is already, and end with it.

    @return: 0 after a clean end, else 1, and standard error says why.
    """
    startLogging(options["verbose"], options["log-json"], LogLevel.warn)
    try:
        if options["workers"] > 1:
            raise ConfigurationError(
                f"`workers` {options['workers']}",
                "means nothing for one connection",
                "leave it out",
            )
        why = Single(options["tunnel"], reactor, options["verbose"]).run()
    except ConfigurationError as error:
        why = str(error)
    if why:
        complain(str(why))
    return 1 if why else 0


def serve(process: Process) -> None:
    """
    Let C{process} serve until it has ended in order.
    """
    reactor.callWhenRunning(process.startService)
    reactor.addSystemEventTrigger("before", "shutdown", process.stopService)
    reactor.run()
