"""
C{tlstunnel identity trust}: whom to believe about the identities of others, from a file or from
what a server shows.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.python import usage

from tlstunnel.commands import INTERRUPTED
from tlstunnel.commands.pools import PoolOptions
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import makeDirectory, present, writeFile
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pem import loadReadable, readFile
from tlstunnel.identity.pool import Pool
from tlstunnel.program.output import complain

if TYPE_CHECKING:
    from tlstunnel.probe.firstsight import Meeting

#: The name that stands for whatever no selector matches.
ANCHORS = "anchors"


class Trust(PoolOptions):
    """C{trust SELECTOR FILE} and C{trust SELECTOR --from HOST:PORT}"""

    arguments = ("SELECTOR", "FILE")
    synopsis = "[options] SELECTOR FILE | SELECTOR --from HOST:PORT [--starttls NAME]"
    longdesc = (
        "Makes the certificates in FILE anchors for all remote identities that SELECTOR matches: "
        "john@example.org, @example.org, @.org, @., example.org, .org, or a single dot; or the "
        "trust domain spiffe://example.org. More of them are added to those that are there. "
        "'anchors' stands for whatever no selector matches. "
        "With --from it is the top of what a server shows, or its own certificate where that is "
        "alone: look at it, and compare the fingerprint, before you say yes."
    )
    optParameters = [
        ["from", None, None, "Take it from this server, HOST:PORT, and ask on the terminal."],
        ["starttls", None, None, "The protocol that is spoken there before TLS."],
        ["remote-id", "R", None, "Who that server is, where SELECTOR matches several."],
        [
            "fingerprint",
            None,
            None,
            "The SHA-256 of the certificate to believe, in place of the question.",
        ],
        ["timeout", None, None, "Seconds that each step may take, instead of 10 to 30."],
    ]

    def parseArgs(self, *words: str) -> None:
        """A file, unless there is a server."""
        if self["from"] is not None and len(words) == 1:
            self.update(selector=words[0], file=None)
            return
        if self["from"] is not None and len(words) > 1:
            raise usage.UsageError(f"--from: is given, and the file {words[1]} too; give one")
        super().parseArgs(*words)
        for each in ("starttls", "remote-id", "fingerprint", "timeout"):
            if self[each] is not None:
                raise usage.UsageError(f"--{each}: is about a server; give --from too")

    def run(self) -> int:
        """Add the anchors."""
        try:
            selector = Selector.parse(self["selector"])
        except ValueError as error:
            raise ConfigurationError.of("SELECTOR", error) from None
        if self["from"] is not None:
            return self._fromServer(selector)
        found, skipped = loadReadable(Path(self["file"]))
        for sentence in skipped:
            print(sentence)
        print(believe(self.pool, selector, found))
        return 0

    def _fromServer(self, selector: Selector) -> int:
        # Only now: who has a file need not wait for all that goes to servers.
        from tlstunnel.commands.asking import ask, limitsOf, questionOf
        from tlstunnel.probe.firstsight import meet
        from tlstunnel.probe.question import identityAt, placeOf

        pool = self.pool
        pool.trustFile(selector)
        fingerprint = _digits(self["fingerprint"])
        place = placeOf(self["from"], self["starttls"])
        expected = self._expected(selector) or str(identityAt(place.address))
        if self["selector"] != ANCHORS and not selector.matches(_parsed(expected)):
            raise ConfigurationError(
                f"SELECTOR {selector}",
                f"does not match {expected}, who should be at {place.address}",
                "give another one, or say with --remote-id who that server is",
            )
        # The lists of what was revoked are those of the pool that is to believe it.
        given = {"remote-id": [expected], "trust": ["system"], "pool": [str(pool.path)]}
        question = questionOf(given, place, limitsOf(self["timeout"]))
        meeting = ask(lambda reactor: meet(question, fingerprint, reactor))
        if meeting is None:
            complain("interrupted")
            return INTERRUPTED
        return self._decide(selector, pool, meeting)

    def _expected(self, selector: Selector) -> str | None:
        """Who should be there, if that is said."""
        if self["remote-id"] is not None:
            return str(_parsed(self["remote-id"]))
        isOne = selector.isExact and self["selector"] != ANCHORS
        return str(selector) if isOne else None

    def _decide(self, selector: Selector, pool: Pool, meeting: Meeting) -> int:
        """
        Show what there is, and store it if that is wanted.
        """
        from tlstunnel.probe.shown import safe
        from tlstunnel.probe.text import certificate, conclusion, title

        report, choice, trial = meeting.report, meeting.choice, meeting.trial
        print(title(report))
        for number, shown in enumerate(report.chain):
            for line in certificate(number, shown):
                print(line)
        if choice is None or trial is None:
            for line in conclusion(report):
                print(line)
            return report.exit
        if not meeting.isGood:
            print("Nothing is stored, as even with that the server would not be trusted:")
            print(trial.verdict)
            return trial.exit or 1
        assert choice.certificate is not None
        print(f"\nTo be believed about {selector}: {safe(choice.subject) or '(no subject)'}")
        print(f"SHA-256 {colons(choice.sha256)}")
        print(
            "It is the server's own certificate: once there is another, that is not believed."
            if meeting.isLeaf
            else "It is an authority: every certificate is believed that it issues for them."
        )
        try:
            isWanted = self["fingerprint"] is not None or _isWanted()
        except KeyboardInterrupt:
            print("\nNothing is stored.")
            return INTERRUPTED
        if not isWanted:
            print("Nothing is stored.")
            return 1
        print(believe(pool, selector, [choice.certificate]))
        return 0


def believe(pool: Pool, selector: Selector, certificates: Iterable[x509.Certificate]) -> str:
    """
    Add anchors to those of C{selector}.

    @return: what was done.
    @raise ConfigurationError: there can be none for it, or they cannot be written.
    """
    file = pool.trustFile(selector)
    if file.is_symlink():
        # What is there is kept by somebody else, and would not be renewed in a copy.
        raise ConfigurationError(
            str(file), f"is a link to {file.readlink()}", "add it there, or put a file in its place"
        )
    isThere = present(file)
    anchors = dict.fromkeys(loadReadable(file)[0] if isThere else ())
    added = [each for each in dict.fromkeys(certificates) if each not in anchors]
    if added:
        makeDirectory(file.parent)
        # Comments stay, and whatever of it we cannot read.
        before = readFile(file).rstrip(b"\n") + b"\n" if isThere else b""
        more = b"".join(each.public_bytes(Encoding.PEM) for each in added)
        writeFile(file, before + more, 0o644, replace=True)
    return f"{file}: {len(added)} added, {len(anchors) + len(added)} in all"


def colons(digits: str) -> str:
    """
    A fingerprint as openssl x509 -fingerprint has it.
    """
    return ":".join(re.findall("..", digits.upper()))


def _digits(fingerprint: str | None) -> str:
    """
    A fingerprint in any of the usual forms.

    @raise ConfigurationError: it is none.
    """
    if fingerprint is None:
        return ""
    plain = fingerprint.rpartition("=")[2]
    digits = re.sub(r"\A(sha-?256:)|[:\s]", "", plain.lower())
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ConfigurationError(
            f"--fingerprint {fingerprint}",
            "is no SHA-256 in hexadecimal digits",
            "take what 'openssl x509 -noout -fingerprint -sha256' says",
        )
    return digits


def _parsed(text: str) -> Identity:
    try:
        return Identity.parse(text)
    except ValueError as error:
        raise ConfigurationError.of("--remote-id", error) from None


def _isWanted() -> bool:
    """
    Ask the user, and nobody in his place.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "standard input",
            "is no terminal, so that nobody can be asked",
            "compare the fingerprint with what the administrator of the server says, and give "
            "--fingerprint",
        )
    print("Is that what its administrator says? Type yes to believe it: ", end="", flush=True)
    return sys.stdin.readline().strip().lower() == "yes"
