"""
C{tlstunnel probe}: what a server speaks, what it shows, and whether a tunnel would trust it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from tlstunnel.errors import ConfigurationError
from tlstunnel.probe.question import Place, Question, identityAt, placeOf
from tlstunnel.probe.report import USAGE, Report
from tlstunnel.program.configure import describe
from tlstunnel.program.option import Option, read
from tlstunnel.program.options import TUNNEL_OPTIONS
from tlstunnel.program.syntax import ProgramOptions
from tlstunnel.tunnel.limits import Limits

#: The exit code after Ctrl-C, as shells have it.
INTERRUPTED = 130

#: The options of a tunnel that mean something here, too.
SHARED = (
    "starttls",
    "dialect-option",
    "remote-id",
    "local-id",
    "pool",
    "trust",
    "pin",
    "dane-resolver",
    "alpn",
    "minimum-tls",
)

_BY_NAME = {each.name: each for each in TUNNEL_OPTIONS}

# What nobody listens at.
_NOWHERE = "127.0.0.1:0"

#: Seconds that each step may take, by default.
LIMITS = Limits(connect=10, connectTotal=20, greeting=30, negotiation=20, handshake=15)


class AskingServers(ProgramOptions):
    """
    The options of a command that goes to a server.

    @ivar given: the values of options that tunnels have, too.
    """

    optParameters: Any = [
        ["timeout", None, None, "Seconds that each step may take, instead of 10 to 30."]
    ]

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, list[Any]] = {}

    def valueOf(self, option: str) -> str:
        """
        What the help calls the value of an option.
        """
        shared = {each.short or each.name: each.argument for each in _shared()}
        shared |= {each.name: each.argument for each in _shared()}
        return shared.get(option, {"pem": "FILE", "timeout": "SECONDS"}.get(option, "VALUE"))

    def question(self, place: Place, isThorough: bool = False) -> Question:
        """
        What is asked.

        @raise ConfigurationError: something about it is wrong.
        """
        given: Mapping[str, object] = {
            **self.given,
            "client": [True],
            "local": [_NOWHERE],
            "remote": [str(place.address)],
            "starttls": [place.dialect],
        }
        values = read(given, TUNNEL_OPTIONS)
        if not values["remote-id"]:
            values["remote-id"] = (str(identityAt(place.address)),)
        tunnel = describe(values)
        if tunnel.believesPins and "remote-id" not in self.given:
            # The key alone says enough.
            tunnel = replace(tunnel, remoteID=None)
        return Question(replace(tunnel, limits=self._limits()), place.guesses, isThorough)

    def _limits(self) -> Limits:
        if self["timeout"] is None:
            return LIMITS
        try:
            seconds = float(self["timeout"])
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 3600:
            raise ConfigurationError(
                f"--timeout {self['timeout']}", "is no number of seconds", "give one such as 10"
            )
        return Limits(
            connect=seconds,
            connectTotal=2 * seconds,
            greeting=seconds,
            negotiation=seconds,
            handshake=seconds,
        )


def _shared() -> tuple[Option, ...]:
    return tuple(_BY_NAME[name] for name in SHARED)


def _take(option: Option) -> Any:
    def take(self: AskingServers, value: str) -> None:
        self.given.setdefault(option.name, []).append(value)

    take.__doc__ = option.help.replace("`", "--")
    return take


for _each in _shared():
    for _name in filter(None, (_each.name, _each.short)):
        setattr(AskingServers, "opt_" + _name.replace("-", "_"), _take(_each))


class ProbeOptions(AskingServers):
    """
    The options of C{probe}.
    """

    arguments = ("HOST",)
    synopsis = "Usage: tlstunnel probe HOST[:PORT] [--starttls NAME] [-R ID] [options]"
    longdesc = (
        "Goes to a server as a client tunnel would, by the same code, and says what it speaks, "
        "what it shows and whether it would be trusted; nothing is sent inside TLS. The last line "
        "is the verdict; the exit code is 0 if it is good, 1 not trusted, 2 a mistake in the "
        "command line, 3 no TLS, 4 no connection. Port and protocol are guessed from each other."
    )
    optFlags = [
        ["json", None, "As JSON."],
        ["all", None, "Look at every address, and try every version of TLS."],
        ["verbose", "v", "Also what is said in clear before TLS."],
    ]
    optParameters = [
        *AskingServers.optParameters,
        ["pem", None, None, "Save the certificates that the server shows in this file."],
    ]


def shown(report: Report, options: ProbeOptions) -> str:
    """
    A report as it was asked for.
    """
    if options["json"]:
        from tlstunnel.probe.document import document

        return json.dumps(document(report), indent=1) + "\n"
    from tlstunnel.probe.text import render

    return render(report, bool(options["verbose"]))


def save(report: Report, file: Path) -> None:
    """
    Save the certificates that were shown.

    @raise ConfigurationError: the file cannot be written.
    """
    from ssl import DER_cert_to_PEM_cert

    if not report.chain:
        print(f"tlstunnel: no certificate was shown, and {file} is not written", file=sys.stderr)
        return
    try:
        file.write_text("".join(DER_cert_to_PEM_cert(each.der) for each in report.chain))
    except OSError as error:
        raise ConfigurationError(
            f"--pem {file}", f"cannot be written ({error.strerror})", "give another file"
        ) from None


def ask(question: Question, reactor: Any = None) -> Report | None:
    """
    Find out.

    @return: L{None} if the user does not want to know any more.
    @raise ConfigurationError: something that is needed is missing or wrong.
    """
    if reactor is None:
        from twisted.internet import reactor
    from tlstunnel.probe.inquiry import Inquiry
    from tlstunnel.program.lookups import abandonAtEnd

    abandonAtEnd(reactor)
    inquiry = Inquiry(question, reactor)
    found: list[Report | Failure] = []

    def begin() -> None:
        running = Deferred.fromCoroutine(inquiry.run())
        running.addBoth(end)
        stopping.append(running)

    def end(result: Report | Failure) -> None:
        found.append(result)
        if reactor.running:
            reactor.stop()

    def leave() -> None:
        for each in stopping:
            each.cancel()

    stopping: list[Deferred[Any]] = []
    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", leave)
    reactor.run()
    (result,) = found
    if isinstance(result, Failure):
        if result.check(CancelledError):
            return None
        result.raiseException()
    assert isinstance(result, Report)
    return result


def main(options: ProbeOptions) -> int:
    """
    Probe a server.

    @return: what comes of it; see L{tlstunnel.probe.report}.
    """
    try:
        given = options.given.get("starttls", [None])
        if len(given) > 1:
            raise ConfigurationError("--starttls", f"has {len(given)} values", "give one")
        question = options.question(placeOf(options["host"], given[0]), bool(options["all"]))
        report = ask(question)
        if report is None:
            print("tlstunnel: interrupted", file=sys.stderr)
            return INTERRUPTED
        print(shown(report, options), end="", flush=True)
        if options["pem"] is not None:
            save(report, Path(options["pem"]))
    except ConfigurationError as error:
        print(f"tlstunnel: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return report.exit
