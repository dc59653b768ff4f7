"""
What is to be served: by this process, or by workers; and how that differs from what was.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from tlstunnel.errors import ConfigurationError
from tlstunnel.net.listen import Bound
from tlstunnel.poolservice.description import NAME, PoolDescription
from tlstunnel.status.facts import Gathered
from tlstunnel.tunnel.description import Tunnel

#: What can be served: each has a name, and says where it wants to listen.
Described = Tunnel | PoolDescription

#: Something wrong with the tunnel, or the pool service, of that name.
Refusal = tuple[str, ConfigurationError]


class Refused(Exception):
    """
    Tunnels cannot be served as they are described.

    @ivar refusals: why, for each of them.
    """

    def __init__(self, refusals: Iterable[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__("; ".join(str(error) for _, error in self.refusals))


@dataclass(frozen=True)
class Planned:
    """
    One tunnel, or the pool service.

    @ivar bound: its sockets.
    @ivar told: what a worker is told of it; see L{tlstunnel.program.sources}.
    """

    described: Described
    bound: tuple[Bound, ...]
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """
    All of them.

    @ivar drainSeconds: how long connections may go on of which the tunnel is gone, or the process
        is to end; 0 for no limit.
    @ivar isCounted: whether connections are counted, for the status.
    """

    services: tuple[Planned, ...] = ()
    drainSeconds: float = 3600.0
    isCounted: bool = False

    @property
    def bound(self) -> set[Bound]:
        """
        All sockets.
        """
        return {bound for planned in self.services for bound in planned.bound}


@dataclass(frozen=True)
class Changes:
    """
    What is different in a new state, by the names of what is served.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()

    @classmethod
    def between(
        cls, before: Sequence[Described], after: Sequence[Described]
    ) -> Generator[None, None, Changes]:
        """
        Compare two states, a tunnel a step.
        """
        old = {each.name: each for each in before}
        new = {each.name: each for each in after}
        both = [name for name in new if name in old]
        changed = set()
        for name in both:
            if new[name] != old[name]:
                changed.add(name)
            yield
        return cls(
            tuple(name for name in new if name not in old),
            tuple(name for name in both if name in changed),
            tuple(name for name in old if name not in new),
            tuple(name for name in both if name not in changed),
        )

    def sentences(self) -> list[str]:
        """
        What is different, a line for each.
        """
        return [
            f"{_inWords(name)}: {what}" if name else what
            for names, what in (
                (self.added, "added"),
                (self.changed, "changed"),
                (self.removed, "removed"),
            )
            for name in names
        ]

    def __str__(self) -> str:
        parts = [
            f"{len(names)} {what} ({', '.join(names)})"
            for names, what in (
                (self.added, "added"),
                (self.changed, "changed"),
                (self.removed, "removed"),
            )
            if names
        ]
        return ", ".join([*parts, f"{len(self.unchanged)} unchanged"])


def _inWords(name: str) -> str:
    return name if name == NAME else f"tunnel {name}"


class IServing(Interface):
    """
    Serves tunnels, in this process or in others.  A new state comes in two steps, so that it can
    come in several processes at once or in none.
    """

    ledger = Attribute("L{tlstunnel.status.ledger.Ledger}: what this process remembers of itself.")

    def prepareNow(plan: Plan) -> None:
        """
        Get ready to serve C{plan}, before the reactor runs.

        @raise Refused: it cannot be served.
        """

    def prepare(plan: Plan) -> Deferred[None]:
        """
        Get ready to serve C{plan}, while connections go on.

        @return: fires when all is ready; fails with L{Refused} if it cannot be served, and can be
            cancelled.
        """

    def commit() -> Deferred[Any]:
        """
        Serve what was prepared.  This cannot fail.

        @return: fires once it is served everywhere.
        """

    def abort() -> None:
        """
        Forget what was prepared, if anything was.
        """

    def heed() -> None:
        """
        Serve nobody any more as somebody who is withdrawn by now, whatever else has changed.
        """

    def whenUp() -> Deferred[None]:
        """
        Fires once connections are accepted; for one caller.
        """

    def tally() -> Mapping[str, int]:
        """
        How many there are: of each C{tunnel}, C{pool service}, C{connection} and C{worker}, as far
        as it knows.
        """

    def gather() -> Deferred[Gathered]:
        """
        How all processes are; a worker that does not answer is named.
        """

    def hurry() -> None:
        """
        Close all connections now.
        """
