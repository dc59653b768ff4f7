"""
Tests for L{tlstunnel.net.spreading}: what long work may take of a turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Generator

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.net.spreading import REST_SECONDS, WORK_SECONDS, Spreading, atOnce, spread


class SpreadTests(SynchronousTestCase):
    """
    L{spread}, L{atOnce} and L{Spreading}.
    """

    def setUp(self) -> None:
        """
        Nothing is done yet.
        """
        self.clock = Clock()
        self.done: list[float] = []

    def steps(self, *seconds: float) -> Generator[None, None, None]:
        """
        Each takes so long, and the last one ends it.
        """
        for each in seconds:
            self.done.append(self.clock.seconds())
            self.clock.rightNow += each
            yield

    def rested(self) -> float:
        """
        Let the next turn come, and say after how long.
        """
        (call,) = self.clock.getDelayedCalls()
        before = self.clock.seconds()
        self.clock.advance(call.getTime() - before)
        return call.getTime() - before

    def test_eachTurnHasSomeOfThem(self) -> None:
        """
        With a rest as long as they have taken, up to a limit.
        """
        half = WORK_SECONDS / 2
        over = Deferred.fromCoroutine(spread(self.clock, self.steps(*[half] * 5, 1.0, half)))
        rests = []
        while not over.called:
            before = len(self.done)
            rests.append(self.rested())
            self.assertLessEqual(len(self.done) - before, 2)
        self.assertEqual(len(self.done), 7)
        self.assertEqual([round(each, 6) for each in rests], [WORK_SECONDS] * 2 + [REST_SECONDS])

    def test_whatComesOutOfThem(self) -> None:
        """
        Whichever way they are done; and what goes wrong.
        """

        def steps() -> Generator[None, None, str]:
            yield
            return "found"

        self.assertEqual(atOnce(steps()), "found")
        spreading = Deferred.fromCoroutine(spread(self.clock, steps()))
        self.assertEqual(self.successResultOf(spreading), "found")

        def broken() -> Generator[None, None, str]:
            yield
            raise ValueError

        self.assertRaises(ValueError, atOnce, broken())
        self.failureResultOf(Deferred.fromCoroutine(spread(self.clock, broken())), ValueError)

    def test_whatIsLeftCanBeDoneAtOnce(self) -> None:
        """
        All who wait are told; the second time there is nothing left.
        """
        spreading = Spreading(self.clock, self.steps(*[1.0] * 5))
        over = spreading.whenOver()
        self.assertEqual(len(self.done), 1)
        self.assertNoResult(over)
        for _ in range(2):
            spreading.finish()
            self.assertEqual(len(self.done), 5)
        self.successResultOf(over)
        self.successResultOf(spreading.whenOver())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whoWaitsNoLongerChangesNothing(self) -> None:
        """
        They are done all the same.
        """
        spreading = Spreading(self.clock, self.steps(1.0, 1.0))
        over = spreading.whenOver()
        over.cancel()
        self.failureResultOf(over, CancelledError)
        other = spreading.whenOver()
        while not other.called:
            self.rested()
        self.assertEqual(len(self.done), 2)

    def test_aStepThatFailsIsTheLast(self) -> None:
        """
        The log has it, and nobody waits for more; nor where all is to be done at once.
        """

        def steps() -> Generator[None, None, None]:
            yield from self.steps(1.0)
            raise ZeroDivisionError

        for goOn in (lambda _: self.rested(), Spreading.finish):
            spreading = Spreading(self.clock, steps())
            over = spreading.whenOver()
            goOn(spreading)
            self.successResultOf(over)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
