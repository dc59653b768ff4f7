"""
A report as JSON, for programs; docs/debugging.md says what is in it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tlstunnel.probe.course import Outcome
from tlstunnel.probe.findings import isPostQuantum
from tlstunnel.probe.report import Report
from tlstunnel.probe.shown import Shown
from tlstunnel.probe.verdict import explain


def document(report: Report) -> dict[str, Any]:
    """
    All of it.
    """
    sight, question, answer = report.sight, report.question, report.answer
    address = report.address
    return {
        "host": question.address.host,
        "port": question.address.port,
        "dialect": question.tunnel.dialect.name,
        "address": None if address is None else str(address),
        "addresses": [
            {"address": str(each), "error": _errorOf(report, each)} for each in report.addresses
        ],
        "starttls_offered": report.offered,
        "starttls_listed": report.listed,
        "dialogue": [
            {"from": "client" if each.isOurs else "server", "said": _text(each.words)}
            for each in (report.outcome.said if report.outcome is not None else ())
        ],
        "version": sight.version or None,
        "suite": sight.suite or None,
        "group": sight.group or None,
        "post_quantum": isPostQuantum(sight.group) if sight.group else None,
        "alpn": sight.alpn or None,
        "identity": {
            "expected": str(question.expected) if question.tunnel.isNamed else None,
            "matches": report.belonging.matches,
            "names": list(report.belonging.names),
            "reason": report.belonging.reason or None,
        },
        "chain": [_certificate(each) for each in report.chain],
        "problems": report.problems,
        "refusals": [explain(each) for each in sight.complaints],
        "anchors": report.source or None,
        "anchor": report.anchor or None,
        "staple": _staple(report),
        "client_certificate": {
            "requested": sight.isAsked,
            "authorities": list(sight.authorities),
        },
        "tickets": sight.tickets,
        "inside": _text(report.outcome.inside) if report.outcome is not None else "",
        "answers": None
        if answer is None
        else {"speaks": answer.speaks or None, "said": _text(answer.said)},
        "second_look": None if report.second is None else _look(report.second),
        "versions": {each: _look(outcome) for each, outcome in report.versions.items()},
        "outcome": _nameOf(report),
        "hint": report.hint or None,
        "verdict": report.verdict,
        "exit": report.exit,
        "others": [document(each) for each in report.others],
    }


def _nameOf(report: Report) -> str:
    if report.outcome is None:
        return "connect"
    return "clean" if report.error is None else report.error.reason


def _text(words: bytes) -> str:
    return words.decode("utf-8", "backslashreplace")


def _errorOf(report: Report, address: Any) -> str | None:
    error = report.unreached.get(address)
    return None if error is None else explain(error)


def _certificate(shown: Shown) -> dict[str, Any]:
    return {
        "subject": shown.subject or None,
        "issuer": shown.issuer or None,
        "names": [{"name": each.text, "kind": each.kind} for each in shown.names],
        "key": shown.key or None,
        "pin": shown.pin or None,
        "signature": shown.signature or None,
        "not_before": _time(shown.start),
        "not_after": _time(shown.end),
        "days_left": shown.left.days if shown.end is not None else None,
        "sha256": shown.sha256,
        "problems": shown.problems,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _staple(report: Report) -> dict[str, Any] | None:
    staple = report.staple
    if staple is None:
        return None
    start, end = (
        None if each is None else _time(datetime.fromtimestamp(each, UTC))
        for each in (staple.start, staple.end)
    )
    return {"status": staple.status, "this_update": start, "next_update": end}


def _look(outcome: Outcome) -> dict[str, Any]:
    sight = outcome.sight
    return {
        "version": sight.version or None,
        "suite": sight.suite or None,
        "group": sight.group or None,
        "error": None if outcome.error is None else explain(outcome.error),
    }
