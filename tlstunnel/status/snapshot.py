"""
Looks at what there is in this process, and writes it down as L{tlstunnel.status.facts} has it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Generator, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path

from tlstunnel.errors import printable
from tlstunnel.identity.expiry import isDue
from tlstunnel.identity.revocation import nameOf
from tlstunnel.net.remotes import Backend
from tlstunnel.net.spreading import atOnce
from tlstunnel.status.counts import Histogram
from tlstunnel.status.facts import (
    BackendFacts,
    ConnectionFacts,
    Durations,
    FailureFacts,
    IdentityFacts,
    ProcessFacts,
    Snapshot,
    TunnelFacts,
)
from tlstunnel.status.ledger import Entry, Ledger
from tlstunnel.status.source import Shown, Source, shown
from tlstunnel.tunnel.hints.choosing import hintFor
from tlstunnel.tunnel.record import Record

#: Open connections that are shown at most: half of them the newest, half the oldest.
CONNECTIONS_SHOWN = 200

#: The most characters of the detail of a failure.
_MAX_DETAIL = 500

_PAGE_BYTES = resource.getpagesize()


def taking(
    ledger: Ledger, source: Source, worker: int | None = None
) -> Generator[None, None, Snapshot]:
    """
    Look at this process, a tunnel or a connection a step.  It is of one piece only where the same
    is served from the first to the last of them.

    @param worker: its number, if it is one of several.
    """
    now = ledger.clock.seconds()
    tunnels: dict[str, TunnelFacts] = {}
    for served in source.served():
        name = served.described.name
        entry = ledger.entries.get(name)
        if name not in tunnels and entry is not None:
            isGone = not served.running and served not in source.served()
            if not isGone:
                tunnels[name] = yield from _tunnel(shown(served), entry, now)
            yield
    ledger.keep({served.described.name for served in source.served()})
    connections = []
    for record in (yield from _shownOf(ledger)):
        connections.append(_connection(record, now, worker))
        yield
    failures = []
    for record in tuple(ledger.failures):
        failures.append(_failure(record, worker))
        yield
    return {
        "time": now,
        "process": _process(ledger, source, worker),
        "tunnels": list(tunnels.values()),
        "connections": connections,
        "failures": failures,
        "reloads": [
            {
                "time": each.time,
                "result": each.result,
                "changes": list(each.changes),
                "problems": list(each.problems),
            }
            for each in ledger.reloads
        ],
        "results": dict(ledger.results),
        "pool_pull": ledger.following(),
    }


def take(ledger: Ledger, source: Source, worker: int | None = None) -> Snapshot:
    """
    The same at once.
    """
    return atOnce(taking(ledger, source, worker))


def shownOf(ledger: Ledger) -> list[Record]:
    """
    The open connections that are shown, the newest first.
    """
    return atOnce(_shownOf(ledger))


def _shownOf(ledger: Ledger) -> Generator[None, None, list[Record]]:
    """
    The same, a tunnel a step.
    """
    half = CONNECTIONS_SHOWN // 2
    newest: list[Record] = []
    oldest: list[Record] = []
    for entry in tuple(ledger.entries.values()):
        opened = entry.counts.opened
        if opened:
            newest = _sorted(chain(newest, islice(reversed(opened), half)))[:half]
            oldest = _sorted(chain(oldest, islice(opened, half)))[-half:]
        yield
    known = set(newest)
    return newest + [each for each in oldest if each not in known]


def _sorted(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=attrgetter("began"), reverse=True)


def _durations(histogram: Histogram) -> Durations:
    return {"counts": list(histogram.counts), "seconds": histogram.seconds}


def _tunnel(served: Shown, entry: Entry, now: float) -> Generator[None, None, TunnelFacts]:
    """
    A tunnel, a certificate a step: there may be thousands.
    """
    identities = []
    for each in _identities(served, now):
        identities.append(each)
        yield
    counts = entry.counts
    toNetwork, toPlain = counts.carried()
    negotiation, handshake = counts.durations()
    return {
        "name": served.name,
        "state": served.state,
        "mode": served.mode,
        "dialect": served.dialect,
        "local": list(served.local),
        "remote": list(served.remote),
        "expected": served.expected[:_MAX_DETAIL] or None,
        "identities": identities,
        "withdrawn": [str(each) for each in served.withdrawn],
        "revocation_lists": [
            {"issuer": nameOf(each)[:_MAX_DETAIL], "next_update": each.end}
            for each in served.revocations
        ],
        "connections": counts.connections,
        "refused": dict(counts.refusals),
        "open": len(counts.opened),
        "outcomes": dict(counts.outcomes),
        "negotiation": _durations(negotiation),
        "handshake": _durations(handshake),
        "resumed": counts.resumed,
        "to_network": toNetwork,
        "to_plain": toPlain,
        "backends": dict(map(_backend, served.backends)),
        "rates": entry.rates.shown(),
    }


def _backend(backend: Backend) -> tuple[str, BackendFacts]:
    return str(backend.address), {
        "up": backend.isUp,
        "heard": backend.heard,
        "open": backend.open,
        "connections": backend.connections,
        "failures": backend.failures,
    }


def _identities(served: Shown, now: float) -> Iterator[IdentityFacts]:
    today = datetime.fromtimestamp(now, UTC)
    for identity, certificate in served.certificates.items():
        lease = served.leases.get(identity)
        yield {
            "identity": str(identity),
            "not_before": certificate.not_valid_before_utc.timestamp(),
            "not_after": certificate.not_valid_after_utc.timestamp(),
            "is_due": isDue(certificate, today) if lease is None else lease.isOverdue(now),
            "is_leased": lease is not None,
        }


def _connection(record: Record, now: float, worker: int | None) -> ConnectionFacts:
    return {
        "tunnel": record.tunnel,
        "worker": worker,
        "began": record.began,
        "age": now - record.began,
        "stage": record.stage.value,
        "peer": str(record.peer),
        "backend": None if record.backend is None else str(record.backend),
        "identity": None if record.identity is None else str(record.identity),
        "sni": printable(record.serverName) if record.serverName else None,
        "alpn": printable(record.alpn.decode("latin-1")) if record.alpn else None,
        "dialect": record.dialect,
        "version": record.version or None,
        "suite": record.suite or None,
        "group": record.group or None,
        "resumed": record.isResumed if record.version else None,
        "to_network": record.toNetwork,
        "to_plain": record.toPlain,
    }


def _failure(record: Record, worker: int | None) -> FailureFacts:
    return {
        "time": record.began + record.seconds,
        "tunnel": record.tunnel,
        "worker": worker,
        "peer": str(record.peer),
        "backend": None if record.backend is None else str(record.backend),
        "stage": record.reached.value,
        "outcome": record.outcome,
        "detail": str(record.error)[:_MAX_DETAIL],
        "hint": hintFor(record) or None,
    }


def _process(ledger: Ledger, source: Source, worker: int | None) -> ProcessFacts:
    used = resource.getrusage(resource.RUSAGE_SELF)
    virtual, resident = _memory()
    return {
        "worker": worker,
        "pid": os.getpid(),
        "started": ledger.began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "resident_bytes": resident,
        "virtual_bytes": virtual,
        "open_files": _openFiles(),
        "max_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "log_lines_dropped": source.dropped(),
    }


def _memory() -> tuple[int | None, int | None]:
    """
    Bytes of memory, the virtual and what of it is resident (proc(5)).
    """
    try:
        virtual, resident = Path("/proc/self/statm").read_text().split()[:2]
    except (OSError, ValueError):
        return None, None
    return int(virtual) * _PAGE_BYTES, int(resident) * _PAGE_BYTES


def _openFiles() -> int | None:
    """
    How many descriptors are open.  Linux counts them itself from 6.2 on; before that they are
    listed, which takes its time where there are thousands.
    """
    try:
        known = os.stat("/proc/self/fd").st_size  # noqa: PTH116 - as below
        return known or len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 - without objects
    except OSError:
        return None
