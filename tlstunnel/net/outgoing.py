"""
Our direction of a connection: what is written, what of it waits, and the end.

L{Outgoing} is the part of a leg that sends; see L{tlstunnel.net.leg} for how all of it works.
"""

from __future__ import annotations

from enum import Enum

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer

from tlstunnel.errors import TunnelError
from tlstunnel.interfaces import ISpeaker
from tlstunnel.net.wire import NOTHING, PeerGone
from tlstunnel.net.wired import Wired


class Output(Enum):
    """
    How far our direction has come.
    """

    #: What is written is sent.
    OPEN = "open"

    #: No more can be written, and something is still to be sent: the rest, or the end.
    ENDING = "ending"

    #: The end was sent, or the peer takes no more, or the connection is closed.
    ENDED = "ended"


# As names of the module: to look one up in an Enum costs as much as to call a function.
OPEN, ENDING, ENDED = Output


class Outgoing(Wired):
    """
    Sends what is written.

    @ivar producer: whoever is paused while our peer is slower than it is.
    """

    __slots__ = ("_flushing", "_lost", "_output", "_tail", "producer", "speaker")

    # The leg is made in one go, so that each of these begins there.
    speaker: ISpeaker
    producer: IPushProducer | None
    _output: Output
    # What the socket has not taken yet.
    _tail: memoryview
    # Who waits until it has.
    _flushing: list[Deferred[None]] | None
    # Why the peer takes no more, if so.
    _lost: PeerGone | None

    def write(self, data: bytes | memoryview) -> None:
        """
        Send C{data}, now as far as the socket takes it, the rest when it is ready.
        """
        if self._output is not OPEN:
            return
        if self._tail:
            self._tail = memoryview(bytes(self._tail) + data)
            return
        try:
            count = self._wire.write(data)
        except TunnelError as error:
            self._loseOutput(error)
            return
        if count < len(data):
            self._tail = memoryview(bytes(data[count:]))
            self.startWriting()
            if self.producer is not None:
                self.producer.pauseProducing()

    def doWrite(self) -> None:
        """
        The socket takes more.
        """
        if self._tail:
            try:
                count = self._wire.write(self._tail)
            except TunnelError as error:
                self._loseOutput(error)
                return
            if count < len(self._tail):
                self._tail = self._tail[count:]
                return
            # No empty slice, which would keep all of it alive.
            self._tail = NOTHING
        self.stopWriting()
        if self._output is ENDING:
            self._sendEnd()
        if not self._writing:
            self._flushed()

    def _flushed(self) -> None:
        """
        Nothing waits any more.
        """
        if self._flushing is not None:
            self._tellFlushed()
        if self.producer is not None:
            self.producer.resumeProducing()

    @property
    def isFlushed(self) -> bool:
        """
        Whether the socket has taken all that was written.
        """
        return not self._tail and not self._writing

    def whenFlushed(self) -> Deferred[None]:
        """
        Fires once the socket has taken all that was written, or never will.
        """
        if self.isFlushed:
            return succeed(None)
        # Without a canceller it may be called after it was cancelled.
        flushed: Deferred[None] = Deferred()
        self._flushing = [*(self._flushing or ()), flushed]
        return flushed

    def _tellFlushed(self) -> None:
        flushing, self._flushing = self._flushing, None
        for each in flushing or ():
            each.callback(None)

    def loseWriteConnection(self) -> None:
        """
        End our direction once all is sent; the other goes on.
        """
        if self._output is OPEN:
            self._output = ENDING
            if not self._tail:
                self._sendEnd()

    def _sendEnd(self) -> None:
        try:
            isSent = self._wire.end()
        except PeerGone as error:
            self._loseOutput(error)
            return
        if isSent:
            self._output = ENDED
        else:
            self.startWriting()

    def _loseOutput(self, error: TunnelError) -> None:
        """
        The peer takes no more; that may be the end of all.
        """
        if not isinstance(error, PeerGone):
            self._fail(error)
            return
        self._lost = error.bare()
        self._output = ENDED
        self._tail = NOTHING
        self.stopWriting()
        self.speaker.writeConnectionLost()
        self._flushed()

    def _fail(self, error: TunnelError) -> None:
        """
        The connection is over.
        """
        raise NotImplementedError
