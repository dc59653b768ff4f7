"""
From what was said and shown to what it means.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from time import time

from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.names import Kind
from tlstunnel.identity.ocsp import demandsStaple, judge
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.verify import verifyIdentity
from tlstunnel.probe.course import Outcome
from tlstunnel.probe.question import IMPLICIT
from tlstunnel.probe.report import Belonging, Report, Stapled
from tlstunnel.probe.shown import Shown, describe, path, problemsOf, safe
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import HANDSHAKING, NEGOTIATING

# How a server says that it can do something, and that this is among it, where that is in clear.
# The first of a word is enough, so that a line of nothing but such words costs no more than others.
_LISTS = {
    "smtp": (rb"250[ -]", rb"250[ -]STARTTLS\s*\Z"),
    "lmtp": (rb"250[ -]", rb"250[ -]STARTTLS\s*\Z"),
    "imap": (rb"\*.*\bCAPABILITY\b", rb"\*(?>.*?\bCAPABILITY\b).*\bSTARTTLS\b"),
    "pop3": (rb"(CAPA|USER|UIDL|TOP|STLS)\b", rb"STLS\s*\Z"),
    "nntp": (rb"(VERSION|READER|CAPABILITIES)\b", rb"STARTTLS\s*\Z"),
    "sieve": (rb'"', rb'"STARTTLS"'),
    "nats": (rb"INFO\b", rb'INFO\b.*"tls_(required|available)"\s*:\s*true\b'),
    "ftp": (rb"( |211[ -])", rb" *AUTH\b.*TLS"),
    "xmpp-client": (rb".*<(\w+:)?features", rb".*<starttls"),
    "xmpp-server": (rb".*<(\w+:)?features", rb".*<starttls"),
    "irc": (rb"(?>.*?\bCAP\b).*\bLS\b", rb"(?>.*?\bCAP\b)(?>.*?\bLS\b).*\btls\b"),
}

#: Versions that no tunnel speaks.
OLD_VERSIONS = frozenset(("SSLv3", "TLSv1", "TLSv1.1"))

#: Key agreements that a quantum computer does not break begin or end so.
_POST_QUANTUM = ("MLKEM", "KYBER")


def isPostQuantum(group: str) -> bool:
    """
    Whether what was recorded of a connection is of no use to whoever has a quantum computer later.
    """
    return any(each in group.upper() for each in _POST_QUANTUM)


def isTooWeak(report: Report) -> bool:
    """
    Whether a second look came to something that no tunnel takes.
    """
    if report.second is None or not report.second.sight.version:
        return False
    sight = report.second.sight
    isModern = sight.suite.startswith("ECDHE-") and (
        "GCM" in sight.suite or "CHACHA" in sight.suite
    )
    return sight.version != "TLSv1.3" and not (sight.version == "TLSv1.2" and isModern)


def isListed(outcome: Outcome) -> bool | None:
    """
    Whether the upgrade is among what the server says that it can do; L{None} if it does not say.
    """
    found = _LISTS.get(outcome.record.dialect)
    if found is None:
        return None
    asList, asItem = (re.compile(each, re.IGNORECASE | re.DOTALL) for each in found)
    lines = _linesOf(outcome)
    if any(asItem.match(line) for line in lines):
        return True
    return False if any(asList.match(line) for line in lines) else None


def _linesOf(outcome: Outcome) -> list[bytes]:
    """
    What the server has said, in lines again: long ones are told in pieces.
    """
    said = b"".join(b"\n" if each.isOurs else each.words for each in outcome.said)
    return said.splitlines(keepends=True)


def isOffered(outcome: Outcome) -> bool | None:
    """
    Whether the server has agreed to the upgrade; L{None} where there is none, or it did not come to
    that.
    """
    if outcome.record.dialect == IMPLICIT:
        return None
    if outcome.stage is NEGOTIATING:
        reason = "" if outcome.error is None else outcome.error.reason
        refused = {"refused", "not-offered", "temporary", "preauth"}
        return False if reason in refused else None
    return True if outcome.sight.version or outcome.stage is HANDSHAKING else None


def interpret(report: Report, prepared: Prepared) -> None:
    """
    Write into C{report} what its outcome means.
    """
    outcome = report.outcome
    if outcome is None:
        return
    sight = outcome.sight
    report.listed, report.offered = isListed(outcome), isOffered(outcome)
    report.chain = describe(sight.chain, datetime.now(UTC))
    report.together = problemsOf(report.chain)
    report.belonging = _belonging(report, prepared)
    report.source = prepared.anchors or ("the pinned keys" if prepared.pins is not None else "")
    report.anchor = sight.provenBy
    if prepared.tunnel.believesPins:
        report.anchor = report.chain[0].pin if sight.verified else ""
    elif not sight.provenBy and sight.verified:
        report.anchor = safe(sight.verified[-1].subject.rfc4514_string())
    if any(each.cause == "unknown issuer" for each in sight.complaints):
        report.together += _missing(report.chain)
    report.staple = _stapled(report, sight.staple)
    leaf = report.chain[0].certificate if report.chain else None
    if leaf is not None and not sight.staple and demandsStaple(leaf):
        report.together.append("the certificate demands a staple (must-staple), and there is none")


def _missing(chain: tuple[Shown, ...]) -> list[str]:
    leading = path(chain)
    if not leading or leading[-1].isSelfSigned:
        return []
    name = safe(leading[-1].issuer)
    return [f"the certificate of {name} is missing, if that is no anchor but an intermediate"]


def _belonging(report: Report, prepared: Prepared) -> Belonging:
    leaf = report.chain[0] if report.chain else None
    if leaf is None or leaf.certificate is None:
        return Belonging()
    names = tuple(each.text for each in leaf.names)
    expected = report.question.expected
    if expected.kind is Kind.KEY or not prepared.tunnel.isNamed:
        return Belonging(None, names)
    above = [each.certificate for each in path(report.chain)[1:] if each.certificate is not None]
    try:
        with quietly():
            service = prepared.tunnel.dialect.srvService
            verifyIdentity(leaf.certificate, expected, service, above)
    except IdentityRefused as refused:
        return Belonging(False, names, refused.detail)
    return Belonging(True, names)


def _stapled(report: Report, der: bytes) -> Stapled | None:
    if not der:
        return None
    leading = list(report.sight.verified[:2])
    if len(leading) < 2:
        leading = [each.certificate for each in path(report.chain)[:2] if each.certificate]
    if len(leading) < 2:
        return Stapled("whether it is good cannot be told, as its issuer is missing")
    try:
        answer = judge(der, leading[0], leading[1], time())
    except IdentityRefused as refused:
        return Stapled(refused.detail)
    return Stapled("good", answer.start, answer.end)
