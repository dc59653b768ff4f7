"""
What the cases that every leg passes are written with: the other end of a leg, a speaker that only
listens, and what a test does with them (see L{tlstunnel.testing.contract}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.errors import Truncated, TunnelError
from tlstunnel.interfaces import ISpeaker
from tlstunnel.testing.legs import MemoryLeg

#: More than the system of a leg under test may take for a peer that reads nothing.
FLOOD = b"flood" * (1 << 18)

# Times that a turn is waited for.
_TURNS = 2000


class FarEnd(Protocol):
    """
    The other end of a leg, in which nothing happens by itself.
    """

    @property
    def hasEnd(self) -> bool:
        """Whether it has seen the clean end of the leg's output."""

    @property
    def hasReset(self) -> bool:
        """Whether it has seen an end that is not clean."""

    def send(self, data: bytes) -> None:
        """
        Say something, in clear or inside TLS.
        """

    def receive(self) -> bytes:
        """
        What has arrived; until this is called, nothing is taken from the system.
        """

    def handshake(self) -> bool:
        """
        Go on with the handshake of TLS.

        @return: whether it is complete.
        """

    def end(self) -> None:
        """
        End cleanly, and listen on.
        """

    def truncate(self) -> None:
        """
        Under TLS: end without close_notify.
        """

    def refuse(self) -> None:
        """
        After the clean end: take nothing more.
        """

    def reset(self) -> None:
        """
        Reset the connection; there is something that this end has not received.
        """


class MemoryFarEnd:
    """
    That of a leg in memory.
    """

    def __init__(self, leg: MemoryLeg) -> None:
        self._leg = leg
        self.send, self.end, self.refuse, self.reset = leg.feed, leg.end, leg.refuse, leg.reset
        self.receive = leg.takeWritten

    def handshake(self) -> bool:
        """
        It takes one step.
        """
        self._leg.completeHandshake()
        return True

    def truncate(self) -> None:
        """
        As the leg would find out.
        """
        self._leg.lose(Truncated("by the test"))

    @property
    def hasEnd(self) -> bool:
        """Whether the leg has ended its output."""
        return self._leg.ended or self._leg.ending == "closed"

    @property
    def hasReset(self) -> bool:
        """Whether it was aborted."""
        return self._leg.ending == "aborted"


@implementer(ISpeaker)
class Listener:
    """
    A speaker that only listens.

    @ivar heard: all bytes.
    @ivar calls: what it was told, in order; bytes once, however many pieces they came in.
    @ivar error: why the connection was lost.
    @ivar then: called with the bytes each time.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.calls: list[str] = []
        self.error: TunnelError | None = None
        self.then: Callable[[bytes], object] = bool

    def dataReceived(self, data: memoryview) -> None:
        """
        Remember.
        """
        self.heard += data
        if self.calls[-1:] != ["data"]:
            self.calls.append("data")
        self.then(bytes(data))

    def readConnectionLost(self) -> None:
        """
        Remember.
        """
        self.calls.append("end")

    def writeConnectionLost(self) -> None:
        """
        Remember.
        """
        self.calls.append("refused")

    def handshakeCompleted(self) -> None:
        """
        Remember.
        """
        self.calls.append("secure")

    def connectionLost(self, reason: Failure) -> None:
        """
        Remember.
        """
        self.calls.append("lost")
        error = reason.value
        assert isinstance(error, TunnelError)
        self.error = error


@implementer(IPushProducer)
class Producer:
    """
    Counts how often it is paused and resumed.
    """

    def __init__(self) -> None:
        self.pauses = 0
        self.resumes = 0

    def pauseProducing(self) -> None:
        self.pauses += 1

    def resumeProducing(self) -> None:
        self.resumes += 1

    def stopProducing(self) -> None:
        pass


class LegCase:
    """
    What the cases of L{tlstunnel.testing.contract} are written with.

    @cvar inTLS: whether they are played inside TLS.
    @cvar creator: what C{startTLS} of the leg takes.
    @cvar showsReset: whether the far end can tell a reset in clear.
    @cvar isOneSystem: whether what the leg's system takes is at the far end then.
    """

    inTLS = False
    creator: Any = None
    showsReset = True
    isOneSystem = False

    leg: Any
    far: FarEnd
    speaker: Listener

    def connect(self) -> tuple[Any, FarEnd]:
        """
        A leg, and its other end.
        """
        raise NotImplementedError

    def turn(self) -> None:
        """
        Let happen what happens by itself, for a moment.
        """

    def until(self, condition: Callable[[], object]) -> None:
        """
        Wait for something.

        @raise AssertionError: if it does not happen.
        """
        for _ in range(_TURNS):
            if condition():
                return
            self.turn()
        assert condition(), (condition, self.speaker.calls, self.speaker.error)

    def turns(self) -> None:
        """
        Give what must not happen the time to do so.
        """
        for _ in range(5):
            self.turn()

    def open(self, inTLS: bool | None = None) -> None:
        """
        Connect, and speak TLS if that is what the cases are about.
        """
        self.leg, self.far = self.connect()
        self.speaker = self.leg.speaker = Listener()
        if self.inTLS if inTLS is None else inTLS:
            self.startTLS()
            self.secure()

    def startTLS(self) -> None:
        """
        The switch.
        """
        self.leg.startTLS(self.creator)

    def secure(self) -> None:
        """
        The handshake.
        """
        self.until(self.far.handshake)
        self.until(lambda: "secure" in self.speaker.calls)
        self.speaker.calls.clear()

    def received(self, count: int) -> bytes:
        """
        What arrives at the far end, up to C{count} bytes.
        """
        pieces: list[bytes] = []

        def enough() -> bool:
            pieces.append(self.far.receive())
            return sum(map(len, pieces)) >= count

        self.until(enough)
        return b"".join(pieces)

    def farEnds(self) -> None:
        """
        The far end sees the clean end of the leg, with nothing before it.
        """

        def ended() -> bool:
            assert self.far.receive() == b""
            return self.far.hasEnd or self.far.hasReset

        self.until(ended)
        assert self.far.hasEnd
        assert not self.far.hasReset

    def farIsReset(self) -> None:
        """
        The far end sees that something is wrong.
        """

        def isOver() -> bool:
            self.far.receive()
            return self.far.hasEnd or self.far.hasReset

        self.until(isOver)
        if self.inTLS or self.showsReset:
            assert self.far.hasReset

    def assertFired(self, flushed: Deferred[None]) -> None:
        """
        C{flushed} was called, without an error.
        """
        results: list[object] = []
        flushed.addBoth(results.append)
        assert results == [None], results
