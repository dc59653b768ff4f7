"""
The plain leg whose other end is in this process: a pipe each way, and no socket.

To a conversation and the relay an L{InnerLeg} is a leg like others.  Whoever is at the other end,
the I{program}, has the second half of its methods, from C{say} on.  It knows the clock of the
reactor, and nothing of transports and protocols.

How it works
============

What the relay writes is there for the program to C{take}.  The first L{CAPACITY_BYTES} of it count
as sent, as if a socket had them; while there is more, the producer is paused.  So there is never
more of it than that and one read of the producer.

What the program says waits until the leg is resumed.  There may be any amount: whoever says it
looks at C{waiting}, and holds back.

Either side is told of what the other one does in a turn of its own (L{tlstunnel.endpoints.turn}):
the speaker by its methods, the program by the two callables that the leg is made with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cryptography.x509 import Certificate
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import Address, UNIXAddress
from tlstunnel.endpoints.turn import Turn
from tlstunnel.errors import Closed, Reset
from tlstunnel.interfaces import ILeg, ISpeaker
from tlstunnel.tls.channelbinding import ChannelBinding
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.records import RECORD_BYTES
from tlstunnel.tls.session import Session

#: Bytes for the program that count as sent before it has taken them.
CAPACITY_BYTES = 65536


def nothing() -> None:
    """
    There is nobody to tell it to.
    """


@implementer(ILeg)
class InnerLeg:
    """
    A connection between us and a program of this process; see L{ILeg}.

    @ivar isReset: whether it was closed, from our side, with a reset.
    """

    __slots__ = (
        "_endDue",
        "_ended",
        "_flushing",
        "_inputEnds",
        "_isRefused",
        "_isSlow",
        "_taken",
        "_tell",
        "_tellHeard",
        "_toProgram",
        "_turn",
        "_waiting",
        "inputEnded",
        "isClosed",
        "isPeeking",
        "isReset",
        "local",
        "paused",
        "peer",
        "producer",
        "readSize",
        "received",
        "skippable",
        "speaker",
        "who",
    )

    isTLS = False
    session: Session | None = None
    peerCertificate: Certificate | None = None
    peerChain: Sequence[Certificate] = ()
    channelBinding: ChannelBinding | None = None

    speaker: ISpeaker

    def __init__(
        self, clock: IReactorTime, tell: Callable[[], object], tellHeard: Callable[[], object]
    ) -> None:
        """
        @param tell: called when there is something for the program to take, or to know.
        @param tellHeard: called when all that it has said was read.
        """
        self.peer: Address = UNIXAddress("")
        self.local: Address = UNIXAddress("")
        self.who = "the peer"
        self.producer: IPushProducer | None = None
        self.readSize = RECORD_BYTES
        self.isPeeking = False
        self.skippable = b""
        self.received = 0
        self.inputEnded = False
        self.isClosed = False
        self.isReset = False
        self.paused = True
        self._tell = tell
        self._tellHeard = tellHeard
        self._turn = Turn(clock, self._deliver)
        # What is on its way to the program, and how much of all that was it has taken.
        self._toProgram = bytearray()
        self._taken = 0
        self._isSlow = False
        self._ended = False
        self._endDue = False
        self._flushing: list[Deferred[None]] = []
        # What the program has said, and nobody has read.
        self._waiting = bytearray()
        self._inputEnds = False
        self._isRefused = False

    # What there is to know

    @property
    def isFlushed(self) -> bool:
        """Whether all that was written counts as sent."""
        return not self._isSlow

    @property
    def sent(self) -> int:
        """Bytes that count as sent."""
        return self._taken + min(len(self._toProgram), CAPACITY_BYTES)

    @property
    def unacknowledged(self) -> int:
        """Those of them that the program has not taken."""
        return 0 if self.isClosed else min(len(self._toProgram), CAPACITY_BYTES)

    def progress(self) -> tuple[int, ...]:
        """
        Numbers that change when anything moves.
        """
        return self.received, self.sent, self._taken

    def pendingInput(self, count: int = 1) -> bytes:
        """
        The first bytes that the program has said, and nobody has read.
        """
        return bytes(self._waiting[:count])

    def startTLS(self, creator: Creator) -> None:
        """
        There is none here.
        """
        raise RuntimeError("a leg within a process speaks no TLS")

    def separateLines(self) -> None:
        """
        There are no records either.
        """
        raise RuntimeError("a leg within a process speaks no TLS")

    def creatorBeside(self) -> Creator:
        """
        There is none.
        """
        raise Closed("this connection speaks no TLS")

    # Reading

    def pauseProducing(self) -> None:
        """
        Deliver nothing.
        """
        self.paused = True

    def resumeProducing(self) -> None:
        """
        Deliver what the program says.
        """
        self.paused = False
        if self._waiting or self._inputEnds:
            self._turn.ask()

    def stopProducing(self) -> None:
        """
        The consumer is gone for good.
        """
        self.abortConnection()

    def _deliver(self) -> None:
        """
        Tell the speaker what it is to know by now.
        """
        if self._isRefused and not (self._ended or self.isClosed):
            self._ended = True
            self.speaker.writeConnectionLost()
            self._flushed()
        if self.isClosed or self.paused:
            return
        if self._waiting:
            data = bytes(self._waiting[: self.readSize])
            if not self.isPeeking:
                del self._waiting[: len(data)]
                self.received += len(data)
            self.speaker.dataReceived(memoryview(data))
            if self.isClosed or self.isPeeking:
                return
        if self._waiting:
            self._turn.ask()
        elif self._inputEnds and not (self.inputEnded or self.paused):
            self.inputEnded = True
            self.speaker.readConnectionLost()
            self._tellHeard()
        elif not self._inputEnds:
            self._tellHeard()

    # Writing

    def write(self, data: bytes | memoryview) -> None:
        """
        Have C{data} for the program.
        """
        if self.isClosed or self._ended or self._endDue or self._isRefused:
            return
        self._toProgram += data
        self._tell()
        if len(self._toProgram) > CAPACITY_BYTES and not self._isSlow:
            self._isSlow = True
            if self.producer is not None:
                self.producer.pauseProducing()

    def whenFlushed(self) -> Deferred[None]:
        """
        Fires once all that was written counts as sent, or never will.
        """
        if self.isFlushed:
            return succeed(None)
        # Without a canceller it may be called after it was cancelled.
        flushed: Deferred[None] = Deferred()
        self._flushing.append(flushed)
        return flushed

    def _flushed(self) -> None:
        """
        Nothing waits any more.
        """
        if not self._isSlow:
            return
        self._isSlow = False
        self._tellFlushed()
        if self.producer is not None:
            self.producer.resumeProducing()

    def _tellFlushed(self) -> None:
        flushing, self._flushing = self._flushing, []
        for each in flushing:
            each.callback(None)

    # Ending

    def loseWriteConnection(self) -> None:
        """
        End our direction behind what the program has still to take.
        """
        if not (self.isClosed or self._ended or self._endDue):
            self._endDue = True
            self._tell()

    def loseConnection(self) -> None:
        """
        Close; what counts as sent is still for the program to take.
        """
        self._close(isReset=self._isSlow)

    def abortConnection(self) -> None:
        """
        Close with a reset.
        """
        self._close(isReset=True)

    def _close(self, isReset: bool) -> None:
        if self.isClosed:
            return
        self.isClosed = True
        self.isReset = isReset
        self._endDue = True
        self._isSlow = False
        self._turn.forget()
        self._waiting.clear()
        del self._toProgram[CAPACITY_BYTES:]
        self.producer = None
        self._tellFlushed()
        self._tell()

    # What the program calls

    @property
    def waiting(self) -> int:
        """
        How many bytes the program has said that nobody has read.
        """
        return len(self._waiting)

    @property
    def isAtEnd(self) -> bool:
        """
        Whether the program has taken all that it will ever get.
        """
        return self._endDue and not self._toProgram

    def say(self, data: bytes) -> None:
        """
        The program has something for whoever reads from this leg.
        """
        if not (self.isClosed or self._inputEnds):
            self._waiting += data
            self._turn.ask()

    def sayEnd(self) -> None:
        """
        It says no more.
        """
        if not (self.isClosed or self._inputEnds):
            self._inputEnds = True
            self._turn.ask()

    def take(self, most: int) -> bytes:
        """
        It takes what there is for it, C{most} bytes at most.
        """
        data = bytes(self._toProgram[:most])
        del self._toProgram[: len(data)]
        self._taken += len(data)
        if len(self._toProgram) <= CAPACITY_BYTES:
            self._flushed()
        return data

    def refuse(self) -> None:
        """
        It takes no more.
        """
        self._toProgram.clear()
        if not (self.isClosed or self._isRefused):
            self._isRefused = True
            self._turn.ask()

    def reset(self, detail: str = "") -> None:
        """
        It is gone.
        """
        if not self.isClosed:
            speaker = self.speaker
            self._close(isReset=True)
            speaker.connectionLost(Failure(Reset(detail).by(self.who)))

    def letGo(self) -> None:
        """
        It is to be told nothing any more.
        """
        self._tell = self._tellHeard = nothing
