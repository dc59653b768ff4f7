"""
What to do about what was found: the hints of the tunnel, in the words of this command, and a few
more, as more is known here.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from tlstunnel.address import TCPAddress
from tlstunnel.errors import IdentityRefused, PlaintextAfterStartTLS
from tlstunnel.identity.names import Identity
from tlstunnel.probe.course import Outcome
from tlstunnel.probe.findings import isTooWeak
from tlstunnel.probe.question import IMPLICIT, spokenAt
from tlstunnel.probe.report import GOOD, NO_CONNECTION, Report
from tlstunnel.probe.shown import describe, safe
from tlstunnel.protocols.registry import STARTTLS_PORTS
from tlstunnel.tunnel.hints.choosing import hintFor

_CAUSES = {
    "ECONNREFUSED": "no server listens there: check the host and the port",
    "ECONNRESET": "it takes connections back: a limit or a list there may keep this host out",
    "ETIMEDOUT": "check the host, and whether a firewall is in the way",
    "EHOSTUNREACH": "check the host, and whether a firewall is in the way",
    "ENETUNREACH": "check the host, and whether this one has such addresses",
}

_MOST_NAMES = 5


def adviceOn(report: Report) -> str:
    """
    What to do; empty where there is nothing to be done, or nothing is known.
    """
    outcome, error = report.outcome, report.error
    if outcome is None:
        return "check its spelling, and whether this host has a resolver that answers"
    if error is None or report.exit == GOOD or isinstance(error, PlaintextAfterStartTLS):
        return ""
    if report.exit == NO_CONNECTION:
        return _CAUSES.get(error.cause, "check the host and the port, and the network")
    if report.answer is not None:
        return _instead(report)
    if report.unnamed is not None and report.unnamed.sight.version:
        return _served(report.unnamed)
    if report.sight.isAsked and not isinstance(error, IdentityRefused):
        return "give an identity that it accepts with -L"
    if isTooWeak(report):
        return "switch newer versions and suites of TLS on in the server"
    return _ofTunnel(report)


def _ofTunnel(report: Report) -> str:
    assert report.outcome is not None
    error = report.error
    assert error is not None
    if isinstance(error, IdentityRefused):
        if error.cause == "wrong name":
            return _names(report)
        if error.cause in ("unknown CA", "unknown issuer"):
            return _unknown(report, error.cause == "unknown issuer")
        if "too weak" in error.detail:
            return "it needs a new certificate, with a key and a signature that are strong enough"
    hint = hintFor(report.outcome.record)
    for known, ours in (("--remote-id", "-R"), ("--local-id", "-L"), ("in --remote", "given")):
        hint = hint.replace(known, ours)
    return hint.replace("leave out --starttls", "give --starttls none")


def _unknown(report: Report, mayBeCut: bool) -> str:
    """
    What to do about an authority that nobody knows.
    """
    question = report.question
    dialect = question.tunnel.dialect.name
    upgrade = "" if dialect == IMPLICIT else f" --starttls {dialect}"
    whom = shlex.quote(str(question.expected))
    command = f"tlstunnel identity trust {whom} --from {question.address}{upgrade}"
    whole = "the server may have to send its whole chain (fullchain.pem); " if mayBeCut else ""
    return f"{whole}if you trust it, run '{command}', or give its certificate with --trust FILE"


def _served(unnamed: Outcome) -> str:
    """
    What to do where a server has nothing for a name.
    """
    chain = describe(unnamed.sight.chain[:1], datetime.now(UTC))
    names = ", ".join(safe(each.text) for shown in chain for each in shown.names[:_MOST_NAMES])
    shows = f", and shows one for {names} to clients that ask for none" if names else ""
    return f"it has no certificate for that name{shows}: check the host, or give another with -R"


def _names(report: Report) -> str:
    """
    What would match.
    """
    fitting = []
    for each in report.belonging.names:
        try:
            # A user's name may have characters in it that a shell takes for commands.
            fitting.append(shlex.quote(str(Identity.parse(each))))
        except ValueError:
            continue
    wild = [safe(each) for each in report.belonging.names if each.startswith("*.")]
    if not fitting and wild:
        return f"only names such as {wild[0]} would match"
    if not fitting:
        return "it needs another certificate: this one has no name that could match"
    some = " or ".join(f"-R {each}" for each in fitting[:_MOST_NAMES])
    return f"if this is the right server, {some} would match"


def _named(said: bytes, names: list[str]) -> list[str]:
    """
    The protocol of several that begin alike which a greeting names, if it does.
    """
    words = said.lower()
    for each in ("lmtp", "smtp", "ftp"):
        if each in names and each.encode() in words:
            return [each]
    return names


def _instead(report: Report) -> str:
    """
    How to ask for what answers.
    """
    answer = report.answer
    assert answer is not None
    if answer.speaks == "TLS":
        isFirst = report.question.tunnel.dialect.lateDial
        return f"give --dialect-option {isFirst}" if isFirst else "give --starttls none"
    if answer.speaks == "SSH":
        return "SSH has its own encryption, and no TLS: check the port"
    names = answer.speaks.split(" or ") if answer.speaks else []
    tried = report.outcome.record.dialect if report.outcome is not None else ""
    if tried in names:
        return "it may only be slow: give it more time with --timeout"
    names = _named(answer.said, names)
    address = report.address
    port = address.port if isinstance(address, TCPAddress) else 0
    usual = STARTTLS_PORTS.get(port)
    if usual in names:
        names = [usual]
    if names == ["http"]:
        return (
            "a web server without TLS listens there: check the port; for the upgrade of RFC 2817, "
            "which few have, give --starttls http"
        )
    if names:
        return f"give {' or '.join(f'--starttls {each}' for each in names)}"
    expected = spokenAt(port) or usual or "a server with TLS"
    return f"check the host and the port: {expected} should be there"
