"""
Long work that takes a part of each turn of the reactor.

Work that grows with what there is, such as a look at a thousand tunnels, is a generator: whatever
comes between two of its steps has to be all right.  L{spread} lets it have a part of each turn,
L{atOnce} does it where nobody else is served.  This module knows the reactor, and nothing of
connections.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

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

    _log = Logger()

    def __init__(self, reactor: Any, steps: Generator[None, None, None]) -> None:
        """
        They begin now.

        @param steps: which are not to fail; where they do, that is logged, and they are over.
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

    def _over(self, result: Failure | None) -> None:
        self._isOver = True
        if isinstance(result, Failure):
            self._log.failure("work that takes several turns failed", result)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)
