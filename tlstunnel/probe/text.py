"""
A report as people read it: what was asked first, the verdict last.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tlstunnel.errors import quote
from tlstunnel.identity.expiry import inWords
from tlstunnel.probe.course import Outcome
from tlstunnel.probe.findings import OLD_VERSIONS, isPostQuantum
from tlstunnel.probe.question import IMPLICIT
from tlstunnel.probe.report import Report
from tlstunnel.probe.shown import Shown, safe
from tlstunnel.probe.verdict import explain, firstLine
from tlstunnel.tls.witness import Sight

_COLUMN = 14

#: Names of one kind that are shown of one certificate.
MOST_NAMES = 20
_INDENT = " " * _COLUMN


def _line(label: str, text: str) -> str:
    return f"{label:{_COLUMN}}{text}"


def render(report: Report, isVerbose: bool = False) -> str:
    """
    All of it.

    @param isVerbose: with what was said in clear.
    """
    lines = [title(report)]
    for each in (*reversed(report.others), report):
        if report.others:
            lines.append("")
        lines += _body(each, isVerbose)
    lines += conclusion(report)
    return "\n".join(lines) + "\n"


def conclusion(report: Report) -> list[str]:
    """
    What to do, if there is anything, and the verdict.
    """
    return [*([_line("hint", report.hint)] if report.hint else []), report.verdict]


def title(report: Report) -> str:
    """
    What was asked.
    """
    question = report.question
    dialect = question.tunnel.dialect
    how = "TLS from the first byte" if dialect.name == IMPLICIT else f"--starttls {dialect.name}"
    tunnel = question.tunnel
    whom = f"expecting {question.expected}" if tunnel.isNamed else "expecting a pinned key"
    port, upgrade = (
        " (guessed)" if each in question.guesses else "" for each in ("port", "starttls")
    )
    return f"{question.address}{port}, {how}{upgrade}, {whom}"


def _body(report: Report, isVerbose: bool) -> Iterator[str]:
    """
    What was found at one address.
    """
    yield from _addresses(report)
    outcome = report.outcome
    if outcome is None or outcome.address is None:
        return
    if isVerbose:
        yield from dialogue(outcome)
    yield from _negotiation(report)
    sight = report.sight
    if sight.version:
        yield from _handshake(sight, report)
        for number, shown in enumerate(report.chain):
            yield from certificate(number, shown)
        yield from (_line("problem", each) for each in report.together)
        yield from _judgement(report)
        yield from _rest(report)
    yield from _secondLooks(report)
    yield from _versions(report.versions)
    if report.others or report.question.isThorough:
        yield _line("so", report.verdict)


def _addresses(report: Report) -> Iterator[str]:
    for address, error in report.unreached.items():
        yield _line("address", f"{address} does not serve: {explain(error)}")
    if report.address is not None:
        yield _line("address", str(report.address))
        tried = {report.address, *report.unreached}
        left = [str(each) for each in report.addresses if each not in tried]
        if left and not report.question.isThorough:
            yield _line("", f"others were not waited for: {', '.join(left)}")


def dialogue(outcome: Outcome) -> Iterator[str]:
    """
    What was said in clear: C{C:} says the client, which we are, and C{S:} the server.
    """
    for each in outcome.said:
        words = quote(each.words.rstrip(b"\r\n")).removeprefix('"').removesuffix('"')
        yield f"    {'C' if each.isOurs else 'S'}: {words}"
    if outcome.said and outcome.sight.version:
        yield "    == TLS =="


def _negotiation(report: Report) -> Iterator[str]:
    if report.offered is None and report.listed is None:
        return
    agreed = {True: "the upgrade is agreed to", False: "the upgrade is refused", None: ""}
    listed = {True: "in the list of the server", False: "not in the list of the server", None: ""}
    words = filter(None, (agreed[report.offered], listed[report.listed]))
    yield _line("starttls", ", ".join(words))


def _handshake(sight: Sight, report: Report) -> Iterator[str]:
    kind = "post-quantum" if isPostQuantum(sight.group) else "not post-quantum"
    group = f", {sight.group} ({kind})" if sight.group else ""
    yield _line("tls", f"{sight.version}, {sight.suite}{group}")
    tunnel = report.question.tunnel
    offered = tunnel.alpn if tunnel.alpn is not None else tuple(tunnel.dialect.alpn)
    if sight.alpn:
        yield _line("alpn", safe(sight.alpn))
    elif offered:
        names = ", ".join(safe(each.decode("ascii", "replace")) for each in offered)
        yield _line("alpn", f"none agreed on; offered: {names}")


def certificate(number: int, shown: Shown) -> Iterator[str]:
    """
    One certificate of a chain.
    """
    if shown.certificate is None:
        yield _line(f"certificate {number}", shown.problems[0])
        yield _line("", f"sha256 {shown.sha256}")
        return
    issuer = "itself" if shown.isSelfSigned else safe(shown.issuer)
    yield _line(f"certificate {number}", safe(shown.subject) or "(no subject)")
    yield _line("", f"issued by {issuer or '(no name)'}, signed by {shown.signature}")
    if shown.names:
        kinds: dict[str, list[str]] = {}
        for each in shown.names:
            kinds.setdefault(each.kind, []).append(safe(each.text))
        for kind, names in kinds.items():
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            yield _line("", f"{kind}: {', '.join(names[:MOST_NAMES])}{more}")
    assert shown.start is not None and shown.end is not None
    yield _line("", f"key {shown.key}, {shown.pin}")
    days = f"{shown.start:%Y-%m-%d} to {shown.end:%Y-%m-%d}"
    yield _line("", f"valid {days}, {_left(shown.left)}")
    yield _line("", f"sha256 {shown.sha256}")
    yield from (_line("", f"problem: {each}") for each in shown.problems)


def _left(left: timedelta) -> str:
    return f"{inWords(left)} left" if left > timedelta() else f"over for {inWords(-left)}"


def _judgement(report: Report) -> Iterator[str]:
    sight = report.sight
    for each in sight.complaints:
        yield _line("refused", explain(each))
    if report.anchor:
        where = f" ({report.source})" if report.source else ""
        yield _line("anchors", f"{report.anchor} vouches for it{where}")
    elif report.source:
        yield _line("anchors", f"no anchor of {report.source} vouches for it")
    found = report.belonging
    if found.matches:
        yield _line("identity", f"the certificate is for {report.question.expected}")
    elif found.matches is False:
        yield _line("identity", found.reason)


def _rest(report: Report) -> Iterator[str]:
    sight = report.sight
    staple = report.staple
    if staple is None:
        yield _line("ocsp", "nothing is stapled")
    elif staple.start is None or staple.end is None:
        yield _line("ocsp", f"stapled: {staple.status}")
    else:
        now = datetime.now(UTC)
        age = now - datetime.fromtimestamp(staple.start, UTC)
        left = datetime.fromtimestamp(staple.end, UTC) - now
        yield _line("ocsp", f"stapled: good, {inWords(age)} old, for {inWords(left)} more")
    if sight.isAsked:
        whose = "; ".join(map(safe, sight.authorities)) or "any authority"
        yield _line("client", f"a certificate of ours is asked for, issued by {whose}")
    if sight.tickets:
        yield _line("resumption", f"{sight.tickets} ticket{'s' if sight.tickets > 1 else ''}")
    inside = report.outcome.inside if report.outcome is not None else b""
    if inside:
        yield _line("inside TLS", f"the server says {quote(inside)}")


def _secondLooks(report: Report) -> Iterator[str]:
    """
    What other connections have shown, with which nobody was trusted, and nothing was sent.
    """
    label = "second look"
    for outcome, how in (
        (report.second, "with everything allowed"),
        (report.unnamed, "asked for no name"),
    ):
        if outcome is not None:
            yield _line(label, f"{how}: {_brief(outcome)}")
    answer = report.answer
    if answer is not None and answer.sight.version:
        yield _line(label, f"without --starttls: {answer.sight.version}, {answer.sight.suite}")
    elif answer is not None:
        said = quote(firstLine(answer.said)) if answer.said else "nothing"
        yield _line("in clear", f"the server says {said}")


def _brief(outcome: Outcome) -> str:
    sight = outcome.sight
    if outcome.error is not None:
        return f"no ({explain(outcome.error)})"
    group = f", {sight.group}" if sight.group else ""
    return f"{sight.version}, {sight.suite}{group}"


def _versions(versions: dict[str, Outcome]) -> Iterator[str]:
    for version, outcome in versions.items():
        isOld = outcome.sight.version in OLD_VERSIONS and outcome.error is None
        warning = ", which no tunnel would speak" if isOld else ""
        yield _line(f"TLS {version}", _brief(outcome) + warning)
