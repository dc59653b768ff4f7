"""
What a protocol says: writing, producers of both kinds, and the end of its own direction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol

from tlstunnel.endpoints.leg import InnerLeg
from tlstunnel.endpoints.turn import Turn

#: While more than this many bytes were written and not sent, a producer has to wait.
WAITING_BYTES = 65536


class Producing:
    """
    The half of a transport that sends.

    @ivar producer: whoever is paused while the peer is slower than it is.
    @ivar protocol: whose transport it is, as long as it is connected.
    """

    def __init__(self, leg: InnerLeg, turn: Turn) -> None:
        self.leg = leg
        self._turn = turn
        self.protocol: Any = None
        self.connected = False
        self.disconnecting = False
        self.producer: Any = None
        self.streamingProducer = False
        self._isProducerPaused = False
        self._isLeaving = False
        self._isEnding = False
        self._hasEnded = False
        self._isHeard = False

    def write(self, data: bytes) -> None:
        """
        Send C{data}, as the peer takes it.
        """
        if isinstance(data, str):
            raise TypeError("data must be bytes, and not text")
        isOver = self._isEnding or (self._isLeaving and self.producer is None)
        if isOver or not self.connected or not data:
            return
        self.leg.say(data)
        isSlow = self.leg.waiting > WAITING_BYTES
        if isSlow and self.producer is not None and not self._isProducerPaused:
            self._isProducerPaused = True
            self.producer.pauseProducing()

    def loseWriteConnection(self) -> None:
        """
        End our direction, once all was sent; the other one goes on.
        """
        if self.connected and not (self._isEnding or self._isLeaving):
            self._isEnding = True
            self.leg.sayEnd()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Let C{producer} say what it has at the pace of the peer.

        @param streaming: whether it goes on by itself, and is to be paused.
        """
        if self.producer is not None:
            raise RuntimeError(
                f"cannot register {producer}, as {self.producer} was not unregistered"
            )
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = streaming
        self._isProducerPaused = not streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """
        It has said all.
        """
        self.producer = None
        if self._isLeaving:
            self._turn.ask()

    def _goOn(self) -> None:
        """
        If all that was written was read: let the producer go on, or the protocol know its end.
        """
        if not self._isHeard or self.leg.waiting or not self.connected:
            return
        self._isHeard = False
        producer = self.producer
        if producer is not None:
            if self._isProducerPaused:
                self._isProducerPaused = not self.streamingProducer
                self._call(producer.resumeProducing)
        elif self._isEnding and self.leg.inputEnded and not self._hasEnded:
            self._hasEnded = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self._call(self.protocol.writeConnectionLost)

    def _call(self, told: Callable[..., object], *arguments: object) -> None:
        raise NotImplementedError
