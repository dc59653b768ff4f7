"""
The closing of connections that do not move, while a tunnel stops.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.internet.interfaces import IReactorTime

from tlstunnel.errors import Stopped
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.relay import SLOW_READER_SECONDS

#: Seconds between looks at the connections that are left while stopping: who did not move in that
#: time is closed, unless its peer has bytes to take.
QUIET_SECONDS = 2.0


def closeQuiet(
    factory: ProxyFactory,
    clock: IReactorTime,
    before: Mapping[Pair, tuple[Any, float]] | None = None,
) -> None:
    """
    Close the connections that have not moved for a while, and look again later.

    @param before: how far each was at the last look, and since when; nothing at the first.
    """
    before = before or {}
    now = clock.seconds()
    looked: dict[Pair, tuple[Any, float]] = {}
    for pair in tuple(factory.pairs):
        relay = pair.relay
        progress = pair.moved, relay.measure() if relay is not None else ()
        known, since = before.get(pair, (None, now))
        if known != progress:
            since = now
        # What a slow peer has not taken yet would be lost.
        isDelivering = relay is not None and relay.isDelivering
        if now - since >= (SLOW_READER_SECONDS if isDelivering else QUIET_SECONDS):
            pair.end(Stopped())
        looked[pair] = progress, since
    if before:
        factory.receptions.dismiss()
    if factory.isBusy:
        factory.deadlines.after(QUIET_SECONDS, partial(closeQuiet, factory, clock, looked))
