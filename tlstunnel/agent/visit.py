"""
One connection to an agent: a question, its answer, and the end, all within a time limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from tlstunnel.identity.leafrequest import (
    LARGEST_QUESTION,
    Answer,
    Reading,
    Unreadable,
    Verdict,
    message,
)

#: Seconds that a connection may last.
VISIT_SECONDS = 5.0


class Visit(Protocol):
    """
    A connection of a tunnel.
    """

    def __init__(
        self, clock: Any, answer: Callable[[bytes], Answer], ended: Callable[[], None]
    ) -> None:
        """
        @param answer: answers a question.
        @param ended: called when the connection is gone.
        """
        self._clock = clock
        self._answer = answer
        self._ended = ended
        self._reading = Reading(LARGEST_QUESTION)
        self._isAnswered = False
        self._due: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Wait for the question.
        """
        self._due = self._clock.callLater(VISIT_SECONDS, self._tooLate)

    def dataReceived(self, data: bytes) -> None:
        """
        Read on; what comes behind the question is dropped.
        """
        if self._isAnswered:
            return
        try:
            self._reading.take(data)
        except Unreadable as error:
            self.say(Answer(Verdict.REFUSED, words=str(error)))
            return
        if self._reading.content is not None:
            self.say(self._answer(self._reading.content))

    def say(self, answer: Answer) -> None:
        """
        Say that, and close.
        """
        self._isAnswered = True
        transport = cast(Any, self.transport)
        transport.write(message(answer.written()))
        transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        It has ended.
        """
        due, self._due = self._due, None
        if due is not None:
            due.cancel()
        self._ended()

    def _tooLate(self) -> None:
        self._due = None
        cast(Any, self.transport).abortConnection()
