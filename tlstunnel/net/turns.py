"""
The time that handshakes, and long work, take of a turn of the reactor.

One step of a handshake is one call of OpenSSL, which parses and verifies all that the peer shows;
nobody else is served meanwhile.  Many peers can ask for such steps at the same moment.  So no more
of them are begun in a turn than fit into L{TURN_SECONDS}, and none behind a long one; the others
wait, in the order in which they came, and whatever else happens comes between.

Other work that grows with what there is, such as a look at a thousand tunnels, is a generator:
whatever comes between two of its steps has to be all right.  L{spread} lets it have a part of each
turn, L{atOnce} does it where nobody else is served.  This module knows the reactor, and nothing of
connections.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from functools import lru_cache
from time import monotonic
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

#: Seconds of one turn of the reactor, beside the step that was begun last: usual steps take one of
#: these milliseconds or less, and a shorter turn makes all of them wait for nothing.
TURN_SECONDS = 0.008

#: Seconds from which on a step is not a usual one, and the last of its turn.
LONG_SECONDS = 0.002

#: Seconds of one turn that L{spread} takes, beside the step that was begun last.
WORK_SECONDS = 0.002

#: The longest rest until it goes on, in seconds.
REST_SECONDS = 0.02

_T = TypeVar("_T")


async def spread(reactor: Any, steps: Generator[None, None, _T]) -> _T:
    """
    Do C{steps}, some in each turn, with a rest as long as they took: what a connection carries
    takes several turns, and would wait in each of them.

    @return: what the generator returns.
    """
    began = reactor.seconds()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: _T = end.value
            return found
        taken = reactor.seconds() - began
        if not 0.0 <= taken < WORK_SECONDS:
            await rest(reactor, min(max(taken, 0.0), REST_SECONDS))
            began = reactor.seconds()


def rest(reactor: Any, seconds: float) -> Deferred[None]:
    """
    Fires in a later turn, after C{seconds} at the earliest; it can be cancelled.
    """
    over: Deferred[None] = Deferred(lambda _: call.cancel())
    call: IDelayedCall = reactor.callLater(seconds, over.callback, None)
    return over


def atOnce(steps: Generator[None, None, _T]) -> _T:
    """
    Do all of C{steps} in this turn.

    @return: what the generator returns.
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: _T = end.value
            return found


class Spreading:
    """
    Steps that are done as L{spread} does them, or at once, when they have to be over.
    """

    def __init__(self, reactor: Any, steps: Generator[None, None, None]) -> None:
        """
        They begin now.

        @param steps: which cannot fail.
        """
        self._steps = steps
        self._waiting: list[Deferred[None]] = []
        self._isOver = False
        self._running = Deferred.fromCoroutine(spread(reactor, steps))
        self._running.addErrback(self._cut).addBoth(self._over)

    def finish(self) -> None:
        """
        Do in this turn what is left.
        """
        self._running.cancel()

    def whenOver(self) -> Deferred[None]:
        """
        Fires once all are done; it can be cancelled, which changes nothing for them.
        """
        over: Deferred[None] = Deferred(self._waiting.remove)
        if self._isOver:
            over.callback(None)
        else:
            self._waiting.append(over)
        return over

    def _cut(self, failure: Failure) -> None:
        failure.trap(CancelledError)
        atOnce(self._steps)

    def _over(self, result: Failure | None) -> Failure | None:
        self._isOver = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)
        return result


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
