"""
Tests for L{tlstunnel.net.lookups}.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.lookups import (
    MOST_ANSWERS,
    PATIENCE_SECONDS,
    RECHECK_SECONDS,
    STALE_SECONDS,
    Lookups,
)

LIMIT = 10.0
LIFETIME = 5.0


class LookupsTests(SynchronousTestCase):
    """
    L{Lookups}.
    """

    def setUp(self) -> None:
        """
        Nothing is known.
        """
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.asked: list[tuple[str, Deferred[tuple[int, float]]]] = []
        self.lookups: Lookups[int] = Lookups(self.clock, self.ask)

    def ask(self, name: str) -> Deferred[tuple[int, float]]:
        """
        Begin a look-up.
        """
        asking: Deferred[tuple[int, float]] = Deferred()
        self.asked.append((name, asking))
        return asking

    def answer(self, value: int) -> None:
        """
        End the last of them.
        """
        self.asked[-1][1].callback((value, LIFETIME))

    def fails(self) -> None:
        """
        Likewise, without an answer.
        """
        self.asked[-1][1].errback(ValueError())

    def get(self, name: str = "a") -> Deferred[int | None]:
        """
        Want to know.
        """
        return Deferred.fromCoroutine(self.lookups.get(self.deadlines, name, LIMIT))

    def known(self, value: int) -> None:
        """
        Let it be known, and its time be over.
        """
        wanted = self.get()
        self.answer(value)
        self.assertEqual(self.successResultOf(wanted), value)
        self.clock.advance(LIFETIME)

    def test_manyWantToKnowAndOneAsks(self) -> None:
        """
        So that a dead resolver has one thread for each name, and no more.
        """
        wanted = [self.get() for _ in range(1000)]
        self.assertEqual(len(self.asked), 1)
        self.answer(7)
        self.assertEqual({self.successResultOf(each) for each in wanted}, {7})

    def test_whoGivesUpLeavesTheQuestion(self) -> None:
        """
        It goes on for whoever comes next, and is not asked a second time.
        """
        for _ in range(5):
            wanted = self.get()
            self.clock.advance(LIMIT)
            self.assertIsNone(self.successResultOf(wanted))
        self.assertEqual(len(self.asked), 1)
        wanted = self.get()
        self.answer(7)
        self.assertEqual(self.successResultOf(wanted), 7)

    def test_anAnswerCountsForItsTime(self) -> None:
        """
        And no longer: then it is asked for anew, and waited for.
        """
        self.known(1)
        wanted = self.get()
        self.assertNoResult(wanted)
        self.answer(2)
        self.assertEqual(self.successResultOf(wanted), 2)
        self.assertEqual(self.successResultOf(self.get()), 2)
        self.assertEqual(len(self.asked), 2)

    def test_anOldAnswerServesWhereNoneComes(self) -> None:
        """
        After a moment; who comes later does not wait again.
        """
        self.known(1)
        wanted = self.get()
        self.clock.advance(PATIENCE_SECONDS)
        self.assertEqual(self.successResultOf(wanted), 1)
        self.assertEqual(self.successResultOf(self.get()), 1)
        self.assertEqual(len(self.asked), 2)

    def test_anOldAnswerServesForAWhileAfterAFailure(self) -> None:
        """
        Nobody is asked meanwhile.
        """
        self.known(1)
        wanted = self.get()
        self.fails()
        self.assertEqual(self.successResultOf(wanted), 1)
        self.clock.advance(RECHECK_SECONDS - 1)
        self.assertEqual(self.successResultOf(self.get()), 1)
        self.assertEqual(len(self.asked), 2)
        self.clock.advance(1)
        wanted = self.get()
        self.assertEqual(len(self.asked), 3)
        self.answer(2)
        self.assertEqual(self.successResultOf(wanted), 2)

    def test_aClockThatIsPutBackKeepsNothing(self) -> None:
        """
        Else a wrong answer would count until the clock is where it was.
        """
        self.known(1)
        self.clock.rightNow -= 10 * LIFETIME
        wanted = self.get()
        self.assertEqual(len(self.asked), 2)
        self.answer(2)
        self.assertEqual(self.successResultOf(wanted), 2)
        self.clock.advance(LIFETIME)
        self.get()
        self.fails()
        self.clock.rightNow -= 10 * LIFETIME
        self.assertNoResult(self.get())
        self.assertEqual(len(self.asked), 4)

    def test_anAnswerThatIsTooOldServesNobody(self) -> None:
        """
        What nobody confirms is wrong in the end.
        """
        self.known(1)
        self.clock.advance(STALE_SECONDS)
        wanted = self.get()
        self.fails()
        self.assertIsNone(self.successResultOf(wanted))

    def test_aFailureIsNotKept(self) -> None:
        """
        Where there is no answer, it is asked for each time.
        """
        for _ in range(2):
            wanted = self.get()
            self.fails()
            self.assertIsNone(self.successResultOf(wanted))
        self.assertEqual(len(self.asked), 2)

    def test_whoIsCancelledIsNotWaitedFor(self) -> None:
        """
        And nothing is left of it.
        """
        wanted, other = self.get(), self.get()
        wanted.cancel()
        self.failureResultOf(wanted, CancelledError)
        self.answer(1)
        self.assertEqual(self.successResultOf(other), 1)
        self.deadlines.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_notMoreIsKeptThanMakesSense(self) -> None:
        """
        Those go that were asked for first, and those stay that are being asked for.
        """
        self.get("under way")
        for number in range(MOST_ANSWERS + 10):
            self.get(str(number))
            self.answer(number)
        self.assertEqual(len(self.lookups._entries), MOST_ANSWERS)
        before = len(self.asked)
        self.get("under way")
        self.get(str(MOST_ANSWERS))
        self.assertEqual(len(self.asked), before)
        self.get("0")
        self.assertEqual(len(self.asked), before + 1)
