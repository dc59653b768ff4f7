"""
How the process that shows the status learns that of its workers: a socket between each of them and
it, on which it asks, and the worker answers.

The facts are JSON in netstrings.  A worker that does not answer in time is left out, and named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import NetstringReceiver
from twisted.python.failure import Failure

from tlstunnel.status.answers import Gather, Gathered
from tlstunnel.status.facts import Snapshot

#: Seconds that a worker may take to answer.
ANSWER_SECONDS = 2.0

#: The longest answer: that of hundreds of tunnels.
MAX_ANSWER_BYTES = 32 * 1024 * 1024

_QUESTION = b"status"


class Teller(NetstringReceiver):
    """
    The worker's end.
    """

    MAX_LENGTH = len(_QUESTION)

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        """
        @param take: looks at this process.
        """
        self._take = take

    def stringReceived(self, string: bytes) -> None:
        """
        We are asked.
        """
        self.sendString(json.dumps(self._take()).encode())


class Asker(NetstringReceiver):
    """
    The end of who asks.
    """

    MAX_LENGTH = MAX_ANSWER_BYTES

    def __init__(self) -> None:
        self._waiting: list[Deferred[Snapshot]] = []
        # Whether a question is on its way: who asks meanwhile gets the answer to that.
        self._isAsked = False
        self._isLost = False

    def ask(self) -> Deferred[Snapshot]:
        """
        What the worker says; it can be cancelled.
        """
        answer: Deferred[Snapshot] = Deferred(self._waiting.remove)
        if self._isLost or self.transport is None:
            answer.errback(ConnectionLost())
            return answer
        if not self._isAsked:
            self._isAsked = True
            self.sendString(_QUESTION)
        self._waiting.append(answer)
        return answer

    def stringReceived(self, string: bytes) -> None:
        """
        The worker has answered.
        """
        waiting, self._waiting = self._waiting, []
        self._isAsked = False
        snapshot: Snapshot = json.loads(string)
        for each in waiting:
            each.callback(snapshot)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It will not answer any more.
        """
        self._isLost = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(reason)


def gatherFrom(
    clock: IReactorTime,
    own: Callable[[], Snapshot],
    workers: Callable[[], Mapping[int, Asker | None]],
) -> Gather:
    """
    Asks this process and its workers.

    @param own: looks at this process.
    @param workers: gives the end for each worker, by its number; C{None} for one that is not there.
    """

    def gather() -> Deferred[Gathered]:
        asked = workers()
        waiting = []
        for end in asked.values():
            answer: Deferred[Snapshot] = Deferred()
            if end is None:
                answer.errback(ConnectionLost())
            else:
                answer = end.ask().addTimeout(ANSWER_SECONDS, clock)
            waiting.append(answer)
        return DeferredList(waiting, consumeErrors=True).addCallback(together, list(asked))

    def together(results: list[tuple[bool, Snapshot]], numbers: list[int]) -> Gathered:
        answered = tuple(snapshot for isThere, snapshot in results if isThere)
        missing = tuple(
            number for number, (isThere, _) in zip(numbers, results, strict=True) if not isThere
        )
        return Gathered((own(), *answered), missing)

    return gather
