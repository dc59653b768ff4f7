"""
The time that handshakes take of a turn of the reactor.

One step of a handshake is one call of OpenSSL, which parses and verifies all that the peer shows;
nobody else is served meanwhile.  Many peers can ask for such steps at the same moment.  So no more
of them are begun in a turn than fit into L{TURN_SECONDS}, and none behind a long one; the others
wait, in the order in which they came, and whatever else happens comes between.  This module knows
the reactor, and nothing of connections.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from typing import Any

#: Seconds of one turn of the reactor, beside the step that was begun last: usual steps take one of
#: these milliseconds or less, and a shorter turn makes all of them wait for nothing.
TURN_SECONDS = 0.008

#: Seconds from which on a step is not a usual one, and the last of its turn.
LONG_SECONDS = 0.002


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
        self._waiting: deque[Callable[[], object]] = deque()

    def take(self, step: Callable[[], object], later: Callable[[], object]) -> bool:
        """
        Do C{step} if this turn has time for it; if not, C{later} is called when it is its turn.

        @return: whether it was done.
        """
        if not self._waiting:
            now = self._seconds()
            spent = self._spent - (now - self._ended)
            if spent < TURN_SECONDS:
                self._do(step, now, spent if spent > 0 else 0.0)
                return True
            self._reactor.callLater(0, self._turn)
        self._waiting.append(later)
        return False

    def _do(self, step: Callable[[], object], began: float, spent: float) -> None:
        try:
            step()
        finally:
            self._ended = ended = self._seconds()
            taken = ended - began
            spent += taken
            self._spent = spent if taken < LONG_SECONDS else max(spent, TURN_SECONDS)

    def _turn(self) -> None:
        """
        A new turn: do of what waits as much as fits.
        """
        self._spent = 0.0
        try:
            while self._waiting and self._spent < TURN_SECONDS:
                self._do(self._waiting.popleft(), self._seconds(), self._spent)
        finally:
            if self._waiting:
                self._reactor.callLater(0, self._turn)


@lru_cache(maxsize=8)
def turnsOf(reactor: Any) -> Turns:
    """
    Those that all handshakes of C{reactor} take.  A process has one, and tests have some.
    """
    return Turns(reactor)
