"""
What comes of a probe, in words and as an exit code.
"""

from __future__ import annotations

from tlstunnel.errors import (
    Closed,
    ConnectFailed,
    Farewell,
    IdentityRefused,
    NotOffered,
    PlaintextAfterStartTLS,
    Refused,
    Reset,
    ServerSpokeFirst,
    Temporary,
    TLSFailed,
    Truncated,
    TunnelError,
    quote,
)
from tlstunnel.probe.advice import adviceOn
from tlstunnel.probe.findings import OLD_VERSIONS, isTooWeak
from tlstunnel.probe.report import GOOD, NO_CONNECTION, NO_TLS, UNTRUSTED, Report
from tlstunnel.tunnel.record import CONNECTING

# How a server ends a connection that was good.
_ENDS = (Closed, Reset, Truncated)


def conclude(report: Report) -> None:
    """
    Write the verdict into C{report}, and what to do.
    """
    report.exit, words = _verdict(report)
    start = {
        GOOD: "good",
        UNTRUSTED: "not trusted",
        NO_TLS: "no TLS",
        NO_CONNECTION: "no connection",
    }
    report.verdict = f"{start[report.exit]}: {words}"
    report.hint = adviceOn(report)


def _verdict(report: Report) -> tuple[int, str]:
    error, outcome = report.error, report.outcome
    if outcome is None:
        host = report.question.address.host
        return NO_CONNECTION, f"the name {host} does not resolve, or not in time"
    if error is None or isinstance(error, Farewell):
        return GOOD, _praise(report)
    if outcome.address is None:
        return NO_CONNECTION, explain(error)
    if outcome.record.isVerified and isinstance(error, _ENDS) and not wantsCertificate(report):
        return GOOD, _praise(report)
    if isinstance(error, IdentityRefused | ServerSpokeFirst):
        return UNTRUSTED, explain(error)
    if isinstance(error, ConnectFailed) or outcome.stage is CONNECTING:
        # There is a connection: it was the resolver that failed, who has the TLSA records.
        return UNTRUSTED, explain(error)
    return NO_TLS, _without(report, error)


def _praise(report: Report) -> str:
    tunnel = report.question.tunnel
    whom = str(report.question.expected)
    if tunnel.believesPins and not tunnel.isNamed:
        whom = "the pinned key"
    words = f"{whom} is there, with {report.sight.version}"
    if isinstance(report.error, _ENDS):
        words += ", and ends the connection before anything was said"
    elif isinstance(report.error, Farewell):
        words += f", and takes its leave: {quote(report.error.said)}"
    elif report.problems:
        count = len(report.problems)
        words += ", with a problem" if count == 1 else f", with {count} problems"
    return words


def _without(report: Report, error: TunnelError) -> str:
    """
    Why there is no TLS.
    """
    outcome = report.outcome
    assert outcome is not None
    dialect = outcome.record.dialect
    if isinstance(error, PlaintextAfterStartTLS):
        said = quote(error.said)
        return f"somebody has put {said} behind the last word before TLS, in clear: an attack"
    if isinstance(error, NotOffered | Refused | Temporary) and not report.answer:
        return _refused(report, error)
    if wantsCertificate(report):
        return f"the server demands a certificate of ours ({explain(error)})"
    if report.unnamed is not None and report.unnamed.sight.version:
        return f"the server refuses the name that it was asked for ({explain(error)})"
    if isTooWeak(report):
        return _tooWeak(report, error)
    answer = report.answer
    if answer is None:
        return explain(error)
    if answer.speaks == "TLS":
        return f"TLS begins with the first byte there, and not as {dialect} has it"
    if dialect in answer.speaks.split(" or "):
        said = quote(firstLine(answer.said))
        return f"{explain(error)}, and the server has said no more than {said}"
    if answer.speaks:
        return f"the server seems to speak {answer.speaks}: {quote(firstLine(answer.said))}"
    if answer.said:
        return f"the server speaks another protocol: {quote(firstLine(answer.said))}"
    return f"{explain(error)}, and nothing else is spoken there"


def _refused(report: Report, error: TunnelError) -> str:
    if report.listed is False:
        return (
            "the upgrade is not among what the server offers, and it refuses it "
            f"({explain(error)}): it has none, or somebody on the way has taken it out"
        )
    if report.listed:
        return f"the server offers the upgrade, and refuses it ({explain(error)})"
    return f"the server refuses the upgrade ({explain(error)})"


def wantsCertificate(report: Report) -> bool:
    """
    Whether it has ended because we have shown no certificate.
    """
    ours = report.question.tunnel.localID
    return report.sight.isAsked and ours is None and isinstance(report.error, (TLSFailed, *_ENDS))


def _tooWeak(report: Report, error: TunnelError) -> str:
    """
    The server has agreed to what a tunnel would not.
    """
    assert report.second is not None
    sight = report.second.sight
    if sight.version in OLD_VERSIONS:
        return f"the server speaks {sight.version}, and nothing newer ({explain(error)})"
    return (
        f"nothing that is safe is common to both: the server takes {sight.version} with "
        f"{sight.suite} ({explain(error)})"
    )


def explain(error: TunnelError) -> str:
    """
    What is wrong, without the name of the failure.
    """
    detail = error.detail.replace("the peer", error.who or "the server") or error.reason
    return f"{detail}; the server said {quote(firstLine(error.said))}" if error.said else detail


def firstLine(said: bytes) -> bytes:
    """
    What is worth to be quoted of a server's words.
    """
    return said.lstrip().partition(b"\n")[0].rstrip(b"\r")
