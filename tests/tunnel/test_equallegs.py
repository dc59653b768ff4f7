"""
Tests for L{tlstunnel.tunnel.relay}: both of its legs are alike, whatever is on which of them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.legs import SocketCase, SocketFarEnd
from tlstunnel.errors import Truncated, TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.testing.farend import FLOOD
from tlstunnel.tunnel.relay import DELIVERY_LOOK_SECONDS, Relay

#: Whether each leg speaks TLS.
KINDS: list[tuple[bool, bool]] = [(a, b) for a in (False, True) for b in (False, True)]


class EqualLegsTests(SocketCase, SynchronousTestCase):
    """
    A relay between legs of which either may speak TLS, or both, or none.
    """

    results: list[TunnelError | None]

    def setUp(self) -> None:
        """
        Time passes when the test says so.
        """
        super().setUp()
        self.clock = Clock()

    def isOver(self) -> bool:
        """
        Whether the relay is over, after a moment.
        """
        self.clock.advance(DELIVERY_LOOK_SECONDS)
        return bool(self.results)

    def join(self, left: bool, right: bool, given: bytes = b"") -> list[SocketFarEnd]:
        """
        Relay between two legs.

        @param left: whether the left one speaks TLS.
        @param right: whether the right one does.
        @param given: what the right one has said before, if it has; then both have ended, too.
        @return: their other ends.
        """
        legs: list[Any] = []
        fars: list[Any] = []
        for inTLS in (left, right):
            self.open(inTLS)
            legs.append(self.leg)
            fars.append(self.far)
        self.relay = Relay(legs[0], legs[1], (), (), Deadlines(self.clock), 600, 600, None)
        self.results = []
        self.ending = self.relay.start(b"", given, bool(given), bool(given))
        self.ending.addCallback(self.results.append)
        return fars

    def arrives(self, far: SocketFarEnd, data: bytes) -> None:
        """
        C{far} receives just that.
        """
        self.far = far
        self.assertEqual(self.received(len(data)), data)

    def test_bytesAndEndsPassInBothDirections(self) -> None:
        """
        Each end is that of what the leg speaks.
        """
        for kinds in KINDS:
            for first in (0, 1):
                fars = self.join(*kinds)
                fars[first].send(b"question")
                fars[first].end()
                self.arrives(fars[not first], b"question")
                self.far = fars[not first]
                self.farEnds()
                fars[not first].send(b"answer")
                fars[not first].end()
                self.arrives(fars[first], b"answer")
                self.far = fars[first]
                self.farEnds()
                self.until(self.isOver)
                self.assertEqual(self.results, [None])
                self.assertTrue(self.relay.left.isClosed and self.relay.right.isClosed)

    def test_noTruncationPasses(self) -> None:
        """
        Whichever leg it is on, and whatever the other one speaks.
        """
        for kinds in KINDS:
            for cut in (0, 1):
                if not kinds[cut]:
                    continue
                fars = self.join(*kinds)
                fars[cut].send(b"half")
                self.arrives(fars[not cut], b"half")
                fars[cut].truncate()
                self.far = fars[not cut]
                self.until(lambda: self.far.receive() or self.far.hasEnd or self.far.hasReset)
                self.assertTrue(self.far.hasReset)
                (error,) = self.results
                self.assertIsInstance(error, Truncated)

    def test_whatIsOverStaysOver(self) -> None:
        """
        It fires once, and to stop it again does nothing.
        """
        self.join(False, False)
        self.relay.abort(Truncated())
        self.relay.abort(TunnelError())
        self.assertEqual([type(each) for each in self.results], [Truncated])

    def test_cancellingClosesBothLegsCleanly(self) -> None:
        """
        As a stop does.
        """
        for kinds in KINDS:
            fars = self.join(*kinds)
            self.ending.cancel()
            self.assertEqual(self.results, [None])
            for far in fars:
                self.far = far
                self.farEnds()

    def test_aLegThatIsLostWhileTheOtherIsFlushedEndsNothingTwice(self) -> None:
        """
        Both have ended, and the one that was waited for is gone.
        """
        fars = self.join(True, False, FLOOD)
        self.assertTrue(self.relay.toLeft.ended and self.relay.toRight.ended)
        self.assertEqual(self.results, [])
        fars[0].reset()
        self.until(self.isOver)
        self.assertEqual(self.results, [None])
        self.assertTrue(self.relay.right.isClosed)

    def test_bothAreClosedWhenAllIsTaken(self) -> None:
        """
        And not before, though nothing more is to come.
        """
        for kinds in KINDS:
            fars = self.join(*kinds, given=FLOOD)
            self.turns()
            self.assertEqual(self.results, [])
            self.arrives(fars[0], FLOOD)
            self.farEnds()
            self.until(self.isOver)
            self.assertEqual(self.results, [None])
