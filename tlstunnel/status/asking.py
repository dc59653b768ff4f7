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
from tlstunnel.status.history import History

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


class Gathering:
    """
    Asks a process and its workers.
    """

    def __init__(
        self, clock: IReactorTime, own: Callable[[], Snapshot], workers: Mapping[int, Asker]
    ) -> None:
        """
        @param own: looks at this process.
        @param workers: by their numbers.
        """
        self._clock = clock
        self._own = own
        self._workers = workers
        self._history = History()

    def gather(self) -> Deferred[Gathered]:
        """
        Ask all of them.
        """
        waiting = [
            each.ask().addTimeout(ANSWER_SECONDS, self._clock) for each in self._workers.values()
        ]
        return DeferredList(waiting, consumeErrors=True).addCallback(self._together)

    def _together(self, results: Iterable[tuple[bool, Snapshot]]) -> Gathered:
        found = zip(self._workers, results, strict=True)
        answered = {number: snapshot for number, (isThere, snapshot) in found if isThere}
        silent = tuple(number for number in self._workers if number not in answered)
        return Gathered((self._own(), *answered.values()), silent, self._history.add(answered))
