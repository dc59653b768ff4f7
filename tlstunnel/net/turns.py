"""
The time that handshakes take of a turn of the reactor.

One step of a handshake is one call of OpenSSL, which parses and verifies all that the peer shows;
nobody else is served meanwhile.  Many peers can ask for such steps at the same moment.  So no more
of them are begun in a turn than fit into L{TURN_SECONDS}, and none behind a long one; the others
wait, and whatever else happens comes between.

Sources take turns there: one has a step of the connection that came first, and is the last then.
So whoever makes many handshakes at once waits for them himself, and everybody else for one step of
each source that waits.  A source is what limits count as one by default
(L{tlstunnel.net.origins}).  It is that of the peer that shakes hands with us, which decides how
long a step takes.  In client mode that is the server: one whose certificates are dear delays those
who want something of it, and nobody else.  The apps could not be told apart: most are on this host.

This module knows the reactor and addresses, and nothing of connections.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from typing import Any

from tlstunnel.address import Address
from tlstunnel.net.origins import Grouping, Source

#: Seconds of one turn of the reactor, beside the step that was begun last: usual steps take one of
#: these milliseconds or less, and a shorter turn makes all of them wait for nothing.
TURN_SECONDS = 0.008

#: Seconds from which on a step is not a usual one, and the last of its turn.
LONG_SECONDS = 0.002

_GROUPING = Grouping()

_Step = Callable[[], object]


class Turns:
    """
    Those of one reactor.
    """

    def __init__(self, reactor: Any, seconds: Callable[[], float] = monotonic) -> None:
        """
        @param seconds: gives the time.
        """
        self._reactor = reactor
        self._seconds = seconds
        # Of the turn that goes on: as time passes with something else, it counts for less.
        self._spent = 0.0
        self._ended = 0.0
        self._isDue = False
        # What waits, by source, the one whose turn it is first; of each in the order in which it
        # came.  A dict could forget any as fast, but not find its first.
        self._waiting: OrderedDict[Source | str, OrderedDict[_Step, None]] = OrderedDict()

    def take(self, step: _Step, later: _Step, peer: Address) -> bool:
        """
        Do C{step} if this turn has time for it; if not, C{later} is called when it is its turn.

        @param peer: who has asked for it.
        @return: whether it was done.
        """
        if not self._waiting:
            now = self._seconds()
            spent = self._spent - (now - self._ended)
            if spent < TURN_SECONDS:
                self._do(step, now, spent if spent > 0 else 0.0)
                return True
        self._waiting.setdefault(_sourceOf(peer), OrderedDict())[later] = None
        self._goOn()
        return False

    def leave(self, later: _Step, peer: Address) -> None:
        """
        Forget C{later}, which waits for its turn.
        """
        source = _sourceOf(peer)
        several = self._waiting[source]
        del several[later]
        if not several:
            del self._waiting[source]

    def _do(self, step: _Step, began: float, spent: float) -> None:
        try:
            step()
        finally:
            self._ended = ended = self._seconds()
            taken = ended - began
            spent += taken
            self._spent = spent if taken < LONG_SECONDS else max(spent, TURN_SECONDS)

    def _goOn(self) -> None:
        if self._waiting and not self._isDue:
            self._isDue = True
            self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        """
        A new turn: do of what waits as much as fits.
        """
        self._isDue = False
        self._spent = 0.0
        try:
            while self._waiting and self._spent < TURN_SECONDS:
                self._do(self._next(), self._seconds(), self._spent)
        finally:
            self._goOn()

    def _next(self) -> _Step:
        """
        Take what is next away from what waits.
        """
        source, several = self._waiting.popitem(last=False)
        later, _ = several.popitem(last=False)
        if several:
            # Behind all others.
            self._waiting[source] = several
        return later


def _sourceOf(peer: Address) -> Source | str:
    """
    Who waits for one another.
    """
    try:
        return _GROUPING.sourceOf(peer)
    except (OSError, ValueError):
        # A proxy has resolved the name, whatever is in it.
        return peer.host


@lru_cache(maxsize=8)
def turnsOf(reactor: Any) -> Turns:
    """
    Those that all handshakes of C{reactor} take.  A process has one, and tests have some.
    """
    return Turns(reactor)
