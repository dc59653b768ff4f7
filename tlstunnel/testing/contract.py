"""
What every leg does: the same cases for a leg on a socket and for one in memory.

Mix L{LegContract} into a test case and say what a leg is made of, and what its other end::

    class MyLegTests(LegContract, SynchronousTestCase):
        def connect(self):
            leg = MemoryLeg(capacity=65536)
            return leg, MemoryFarEnd(leg)

        def turn(self):
            self.leg.deliver()
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface.verify import verifyObject

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import Closed, Reset, Truncated
from tlstunnel.interfaces import ILeg
from tlstunnel.testing.farend import FLOOD, Producer
from tlstunnel.testing.transfer import Transfers


class ClearContract(Transfers):
    """
    The cases of a leg that may never speak TLS: those of L{Transfers}, what there is to know of it,
    and ending.
    """

    # What there is to know

    def test_itProvidesTheInterface(self) -> None:
        """
        All of it.
        """
        self.open()
        verifyObject(ILeg, self.leg)
        assert isinstance(self.leg.peer, TCPAddress | UNIXAddress)
        assert isinstance(self.leg.local, TCPAddress | UNIXAddress)
        assert self.leg.isTLS is self.inTLS

    def test_progressShows(self) -> None:
        """
        Of reading, of writing, and of a slow peer's taking.
        """
        self.open()
        seen = [self.leg.progress()]
        self.leg.resumeProducing()
        self.far.send(b"x")
        self.until(lambda: self.speaker.heard)
        seen.append(self.leg.progress())
        self.leg.write(FLOOD)
        self.until(lambda: self.leg.progress() not in seen)
        seen.append(self.leg.progress())
        assert (self.leg.unacknowledged > 0) is not self.isOneSystem
        assert self.received(len(FLOOD)) == FLOOD
        assert self.leg.progress() not in seen
        self.until(lambda: not self.leg.unacknowledged)

    # Ending

    def test_ourEndLeavesTheOtherDirectionOpen(self) -> None:
        """
        The peer may still answer.
        """
        self.open()
        self.leg.resumeProducing()
        self.leg.write(b"question")
        self.leg.loseWriteConnection()
        assert self.received(8) == b"question"
        self.farEnds()
        self.far.send(b"answer")
        self.until(lambda: self.speaker.heard == b"answer")
        assert not self.leg.isClosed

    def test_thePeersEndLeavesOursOpen(self) -> None:
        """
        We may still answer.
        """
        self.open()
        self.leg.resumeProducing()
        self.far.end()
        self.until(lambda: self.leg.inputEnded)
        self.leg.write(b"answer")
        assert self.received(6) == b"answer"
        self.leg.loseWriteConnection()
        self.farEnds()

    def test_nothingIsSentAfterTheEnd(self) -> None:
        """
        It is dropped.
        """
        self.open()
        self.leg.loseWriteConnection()
        self.leg.write(b"too late")
        self.leg.loseWriteConnection()
        self.farEnds()
        assert self.leg.sent == 0

    def test_theEndComesBehindWhatWasWritten(self) -> None:
        """
        However long that takes; what is written behind it is dropped.
        """
        self.open()
        self.leg.write(FLOOD)
        self.leg.loseWriteConnection()
        self.leg.write(b"too late")
        assert self.received(len(FLOOD)) == FLOOD
        self.farEnds()

    def test_losingIsACleanEnd(self) -> None:
        """
        And nothing is told of it, to whoever did it.
        """
        self.open()
        self.leg.resumeProducing()
        self.leg.write(b"bye")
        self.leg.loseConnection()
        assert self.leg.isClosed
        assert self.received(3) == b"bye"
        self.farEnds()
        assert self.speaker.calls == []

    def test_losingWhatIsNotSentIsAReset(self) -> None:
        """
        Half of it must not look like all.
        """
        self.open()
        self.leg.write(FLOOD)
        self.leg.loseConnection()
        assert self.leg.isClosed
        self.farIsReset()

    def test_abortingIsAReset(self) -> None:
        """
        At once, and nothing is told of it.
        """
        self.open()
        self.leg.resumeProducing()
        self.leg.abortConnection()
        assert self.leg.isClosed
        self.farIsReset()
        self.turns()
        assert self.speaker.calls == []

    def test_aLegThatIsClosedStaysClosed(self) -> None:
        """
        Nothing that is called later does anything.
        """
        for close in ("loseConnection", "abortConnection", "stopProducing"):
            self.open()
            self.leg.producer = Producer()
            getattr(self.leg, close)()
            for call in (
                "loseConnection",
                "abortConnection",
                "loseWriteConnection",
                "pauseProducing",
                "resumeProducing",
                "stopProducing",
            ):
                getattr(self.leg, call)()
            self.leg.write(b"x")
            assert self.leg.pendingInput() in (b"", b"x")
            assert self.leg.isClosed
            assert self.leg.isFlushed
            assert self.leg.producer is None
            assert not self.leg.unacknowledged
            self.turns()
            assert self.speaker.calls == []

    def test_whoeverClosesWhileHearingHearsNoMore(self) -> None:
        """
        Not even the end that came with it.
        """
        self.open()
        self.speaker.then = lambda data: self.leg.loseConnection()
        self.leg.readSize = 65536
        self.far.send(b"so much that the end is read with it" * 50)
        self.far.end()
        self.leg.resumeProducing()
        self.until(lambda: self.leg.isClosed)
        self.turns()
        assert self.speaker.calls == ["data"]

    def test_aResetIsTold(self) -> None:
        """
        Once, when the leg is closed already; and it says who it was.
        """
        self.open()
        self.leg.who = "the app"
        self.leg.resumeProducing()
        self.leg.write(b"unread")
        self.turns()
        self.far.reset()
        self.until(lambda: self.leg.isClosed)
        self.turns()
        assert self.speaker.calls == ["lost"]
        assert isinstance(self.speaker.error, Reset)
        assert self.speaker.error.who == "the app"


class LegContract(ClearContract):
    """
    All cases: also what there is to know of TLS, its end, and the switch.
    """

    def test_bytesAreCountedFromTheLastSwitch(self) -> None:
        """
        What was said in clear is not what TLS protects.
        """
        self.open(inTLS=False)
        self.leg.resumeProducing()
        self.far.send(b"four")
        self.until(lambda: self.speaker.heard)
        self.leg.readSize = 1
        self.leg.write(b"sixsix")
        assert (self.leg.received, self.leg.sent) == (4, 6)
        assert self.received(6) == b"sixsix"
        self.startTLS()
        assert (self.leg.received, self.leg.sent) == (0, 0)
        assert self.leg.readSize > 1
        self.secure()
        self.far.send(b"inside")
        self.until(lambda: self.leg.received == 6)
        self.leg.write(b"me too")
        assert self.leg.sent == 6
        self.leg.abortConnection()
        assert (self.leg.received, self.leg.sent) == (6, 6)

    def test_onlyTLSHasMoreBeside(self) -> None:
        """
        A creator for more connections with the same peer.
        """
        self.open(inTLS=False)
        self.assertCloses(self.leg.creatorBeside)
        self.startTLS()
        self.secure()
        self.leg.creatorBeside()
        self.leg.abortConnection()
        self.assertCloses(self.leg.creatorBeside)
        assert self.leg.peerCertificate is None
        assert not self.leg.peerChain

    def assertCloses(self, call: Callable[[], object]) -> None:
        """
        C{call} says that it is too late.
        """
        try:
            call()
        except Closed:
            return
        raise AssertionError("Closed was not raised")

    def test_anEndWithoutCloseNotifyIsNoEnd(self) -> None:
        """
        Under TLS somebody else may have made it.
        """
        self.open(inTLS=True)
        self.leg.resumeProducing()
        self.far.send(b"half")
        self.far.truncate()
        self.until(lambda: self.leg.isClosed)
        assert self.speaker.calls[-1] == "lost"
        assert "end" not in self.speaker.calls
        assert isinstance(self.speaker.error, Truncated)

    def test_thereIsOneTLSOnAConnection(self) -> None:
        """
        A second one is a mistake of ours, whatever a peer asks for (rule 14).
        """
        self.open()
        if not self.inTLS:
            self.startTLS()
        try:
            self.startTLS()
        except RuntimeError:
            return
        raise AssertionError("startTLS was called twice")

    def test_bothSidesOfTheSwitchAreKeptApart(self) -> None:
        """
        What was written before goes out in clear, however late; what is written after, inside TLS.
        """
        self.open(inTLS=False)
        self.leg.write(FLOOD)
        self.leg.write(b"go ahead")
        self.startTLS()
        self.leg.write(b"inside")
        assert self.leg.isTLS
        assert not self.leg.isFlushed
        told: list[object] = []
        self.leg.whenFlushed().addCallback(told.append)
        clear = len(FLOOD) + 8
        assert self.received(clear)[:clear] == FLOOD + b"go ahead"
        assert not told
        self.secure()
        assert self.received(6) == b"inside"
        self.until(lambda: told)
        assert self.leg.sent == 6

    def test_aHandshakeGoesOnWhilePaused(self) -> None:
        """
        And delivers nothing.
        """
        self.open(inTLS=False)
        self.startTLS()
        self.secure()
        self.far.send(b"x")
        self.turns()
        assert self.speaker.calls == []
        self.leg.resumeProducing()
        self.until(lambda: self.speaker.heard == b"x")

    def test_aHandshakeMayBeLeft(self) -> None:
        """
        Closing does not wait for it.
        """
        self.open(inTLS=False)
        self.startTLS()
        self.leg.loseConnection()
        assert self.leg.isClosed
        self.farEnds()
        assert self.speaker.calls == []

    def test_theEndWaitsForTheHandshake(self) -> None:
        """
        It is one of TLS.
        """
        self.open(inTLS=False)
        self.startTLS()
        self.leg.loseWriteConnection()
        self.secure()
        self.farEnds()
        assert not self.leg.isClosed
