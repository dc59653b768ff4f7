"""
C{tlstunnel probe}: what a server speaks, what it shows, and whether a tunnel would trust it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tlstunnel.commands import INTERRUPTED
from tlstunnel.commands.asking import ask, limitsOf, questionOf
from tlstunnel.errors import ConfigurationError
from tlstunnel.probe.inquiry import Inquiry
from tlstunnel.probe.question import Question, placeOf
from tlstunnel.probe.report import USAGE, Report
from tlstunnel.program.option import Option
from tlstunnel.program.options import TUNNEL_OPTIONS
from tlstunnel.program.output import complain
from tlstunnel.program.syntax import ProgramOptions

#: The options of a tunnel that mean something here, too, in words that fit here.
SHARED = {
    "starttls": "The protocol that is spoken there before TLS; none, where TLS is first.",
    "dialect-option": "An option of that protocol; see --list-protocols.",
    "remote-id": "Who must be there, if that is not the host.",
    "local-id": "Who we are, to show a server that is trusted our certificate.",
    "pool": "Where identities and trust are kept; see tlstunnel(8) for the default.",
    "trust": "Whom to believe instead: a file, a directory, system, pins, or dane.",
    "pin": "A key that the server may have (sha256//BASE64).",
    "dane-resolver": "The resolver for --trust dane, which has to validate.",
    "alpn": "ALPN ids to offer, with commas between them.",
    "minimum-tls": "The lowest version of TLS that is good enough: 1.2 or 1.3.",
}

_OPTIONS = tuple(each for each in TUNNEL_OPTIONS if each.name in SHARED)


def _take(option: Option) -> Any:
    def take(self: ProbeOptions, value: str) -> None:
        self.given.setdefault(option.name, []).append(value)

    take.__doc__ = SHARED[option.name]
    return take


class ProbeOptions(ProgramOptions):
    """
    The options of C{probe}.

    @ivar given: the values of options that tunnels have, too.
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
        ["timeout", None, None, "Seconds that each step may take, instead of 10 to 30."],
        ["pem", None, None, "Save the certificates that the server shows in this file."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, list[Any]] = {}

    def valueOf(self, option: str) -> str:
        """
        What the help calls the value of an option.
        """
        values = {"pem": "FILE", "timeout": "SECONDS"}
        for each in _OPTIONS:
            values |= dict.fromkeys(filter(None, (each.name, each.short)), each.argument)
        return values[option]

    def question(self) -> Question:
        """
        What is asked.

        @raise ConfigurationError: something about it is wrong.
        """
        upgrades = self.given.get("starttls", [None])
        if len(upgrades) > 1:
            raise ConfigurationError("--starttls", f"has {len(upgrades)} values", "give one")
        place = placeOf(self["host"], upgrades[0])
        return questionOf(self.given, place, limitsOf(self["timeout"]), bool(self["all"]))


for _each in _OPTIONS:
    _method = _take(_each)
    for _name in filter(None, (_each.name, _each.short)):
        # What usage.Options looks for are methods of the class.
        setattr(ProbeOptions, "opt_" + _name.replace("-", "_"), _method)


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
        complain(f"no certificate was shown, and {file} is not written")
        return
    try:
        file.write_text("".join(DER_cert_to_PEM_cert(each.der) for each in report.chain))
    except OSError as error:
        raise ConfigurationError(
            f"--pem {file}", f"cannot be written ({error.strerror})", "give another file"
        ) from None


def main(options: ProbeOptions) -> int:
    """
    Probe a server.

    @return: what comes of it; see L{tlstunnel.probe.report}.
    """
    try:
        question = options.question()
        report = ask(lambda reactor: Inquiry(question, reactor).run())
        if report is None:
            complain("interrupted")
            return INTERRUPTED
        print(shown(report, options), end="", flush=True)
        if options["pem"] is not None:
            save(report, Path(options["pem"]))
    except ConfigurationError as error:
        complain(str(error))
        return USAGE
    return report.exit
