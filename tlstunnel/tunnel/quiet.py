"""
The closing of connections that do not move, while a service stops.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from functools import partial
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tlstunnel.errors import Stopped, TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.tunnel.relay import SLOW_READER_SECONDS, Relay

#: Seconds between looks at the connections that are left while stopping: who did not move in that
#: time is closed, unless its peer has bytes to take.
QUIET_SECONDS = 2.0

#: Connections that are looked at in one turn of the reactor: each takes some system calls.
LOOKS_PER_TURN = 100


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


class Quiet:
    """
    Looks at the connections of a service that is stopping, again and again, and closes those that
    have not moved for a while.
    """

    _log = Logger()

    def __init__(self, service: Stopping, deadlines: Deadlines, clock: IReactorTime) -> None:
        self._service = service
        self._deadlines = deadlines
        self._clock = clock
        # How far each was at the last look, and since when; nothing at the first.
        self._before: Mapping[Moving, tuple[Any, float]] = {}

    def look(self) -> None:
        """
        Look at all that there are, some in each turn of the reactor.
        """
        self._lookAtSome(list(self._service.moving()), {})

    def _lookAtSome(self, left: list[Moving], looked: dict[Moving, tuple[Any, float]]) -> None:
        """
        @param left: those that are to be looked at.
        @param looked: what was seen of the others.
        """
        there = self._service.moving()
        for each in left[-LOOKS_PER_TURN:]:
            # Others have ended meanwhile.
            if each in there:
                try:
                    looked[each] = self._lookAt(each)
                except Exception:  # noqa: BLE001 - the others are to be looked at
                    self._log.failure("a connection could not be looked at, and ends")
                    each.end(Stopped())
        del left[-LOOKS_PER_TURN:]
        if left:
            self._deadlines.after(0, partial(self._lookAtSome, left, looked))
            return
        if self._before:
            self._service.dismiss()
        self._before = looked
        if self._service.isBusy:
            self._deadlines.after(QUIET_SECONDS, self.look)

    def _lookAt(self, each: Moving) -> tuple[Any, float]:
        """
        Close one, if it has not moved for a while.

        @return: how far it is, and since when.
        """
        now = self._clock.seconds()
        relay = each.relay
        progress = each.moved, relay.measure() if relay is not None else ()
        known, since = self._before.get(each, (None, now))
        if known != progress:
            since = now
        # What a slow peer has not taken yet would be lost.
        isDelivering = relay is not None and relay.isDelivering
        if now - since >= (SLOW_READER_SECONDS if isDelivering else QUIET_SECONDS):
            each.end(Stopped())
        return progress, since
