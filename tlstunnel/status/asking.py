"""
How the process that shows the status learns that of its workers.

Each is asked one question at a time; one that does not answer in time is left out, and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from tlstunnel.status.facts import Gathered, Snapshot

#: Seconds that a worker may take to answer.
ANSWER_SECONDS = 2.0


class Asker:
    """
    Asks one worker.
    """

    def __init__(self, ask: Callable[[], Deferred[Snapshot]]) -> None:
        """
        @param ask: sends the question; what it returns need not fire.
        """
        self._ask = ask
        self._waiting: list[Deferred[Snapshot]] = []
        # Whether a question is on its way: who asks meanwhile gets the answer to that.
        self._isAsked = False

    def ask(self) -> Deferred[Snapshot]:
        """
        What the worker says; it can be cancelled.
        """
        answer: Deferred[Snapshot] = Deferred(self._waiting.remove)
        self._waiting.append(answer)
        if not self._isAsked:
            self._isAsked = True
            self._ask().addBoth(self._answered)
        return answer

    def _answered(self, result: Snapshot | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        self._isAsked = False
        for each in waiting:
            each.callback(result)


def gather(
    clock: IReactorTime, own: Callable[[], Snapshot], workers: Mapping[int, Asker]
) -> Deferred[Gathered]:
    """
    Ask this process and its workers.

    @param own: looks at this process.
    @param workers: by their numbers.
    """
    waiting = [each.ask().addTimeout(ANSWER_SECONDS, clock) for each in workers.values()]
    return DeferredList(waiting, consumeErrors=True).addCallback(_together, own, tuple(workers))


def _together(
    results: Iterable[tuple[bool, Snapshot]], own: Callable[[], Snapshot], numbers: Iterable[int]
) -> Gathered:
    found = tuple(zip(numbers, results, strict=True))
    answered = (snapshot for _, (isThere, snapshot) in found if isThere)
    return Gathered(
        (own(), *answered), tuple(number for number, (isThere, _) in found if not isThere)
    )
