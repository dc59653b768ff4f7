"""
The facts of one process at one moment, as plain data: they are passed between processes as JSON.

All that a peer has said is in them only as L{tlstunnel.errors} quotes it, and at a length that is
bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict


class Durations(TypedDict):
    """
    See L{tlstunnel.status.counts.Histogram}.
    """

    counts: list[int]
    seconds: float


class IdentityFacts(TypedDict):
    """
    One of our identities; the times are those of its certificate, in seconds since 1970.  One that
    is leased is renewed by itself, and is due where that does not succeed.
    """

    identity: str
    not_before: float
    not_after: float
    is_due: bool
    is_leased: bool


class ListFacts(TypedDict):
    """
    One revocation list: whose it is, and when the next one should be there, in seconds since 1970.
    """

    issuer: str
    next_update: float


class BackendFacts(TypedDict):
    """
    A place that a tunnel connects to.

    See L{tlstunnel.net.remotes.Backend}; C{heard} is in seconds since 1970, or 0.
    """

    up: bool
    heard: float
    open: int
    connections: int
    failures: int


class Totals(TypedDict):
    """
    What is counted of a tunnel and never falls.

    @ivar backends: by their addresses.
    """

    connections: int
    refused: dict[str, int]
    outcomes: dict[str, int]
    negotiation: Durations
    handshake: Durations
    resumed: int
    to_network: int
    to_plain: int
    backends: dict[str, BackendFacts]


class TunnelFacts(Totals):
    """
    One tunnel.
    """

    name: str
    state: str
    mode: str
    dialect: str
    local: list[str]
    remote: list[str]
    expected: str | None
    identities: list[IdentityFacts]
    withdrawn: list[str]
    revocation_lists: list[ListFacts]
    open: int
    rates: dict[str, list[int]]


class ConnectionFacts(TypedDict):
    """
    A connection that is open.
    """

    tunnel: str
    worker: int | None
    began: float
    age: float
    stage: str
    peer: str
    backend: str | None
    identity: str | None
    sni: str | None
    alpn: str | None
    dialect: str
    version: str | None
    suite: str | None
    group: str | None
    resumed: bool | None
    to_network: int
    to_plain: int


class FailureFacts(TypedDict):
    """
    A connection that did not end cleanly.
    """

    time: float
    tunnel: str
    worker: int | None
    peer: str
    backend: str | None
    stage: str
    outcome: str
    detail: str
    hint: str | None


class ReloadFacts(TypedDict):
    """
    See L{tlstunnel.status.ledger.Reload}.
    """

    time: float
    result: str
    changes: list[str]
    problems: list[str]


class PullFacts(TypedDict):
    """
    A directory that the pool follows.

    @ivar fresh: whether the pool is as the directory has it now.
    @ivar entries: how many there are below its base.
    @ivar changed: when the pool was changed last, in seconds since 1970; C{None} if it was not.
    @ivar failure: why the directory cannot be followed now.
    """

    url: str
    fresh: bool
    entries: int
    changed: float | None
    failure: str | None


class ProcessFacts(TypedDict):
    """
    What the system knows of the process; C{None} where it does not tell.
    """

    worker: int | None
    pid: int
    started: float
    cpu_seconds: float
    resident_bytes: int | None
    virtual_bytes: int | None
    open_files: int | None
    max_files: int | None
    log_lines_dropped: int


class Snapshot(TypedDict):
    """
    One process.
    """

    time: float
    process: ProcessFacts
    tunnels: list[TunnelFacts]
    connections: list[ConnectionFacts]
    failures: list[FailureFacts]
    reloads: list[ReloadFacts]
    results: dict[str, int]
    pool_pull: PullFacts | None


@dataclass(frozen=True)
class Past:
    """
    What workers have counted that do not tell it any more: see L{tlstunnel.status.history}.

    @ivar tunnels: by their names.
    """

    tunnels: Mapping[str, Totals] = field(default_factory=dict)
    log_lines_dropped: int = 0


@dataclass(frozen=True)
class Gathered:
    """
    What the processes have said.

    @ivar silent: the numbers of the workers that have not.
    @ivar past: what others have counted.
    """

    snapshots: tuple[Snapshot, ...]
    silent: tuple[int, ...] = ()
    past: Past = field(default_factory=Past)
