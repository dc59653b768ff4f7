"""
One connection to an agent: a question and its answer within a time limit; and then the end, or the
next question of somebody who may stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.identity.leafrequest import (
    LARGEST_QUESTION,
    Answer,
    Reading,
    Unreadable,
    Verdict,
    message,
)

#: Seconds in which the first question has to be there.
VISIT_SECONDS = 5.0


@implementer(IPushProducer)
class Visit(Protocol):
    """
    A connection of a tunnel.  Who does not read the answers is not heard, so that they do not pile
    up here.

    @ivar isStaying: whether something was answered already.
    """

    def __init__(
        self,
        clock: Any,
        answer: Callable[[bytes], Answer],
        patience: Callable[[Answer], float],
        ended: Callable[[Visit], None],
    ) -> None:
        """
        @param answer: answers a question.
        @param patience: gives the seconds that there are for the next question, once something was
            answered; 0 if there may be none.
        @param ended: called with this when the connection is gone.
        """
        self._clock = clock
        self._answer = answer
        self._patience = patience
        self._ended = ended
        self._reading = Reading(LARGEST_QUESTION)
        self._isOver = self.isStaying = False
        self._due: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Wait for the question.
        """
        self._due = self._clock.callLater(VISIT_SECONDS, self._tooLate)
        cast(Any, self.transport).registerProducer(self, True)

    def pauseProducing(self) -> None:
        """
        Answers are not read.
        """
        cast(Any, self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        """
        They are again.
        """
        if not self._isOver:
            cast(Any, self.transport).resumeProducing()

    def stopProducing(self) -> None:
        """
        The connection is gone, which C{connectionLost} hears as well.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        Read on; nobody may ask before the last answer is there.
        """
        if self._isOver:
            return
        try:
            self._reading.take(data)
        except Unreadable as error:
            self._say(Answer(Verdict.REFUSED, words=str(error)), 0)
            return
        content = self._reading.content
        if content is not None:
            answer = self._answer(content)
            self._say(answer, self._patience(answer))

    def leave(self) -> None:
        """
        End it, once all is sent.
        """
        self._isOver = True
        transport = cast(Any, self.transport)
        transport.unregisterProducer()
        transport.loseConnection()

    def drop(self) -> None:
        """
        It could not be begun with: close what there is of it.
        """
        self._isOver = True
        if self.transport is not None:
            cast(Any, self.transport).abortConnection()

    def _say(self, answer: Answer, patience: float) -> None:
        cast(Any, self.transport).write(message(answer.written()))
        if not patience:
            self.leave()
            return
        self.isStaying = True
        self._reading = Reading(LARGEST_QUESTION)
        assert self._due is not None
        self._due.reset(patience)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        It has ended.
        """
        due, self._due = self._due, None
        if due is not None:
            due.cancel()
        self._ended(self)

    def _tooLate(self) -> None:
        self._due = None
        cast(Any, self.transport).abortConnection()
