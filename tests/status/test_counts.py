"""
Tests for L{tlstunnel.status.counts}.
"""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import Refused, TunnelError
from tlstunnel.status.counts import BOUNDS, LOT, Counts, Histogram
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.record import HANDSHAKING, NEGOTIATING, Record

PEER = TCPAddress("192.0.2.1", 50000)


def recordOf(counts: Counts, clock: Clock) -> Record:
    """
    A connection that C{counts} hears of.
    """
    return Record(clock, Observers([counts]), "web", Mode.SERVER, "smtp", PEER)


class HistogramTests(SynchronousTestCase):
    """
    L{Histogram}.
    """

    @given(st.lists(st.floats(0, 1000), max_size=50))
    def test_eachDurationIsInTheFirstClassThatIsLongEnough(self, durations: list[float]) -> None:
        """
        As Prometheus counts them: a bound belongs to the class below it.
        """
        histogram = Histogram()
        for each in durations:
            histogram.add(each)
        below = [sum(each <= bound for each in durations) for bound in BOUNDS]
        cumulated = [sum(histogram.counts[: number + 1]) for number in range(len(BOUNDS))]
        self.assertEqual(cumulated, below)
        self.assertEqual(sum(histogram.counts), len(durations))
        self.assertAlmostEqual(histogram.seconds, sum(durations))


class CountsTests(SynchronousTestCase):
    """
    L{Counts}.
    """

    def setUp(self) -> None:
        """
        Nothing is counted yet.
        """
        self.clock = Clock()
        self.failed: list[Record] = []
        self.counts = Counts(self.failed.append)

    def end(self, error: TunnelError | None) -> Record:
        """
        A connection begins, and ends.
        """
        record = recordOf(self.counts, self.clock)
        record.end(error)
        return record

    def test_whatBeganIsOpenUntilItEnds(self) -> None:
        """
        The number of all grows, that of those open falls again.
        """
        one, other = (recordOf(self.counts, self.clock) for _ in range(2))
        self.assertEqual(list(self.counts.opened), [one, other])
        one.end(None)
        self.assertEqual(list(self.counts.opened), [other])
        self.assertEqual(self.counts.connections, 2)

    def test_eachEndCountsForItsOutcome(self) -> None:
        """
        Clean ends too; there is a number for those from the beginning, so that rates are known.
        """
        self.assertEqual(self.counts.outcomes, {"clean": 0})
        for error in (None, Refused(), Refused(), None):
            self.end(error)
        self.assertEqual(self.counts.outcomes, {"clean": 2, "refused": 2})
        self.assertEqual(self.counts.failures, 2)

    def test_onlyFailuresAreTold(self) -> None:
        """
        Whoever remembers the last failures hears of nothing else.
        """
        self.end(None)
        failure = self.end(Refused())
        self.assertEqual(self.failed, [failure])

    def test_aNegotiationCountsAlsoIfTheHandshakeFails(self) -> None:
        """
        It came to its end, and was not slower for that.
        """
        record = recordOf(self.counts, self.clock)
        record.advance(NEGOTIATING)
        self.clock.advance(0.3)
        record.advance(HANDSHAKING)
        record.end(Refused())
        negotiation, handshake = self.counts.durations()
        self.assertAlmostEqual(negotiation.seconds, 0.3)
        self.assertEqual(sum(handshake.counts), 0)

    def test_whoIsRefusedIsCountedApart(self) -> None:
        """
        By reason; it was no connection.
        """
        self.assertEqual(self.counts.refusals, {"denied": 0, "per-address": 0, "rate": 0})
        for reason in "rate", "denied", "rate":
            Observers([self.counts]).refuse("web", PEER, reason)
        self.assertEqual(self.counts.refusals, {"denied": 1, "per-address": 0, "rate": 2})
        self.assertEqual((self.counts.connections, self.counts.failures), (0, 0))

    def test_whatWasResumedIsCountedOnce(self) -> None:
        """
        While it is open, and afterwards.
        """
        self.end(None)
        record = recordOf(self.counts, self.clock)
        record.isResumed, record.handshaken = True, 0.1
        self.assertEqual(self.counts.resumed, 1)
        record.end(None)
        self.assertEqual(self.counts.resumed, 1)

    def test_whatIsCountedInLotsIsThereAtOnce(self) -> None:
        """
        Whenever somebody looks, also between two lots, and nothing is counted twice.
        """
        for number in range(1, 2 * LOT + 3):
            self.end(None if number % 2 else Refused())
            if number in (1, LOT - 1, LOT, LOT + 1, 2 * LOT + 2):
                self.assertEqual(self.counts.connections, number)
                self.assertEqual(self.counts.failures, number // 2)
                self.assertEqual(sum(self.counts.outcomes.values()), number)

    def test_endedConnectionsAreNotKept(self) -> None:
        """
        Beyond a lot.
        """
        for _ in range(10 * LOT):
            self.end(None)
        left = [each for each in gc.get_objects() if isinstance(each, Record)]
        self.assertLess(sum(each.tunnel == "web" for each in left), LOT)
