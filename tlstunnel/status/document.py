"""
C{/status.json}: what it has in it.

It is an interface, described in C{docs/status.md}.  Fields are added as they are needed; L{VERSION}
is raised when one is removed or means something else.  The metrics, the page and the table on a
terminal have nothing but this document, which L{tlstunnel.status.combine} makes.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any, TypedDict

from tlstunnel.status.facts import (
    ConnectionFacts,
    Durations,
    FailureFacts,
    IdentityFacts,
    ListFacts,
    ProcessFacts,
    PullFacts,
    ReloadFacts,
)

#: The version of the document.
VERSION = 1


class Software(TypedDict):
    """
    What runs.
    """

    version: str
    openssl: str
    python: str


class Identity(IdentityFacts):
    """
    One of our identities.

    @ivar days_left: until its certificate expires; negative if it has.
    @ivar state: C{valid}, C{due} to be renewed, C{expired}, or C{early}: not valid yet.
    """

    days_left: float
    state: str


class BackendStatus(TypedDict):
    """
    A place that a tunnel connects to, in all processes together.

    @ivar state: C{up}, or C{down} if it did not serve when it was tried last.
    """

    backend: str
    state: str
    open: int
    connections: int
    failures: int


class TunnelStatus(TypedDict):
    """
    One tunnel, in all processes together.

    @ivar withdrawn: those of our identities that are, so that nobody is served by them.
    @ivar backends: where it connects to, as far as names have been resolved.
    """

    name: str
    state: str
    mode: str
    dialect: str
    local: list[str]
    remote: list[str]
    expected: str | None
    identities: list[Identity]
    withdrawn: list[str]
    revocation_lists: list[ListFacts]
    backends: list[BackendStatus]
    connections: int
    refused: dict[str, int]
    open: int
    ended: dict[str, int]
    negotiation: Durations
    handshake: Durations
    resumed: int
    to_network: int
    to_plain: int
    rates: dict[str, list[int]]


class Connections(TypedDict):
    """
    Those open.

    @ivar shown: the newest and the oldest of them, the newest first.
    """

    open: int
    shown: list[ConnectionFacts]


class FailureGroup(TypedDict):
    """
    Of the last failures those with the same outcome and the same hint, the newest first.
    """

    outcome: str
    hint: str | None
    count: int
    last: float
    entries: list[FailureFacts]


class Reloads(TypedDict):
    """
    What came of reading the configuration again; the newest first.
    """

    applied: int
    failed: int
    last: list[ReloadFacts]


class Document(TypedDict):
    """
    All of it.

    @ivar host: what this host calls itself.
    @ivar healthy: whether all processes answer, and all tunnels accept connections.
    @ivar problems: why not, a line each.
    @ivar pool_pull: the directory that the pool follows; C{None} if it follows none.
    @ivar silent: the numbers of the workers that did not answer in time.
    """

    version: int
    time: float
    host: str
    healthy: bool
    problems: list[str]
    software: Software
    interval: int
    bounds: list[float]
    silent: list[int]
    processes: list[ProcessFacts]
    tunnels: list[TunnelStatus]
    connections: Connections
    failures: list[FailureGroup]
    reloads: Reloads
    pool_pull: PullFacts | None
    log_lines_dropped: int


def inJSON(document: Mapping[str, Any]) -> Generator[None, None, str]:
    """
    What L{json.dumps} makes of C{document}, a tunnel or a connection a step.
    """
    members = []
    for key, value in document.items():
        if isinstance(value, list):
            elements = []
            for each in value:
                elements.append(json.dumps(each))
                yield
            text = f"[{', '.join(elements)}]"
        else:
            text = json.dumps(value)
        members.append(f"{json.dumps(key)}: {text}")
        yield
    return f"{{{', '.join(members)}}}"
