"""
The closing of connections that do not move, while a service stops.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from functools import partial
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from tlstunnel.errors import Stopped, TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.tunnel.relay import SLOW_READER_SECONDS, Relay

#: Seconds between looks at the connections that are left while stopping: who did not move in that
#: time is closed, unless its peer has bytes to take.
QUIET_SECONDS = 2.0


class Moving(Hashable, Protocol):
    """
    A connection that there is; a L{tlstunnel.tunnel.pair.Pair} is one.
    """

    @property
    def moved(self) -> int:
        """
        How many bytes have moved on it.
        """

    @property
    def relay(self) -> Relay | None:
        """
        What joins its legs, if they are joined.
        """

    def end(self, error: TunnelError) -> None:
        """
        End it.
        """


class Stopping(Protocol):
    """
    A service that accepts no more.
    """

    @property
    def isBusy(self) -> bool:
        """
        Whether there is anything left.
        """

    def moving(self) -> Collection[Moving]:
        """
        Its connections.
        """

    def dismiss(self) -> None:
        """
        End those of which nothing is known yet.
        """


def closeQuiet(
    service: Stopping,
    deadlines: Deadlines,
    clock: IReactorTime,
    before: Mapping[Moving, tuple[Any, float]] | None = None,
) -> None:
    """
    Close the connections that have not moved for a while, and look again later.

    @param before: how far each was at the last look, and since when; nothing at the first.
    """
    before = before or {}
    now = clock.seconds()
    looked: dict[Moving, tuple[Any, float]] = {}
    for each in tuple(service.moving()):
        relay = each.relay
        progress = each.moved, relay.measure() if relay is not None else ()
        known, since = before.get(each, (None, now))
        if known != progress:
            since = now
        # What a slow peer has not taken yet would be lost.
        isDelivering = relay is not None and relay.isDelivering
        if now - since >= (SLOW_READER_SECONDS if isDelivering else QUIET_SECONDS):
            each.end(Stopped())
        looked[each] = progress, since
    if before:
        service.dismiss()
    if service.isBusy:
        deadlines.after(QUIET_SECONDS, partial(closeQuiet, service, deadlines, clock, looked))
