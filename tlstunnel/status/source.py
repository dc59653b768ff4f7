"""
What the status is about: the tunnels of a process, as whoever runs them shows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.description import Tunnel

#: What a tunnel can be, the best first.  It accepts connections; as many are there as the limits
#: allow; it accepts no more, and lets those there are come to their end; it does not listen yet.
UP, FULL, DRAINING, DOWN = STATES = ("up", "full", "draining", "down")


class Served(Protocol):
    """
    A tunnel that is served here; L{tlstunnel.program.service.TunnelService} is one.
    """

    @property
    def tunnel(self) -> Tunnel:
        """
        The tunnel as new connections are served.
        """

    @property
    def factory(self) -> ProxyFactory | None:
        """
        What serves its connections, if there is anything yet.
        """

    @property
    def addresses(self) -> list[str]:
        """
        Where it listens; empty if it does not.
        """

    @property
    def running(self) -> bool | int:
        """
        Whether it was started, and not stopped.
        """


class Source(Protocol):
    """
    Knows the tunnels of a process.
    """

    def served(self) -> Iterable[Served]:
        """
        Those that are served now, in the order of the file; behind them those that were removed
        and still have connections.
        """

    def dropped(self) -> int:
        """
        Lines of the log for which there was no room.
        """


def stateOf(served: Served) -> str:
    """
    What C{served} is, one of L{STATES}.
    """
    factory = served.factory
    if factory is None:
        return DOWN
    if not served.running:
        return DRAINING if factory.isBusy else DOWN
    if not served.addresses:
        return DOWN
    return FULL if factory.admission.isFull else UP
