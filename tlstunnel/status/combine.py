"""
Makes one document of the facts of all processes.
"""

from __future__ import annotations

import platform
from collections.abc import Generator, Iterable, Iterator, Sequence
from math import inf

from tlstunnel import __version__
from tlstunnel.net.spreading import atOnce
from tlstunnel.status.counts import BOUNDS
from tlstunnel.status.document import (
    VERSION,
    BackendStatus,
    Document,
    FailureGroup,
    Identity,
    Reloads,
    TunnelStatus,
)
from tlstunnel.status.facts import (
    FailureFacts,
    Gathered,
    IdentityFacts,
    Snapshot,
    Totals,
    TunnelFacts,
)
from tlstunnel.status.history import total
from tlstunnel.status.ledger import FAILURES
from tlstunnel.status.rates import INTERVAL_SECONDS, together
from tlstunnel.status.snapshot import CONNECTIONS_SHOWN
from tlstunnel.status.source import DOWN, FULL, STATES, UP
from tlstunnel.tls.openssl import libraryVersion

_DAY_SECONDS = 86400.0


def combine(gathered: Gathered, now: float) -> Document:
    """
    The same as L{combining}, at once.
    """
    return atOnce(combining(gathered, now))


def combining(gathered: Gathered, now: float) -> Generator[None, None, Document]:
    """
    Put the facts of all processes together, a tunnel a step.

    @param now: the time that it is.
    """
    snapshots, silent = gathered.snapshots, gathered.silent
    same: dict[str, list[TunnelFacts]] = {}
    for snapshot in snapshots:
        for each in snapshot["tunnels"]:
            same.setdefault(each["name"], []).append(each)
    tunnels = []
    for name, several in same.items():
        tunnels.append(_tunnel(several, gathered.past.tunnels.get(name), now))
        yield
    shown = [each for snapshot in snapshots for each in snapshot["connections"]]
    shown.sort(key=lambda each: -each["began"])
    problems = [f"worker {number} does not answer" for number in silent] + _problems(tunnels)
    half = CONNECTIONS_SHOWN // 2
    return {
        "version": VERSION,
        "time": now,
        "host": platform.node(),
        "healthy": not problems,
        "problems": problems,
        "software": {
            "version": __version__,
            "openssl": libraryVersion(),
            "python": platform.python_version(),
        },
        "interval": INTERVAL_SECONDS,
        "bounds": list(BOUNDS),
        "silent": list(silent),
        "processes": [each["process"] for each in snapshots],
        "tunnels": tunnels,
        "connections": {
            "open": sum(each["open"] for each in tunnels),
            "shown": shown if len(shown) <= 2 * half else shown[:half] + shown[-half:],
        },
        "failures": _grouped(each for snapshot in snapshots for each in snapshot["failures"]),
        "reloads": _reloads(snapshots),
        "pool_pull": next((each["pool_pull"] for each in snapshots if each["pool_pull"]), None),
        "log_lines_dropped": gathered.past.log_lines_dropped
        + sum(each["process"]["log_lines_dropped"] for each in snapshots),
    }


def _problems(tunnels: Sequence[TunnelStatus]) -> list[str]:
    """
    Why not everything is served that should be.  A tunnel that a reload has removed is in order as
    long as it drains.
    """
    down = [each["name"] for each in tunnels if each["state"] == DOWN]
    if not down and not any(each["state"] in (UP, FULL) for each in tunnels):
        return ["no tunnel accepts connections"]
    return [
        *(f"{_called(name)} is down" for name in down),
        *(f"{_called(each['name'])}: {why}" for each in tunnels for why in _ended(each)),
    ]


def _called(name: str) -> str:
    return f"tunnel {name}" if name else "the tunnel"


def _ended(tunnel: TunnelStatus) -> Iterator[str]:
    """
    Why it refuses clients for one or another of its names.
    """
    for each in tunnel["identities"]:
        if each["is_leased"] and each["state"] == "expired":
            yield f"the certificate for {each['identity']} has ended, and the agent gave no other"


def _tunnel(facts: Sequence[TunnelFacts], past: Totals | None, now: float) -> TunnelStatus:
    """
    One tunnel, whose facts in each process are C{facts}.

    @param past: what others have counted of it.
    """
    first = facts[0]
    totals = total(facts if past is None else [*facts, past])
    identities: dict[str, IdentityFacts] = {}
    for each in (identity for fact in facts for identity in fact["identities"]):
        known = identities.get(each["identity"])
        # During a reload processes may differ: the worst is what is worth knowing.
        if known is None or each["not_after"] < known["not_after"]:
            identities[each["identity"]] = each
    lists: dict[str, float] = {}
    for one in (each for fact in facts for each in fact["revocation_lists"]):
        lists[one["issuer"]] = min(one["next_update"], lists.get(one["issuer"], inf))
    return {
        "name": first["name"],
        "state": max((fact["state"] for fact in facts), key=STATES.index),
        "mode": first["mode"],
        "dialect": first["dialect"],
        "local": first["local"],
        "remote": first["remote"],
        "expected": first["expected"],
        "identities": [_identity(each, now) for each in identities.values()],
        "withdrawn": list(dict.fromkeys(name for fact in facts for name in fact["withdrawn"])),
        "revocation_lists": [
            {"issuer": issuer, "next_update": end} for issuer, end in lists.items()
        ],
        "backends": _backends(facts, totals),
        "connections": totals["connections"],
        "refused": totals["refused"],
        "open": sum(fact["open"] for fact in facts),
        "ended": dict(sorted(totals["outcomes"].items())),
        "negotiation": totals["negotiation"],
        "handshake": totals["handshake"],
        "resumed": totals["resumed"],
        "to_network": totals["to_network"],
        "to_plain": totals["to_plain"],
        "rates": {
            name: together([fact["rates"][name] for fact in facts]) for name in first["rates"]
        },
    }


def _backends(facts: Sequence[TunnelFacts], totals: Totals) -> list[BackendStatus]:
    """
    Those that a process knows now; what is open is so in those that answer.
    """
    names = dict.fromkeys(name for fact in facts for name in fact["backends"])
    every = {name: totals["backends"][name] for name in names}
    return [
        {
            "backend": name,
            "state": UP if each["up"] else DOWN,
            "open": sum(
                fact["backends"][name]["open"] for fact in facts if name in fact["backends"]
            ),
            "connections": each["connections"],
            "failures": each["failures"],
        }
        for name, each in every.items()
    ]


def _identity(facts: IdentityFacts, now: float) -> Identity:
    if now < facts["not_before"]:
        state = "early"
    elif facts["not_after"] < now:
        state = "expired"
    else:
        state = "due" if facts["is_due"] else "valid"
    return {**facts, "days_left": (facts["not_after"] - now) / _DAY_SECONDS, "state": state}


def _grouped(failures: Iterable[FailureFacts]) -> list[FailureGroup]:
    """
    The last failures by outcome and hint, those that happen most first.
    """
    last = sorted(failures, key=lambda each: -each["time"])[:FAILURES]
    groups: dict[tuple[str, str | None], list[FailureFacts]] = {}
    for each in last:
        groups.setdefault((each["outcome"], each["hint"]), []).append(each)
    return [
        {
            "outcome": outcome,
            "hint": hint,
            "count": len(entries),
            "last": entries[0]["time"],
            "entries": entries,
        }
        for (outcome, hint), entries in sorted(groups.items(), key=lambda each: -len(each[1]))
    ]


def _reloads(snapshots: Sequence[Snapshot]) -> Reloads:
    """
    Whoever reads the configuration knows; where there are workers, that is their parent.
    """
    ours = next(
        (each for each in snapshots if each["process"]["worker"] is None),
        None,
    )
    if ours is None:
        return {"applied": 0, "failed": 0, "last": []}
    return {
        "applied": ours["results"].get("applied", 0),
        "failed": ours["results"].get("failed", 0),
        "last": ours["reloads"][::-1],
    }
