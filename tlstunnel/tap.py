"""
What twistd needs: the options, the service, and a log that waits for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from twisted.application.service import IService
from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python import usage
from zope.interface import provider

from tlstunnel.errors import ConfigurationError
from tlstunnel.program import signals
from tlstunnel.program.commandline import TunnelOptions
from tlstunnel.program.log import lines, textLine
from tlstunnel.program.makeprocess import makeProcess, sourceOf
from tlstunnel.program.output import LineOutput, ascribed, complain
from tlstunnel.program.syslog import PATHS, SyslogOutput, syslogLines
from tlstunnel.tls import separation

_STANDARD_OUTPUT = 1


class Logs:
    """
    What writes the log where twistd would wait for whoever reads it.  There is one twistd in a
    process, and it takes a logger by its name only.

    @ivar tag: who we are for the system's log.
    """

    tag = "twisted"
    _syslog: SyslogOutput | None = None
    _standard: LineOutput | None = None

    def choose(self, twistd: MutableMapping[str, Any]) -> None:
        """
        Let twistd use one of ours, unless somebody has chosen another, or a file: that is written
        at once, and twistd rotates it.

        @param twistd: its options, read but not looked at yet.
        """
        if twistd["logger"] is not None:
            return
        if twistd["syslog"]:
            self.tag = twistd["prefix"]
            for path in PATHS:
                with suppress(OSError):
                    self._syslog = SyslogOutput(path)
                    twistd["logger"] = f"{__name__}.logs.system"
                    return
        elif twistd["nodaemon"] and twistd["logfile"] in (None, "", "-"):
            with suppress(OSError):
                self._standard = LineOutput(_STANDARD_OUTPUT)
                twistd["logger"] = f"{__name__}.logs.standard"

    def system(self) -> Callable[[LogEvent], None]:
        """
        Writes to the system's log.
        """
        assert self._syslog is not None
        return _observer(self._syslog.write, partial(syslogLines, tag=self.tag))

    def standard(self) -> Callable[[LogEvent], None]:
        """
        Writes to standard output.
        """
        assert self._standard is not None
        return _observer(self._standard.write, textLine)


def _observer(
    write: Callable[[str], bool], line: Callable[[LogEvent], str]
) -> Callable[[LogEvent], None]:
    return cast(
        Callable[[LogEvent], None], provider(ILogObserver)(lines(write, line, LogLevel.info))
    )


logs = Logs()


class Options(TunnelOptions):
    """
    The options of a tunnel under twistd.
    """

    parent: Any = None

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Twistd would say what is wrong below the whole help.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            complain(f"{error}\nsee 'twistd tlstunnel --help'")
            raise SystemExit(2) from None

    def postOptions(self) -> None:
        """
        All is read.
        """
        super().postOptions()
        if self.parent is not None:
            logs.choose(self.parent)


def makeService(options: Options) -> IService:
    """
    The service for twistd, with its keys read and its sockets bound, so that what is wrong is said
    in one line before twistd goes to the background.
    """
    from twisted.internet import reactor

    try:
        signals.hold()
        process, _ = makeProcess(sourceOf(options), reactor, ownLog=False)
        process.privilegedStartService()
        if separation.process.token and options.parent and not options.parent["nodaemon"]:
            # What a provider has opened is of no use to the child.
            raise ConfigurationError(
                separation.process.token,
                "refers to a key in a token, which does not follow twistd to the background",
                "give twistd --nodaemon, or run 'tlstunnel'",
            )
    except ConfigurationError as error:
        raise SystemExit(ascribed(str(error))) from None
    except OSError as error:
        raise SystemExit(ascribed(error.strerror or str(error))) from None
    return process
