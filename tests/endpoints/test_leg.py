"""
Tests for L{tlstunnel.endpoints.leg}: it does what every leg does, and holds back whom it has to.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.endpoints.leg import CAPACITY_BYTES, InnerLeg
from tlstunnel.testing.contract import ClearContract
from tlstunnel.testing.farend import FLOOD, Listener


class InnerFarEnd:
    """
    The program at the other end, in which nothing happens by itself.
    """

    def __init__(self, leg: InnerLeg) -> None:
        self._leg = leg
        self.send, self.end, self.refuse, self.reset = leg.say, leg.sayEnd, leg.refuse, leg.reset

    def receive(self) -> bytes:
        """
        All that there is.
        """
        return self._leg.take(len(FLOOD))

    def handshake(self) -> bool:
        """
        There is none.
        """
        raise NotImplementedError

    def truncate(self) -> None:
        """
        There is no TLS.
        """
        raise NotImplementedError

    @property
    def hasEnd(self) -> bool:
        """Whether it has seen the clean end of the leg's output."""
        return self._leg.isAtEnd and not self._leg.isReset

    @property
    def hasReset(self) -> bool:
        """Whether it was aborted."""
        return self._leg.isReset


class InnerLegTests(ClearContract, SynchronousTestCase):
    """
    What every leg does.
    """

    def setUp(self) -> None:
        """
        A reactor that takes a turn when the test says so.
        """
        self.clock = Clock()
        self.told = 0
        self.heardAll = 0

    def connect(self) -> tuple[InnerLeg, InnerFarEnd]:
        """
        A leg, and the program.
        """

        def tell() -> None:
            self.told += 1

        def tellHeard() -> None:
            self.heardAll += 1

        leg = InnerLeg(self.clock, tell, tellHeard)
        return leg, InnerFarEnd(leg)

    def turn(self) -> None:
        """
        Of the reactor.
        """
        self.clock.advance(0)

    def test_itSpeaksNoTLS(self) -> None:
        """
        It is a plain leg.
        """
        self.open()
        self.assertRaises(RuntimeError, self.leg.startTLS, None)

    def test_theProgramIsToldOfWhatIsThere(self) -> None:
        """
        Of bytes, of the end, and of a leg that was closed.
        """
        for call, arguments in (
            ("write", (b"x",)),
            ("loseWriteConnection", ()),
            ("loseConnection", ()),
        ):
            self.open()
            self.told = 0
            getattr(self.leg, call)(*arguments)
            self.assertEqual(self.told, 1)

    def test_theProgramIsToldWhenAllWasRead(self) -> None:
        """
        So that it may go on.
        """
        self.open()
        self.leg.readSize = 4
        self.speaker.then = lambda data: self.leg.pauseProducing()
        self.far.send(b"sixsix")
        self.leg.resumeProducing()
        self.turn()
        self.assertEqual((self.leg.waiting, self.heardAll), (2, 0))
        self.leg.resumeProducing()
        self.turn()
        self.assertEqual((self.leg.waiting, self.heardAll), (0, 1))

    def test_whatCountsAsSentOutlivesTheLeg(self) -> None:
        """
        As with a socket: the program has still to take it.
        """
        self.open()
        self.leg.write(b"x" * CAPACITY_BYTES)
        self.leg.loseConnection()
        self.assertFalse(self.leg.isAtEnd)
        self.assertEqual(len(self.far.receive()), CAPACITY_BYTES)
        self.assertTrue(self.far.hasEnd)

    def test_nothingOfAClosedLegIsLeftInTheReactor(self) -> None:
        """
        Whatever it had still to tell.
        """
        self.open()
        self.leg.resumeProducing()
        self.far.send(b"unread")
        self.leg.abortConnection()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whoeverIsResetIsToldWhenTheLegIsClosed(self) -> None:
        """
        And so may do what it likes.
        """
        self.open()
        speaker: Listener = self.speaker
        closed: list[bool] = []
        speaker.connectionLost = lambda reason: closed.append(self.leg.isClosed)  # type: ignore[method-assign]
        self.far.reset()
        self.assertEqual(closed, [True])
