"""
A leg in memory.

Everything is deterministic: what a peer sends arrives when the test says so, cut as the test says.
TLS is only noted: what it does on a socket is tested elsewhere.  That a leg in memory behaves as
one on a socket is tested by L{tlstunnel.testing.contract}, which both pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import Closed, Reset, TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.tls.records import RECORD_BYTES


class MemorySession:
    """
    Stands for what is known of a TLS that there is none of.
    """

    version, suite, group = "TLSv1.3", "", ""
    alpn, serverName, identity, provenBy = b"", "", None, ""
    isResumed = owesCertificate = False
    proof = face = ours = None


@implementer(ILeg)
class MemoryLeg:
    """
    Stands for a L{tlstunnel.net.leg.Leg}: what is written is kept, what arrives is fed.

    @ivar written: what the peer may take of all that was written, in clear and inside TLS.
    @ivar writtenInClear: how much of it was written before the switch.
    @ivar handshaken: whether TLS is up.
    @ivar ended: whether our direction was ended.
    @ivar paused: whether nothing is delivered.
    @ivar skippable: as in any leg; only kept, since there is no TLS behind it.
    @ivar separates: whether lines are to have records of their own.
    @ivar ending: C{"closed"}, C{"aborted"} or C{"lost"}, once it is.
    @ivar capacity: bytes that may stay in C{written} before the peer counts as slow; any number, if
        it is C{None}.
    """

    def __init__(
        self, settle: Callable[[], object] | None = None, capacity: int | None = None
    ) -> None:
        """
        @param settle: called when something happened, instead of just delivering it.
        """
        self._settle = settle or self.deliver
        self.capacity = capacity
        self.peer: TCPAddress | UNIXAddress = UNIXAddress("memory")
        self.who = "the peer"
        self.local: TCPAddress | UNIXAddress = UNIXAddress("memory")
        self.speaker: Any = None
        self.producer: IPushProducer | None = None
        self.session: Any = MemorySession()
        self.peerCertificate: Any = None
        self.peerChain: Any = ()
        self.channelBinding: Any = None
        self.written = b""
        self.writtenInClear: int | None = None
        self.isTLS = False
        self.handshaken = False
        self.ended = False
        self.ending = ""
        self.inputEnded = False
        self.paused = True
        self.readSize = RECORD_BYTES
        self.isPeeking = False
        self.skippable = b""
        self.separates = False
        self.received = 0
        self.sent = 0
        self._creator: Any = None
        self._unread = b""
        self._inputEnds = False
        self._refused = False
        # What waits for room: in clear from before the switch, and the rest.
        self._before = b""
        self._tail = b""
        self._isSlow = False
        self._endDue = False
        self._flushing: list[Deferred[None]] = []
        self._taken = 0

    # What there is to know

    @property
    def isClosed(self) -> bool:
        """Whether it is closed, in whatever way."""
        return bool(self.ending)

    @property
    def isFlushed(self) -> bool:
        """Whether all that was written is in C{written}."""
        return not (self._before or self._tail)

    @property
    def unacknowledged(self) -> int:
        """What the peer has not taken, if there is a limit to that."""
        return 0 if self.capacity is None or self.ending else len(self.written)

    def progress(self) -> tuple[int, ...]:
        """
        Numbers that change when anything moves.
        """
        return self.received, self.sent, self._taken

    def pendingInput(self, count: int = 1) -> bytes:
        """
        What was fed and is not read.
        """
        return self._unread[:count]

    # What the speaker calls

    def write(self, data: bytes | memoryview) -> None:
        """
        Keep C{data}.
        """
        if self.ending or self.ended or self._endDue:
            return
        self._tail += data
        if self._refused:
            self.refuse()
            return
        self._send()
        if not (self._isSlow or self.isFlushed):
            self._isSlow = True
            if self.producer is not None:
                self.producer.pauseProducing()

    def _send(self) -> None:
        """
        Move what waits to where the peer can take it.
        """
        self._before = self._put(self._before)
        if self._before or self.handshaken != self.isTLS:
            return
        before = len(self._tail)
        self._tail = self._put(self._tail)
        self.sent += before - len(self._tail)
        if not self._tail and self._endDue:
            self._endDue = False
            self.ended = True
        if self._isSlow and self.isFlushed:
            self._isSlow = False
            self._tellFlushed()

    def _put(self, data: bytes) -> bytes:
        room = len(data) if self.capacity is None else max(0, self.capacity - len(self.written))
        self.written += data[:room]
        return data[room:]

    def whenFlushed(self) -> Deferred[None]:
        """
        Fires once there was room for all, or never will be.
        """
        if self.isFlushed:
            return succeed(None)
        # Without a canceller it may be called after it was cancelled.
        flushed: Deferred[None] = Deferred()
        self._flushing.append(flushed)
        return flushed

    def _tellFlushed(self) -> None:
        flushing, self._flushing = self._flushing, []
        for each in flushing:
            each.callback(None)
        if self.producer is not None:
            self.producer.resumeProducing()

    def startTLS(self, creator: Any) -> None:
        """
        Note the switch.
        """
        if self.isTLS:
            raise RuntimeError("startTLS was called twice on one connection")
        self.isTLS = True
        self._creator = creator
        self._before, self._tail = self._tail, b""
        self.writtenInClear = len(self.written) + len(self._before)
        self.readSize = RECORD_BYTES
        self.received = self.sent = 0

    def separateLines(self) -> None:
        """
        Note that; there are no records.
        """
        self.separates = True

    def creatorBeside(self) -> Any:
        """
        The creator of this leg: there is no TLS, nor any more of it.
        """
        if not self.isTLS or self.ending:
            raise Closed("this connection speaks no TLS")
        return self._creator

    def pauseProducing(self) -> None:
        """
        Deliver nothing.
        """
        self.paused = True

    def resumeProducing(self) -> None:
        """
        Deliver what arrives.
        """
        self.paused = False

    def stopProducing(self) -> None:
        """
        The consumer is gone for good.
        """
        self.abortConnection()

    def loseWriteConnection(self) -> None:
        """
        End our direction once there was room for all.
        """
        if not (self.ending or self.ended):
            self._endDue = True
            self._send()

    def loseConnection(self) -> None:
        """
        Close; with a reset, if the peer has not even room for all.
        """
        self._close("closed" if self.isFlushed else "aborted")

    def abortConnection(self) -> None:
        """
        Reset.
        """
        self._close("aborted")

    def _close(self, ending: str) -> None:
        if self.ending:
            return
        self.ending = ending
        self._before = self._tail = b""
        self.producer = None
        self._tellFlushed()

    # What the test calls

    def feed(self, data: bytes) -> None:
        """
        The peer sends C{data}: in clear before the switch, inside TLS after it.
        """
        self._unread += data
        self._settle()

    def deliver(self) -> bool:
        """
        Hand over what the speaker is ready to read.

        @return: whether that was anything.
        """
        delivered = False
        while not (self.ending or self.paused or self.inputEnded):
            if self.handshaken != self.isTLS:
                break
            if self._unread:
                delivered = True
                chunk = self._unread[: self.readSize]
                if self.isPeeking:
                    self.speaker.dataReceived(memoryview(chunk))
                    break
                self._unread = self._unread[len(chunk) :]
                self.received += len(chunk)
                self.speaker.dataReceived(memoryview(chunk))
            elif self._inputEnds:
                self.inputEnded = True
                delivered = True
                self.speaker.readConnectionLost()
            else:
                break
        return delivered

    def end(self) -> None:
        """
        The peer ends its direction cleanly.
        """
        self._inputEnds = True
        self._settle()

    def refuse(self) -> None:
        """
        The peer takes no more; the leg finds out when it has something to send.
        """
        self._refused = True
        if not self.isFlushed:
            self._before = self._tail = b""
            self.ended = True
            self.speaker.writeConnectionLost()
            self._tellFlushed()

    def reset(self) -> None:
        """
        The peer resets the connection.
        """
        self.lose(Reset("by the test"))

    def lose(self, error: TunnelError) -> None:
        """
        The connection is lost.
        """
        if not self.ending:
            self._close("lost")
            self.speaker.connectionLost(Failure(error.by(self.who)))
            self._settle()

    def completeHandshake(self) -> None:
        """
        TLS is up and its peer verified.  Bytes that arrived in clear after the switch would have
        been taken for TLS, and are gone.
        """
        assert self.isTLS and not self.handshaken
        self._unread = b""
        self.handshaken = True
        self._send()
        self.speaker.handshakeCompleted()
        self._settle()

    def takeWritten(self) -> bytes:
        """
        The peer takes what was written since the last call.

        @return: what there was room for.
        """
        taken, self.written = self.written, b""
        self._taken += len(taken)
        self._send()
        return taken
