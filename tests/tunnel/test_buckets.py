"""
Tests for L{tlstunnel.tunnel.buckets}.
"""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.tunnel.buckets import Buckets

#: A moment as clocks have it: far from 0, where times are not exact.
NOW = 1_800_000_000.0


class BucketsTests(SynchronousTestCase):
    """
    L{Buckets}.
    """

    def setUp(self) -> None:
        """
        It is now.
        """
        self.clock = Clock()
        self.clock.advance(NOW)

    def taken(self, buckets: Buckets, whose: str, times: int) -> int:
        """
        How many tokens there are, if somebody asks so often at once.
        """
        return sum(buckets.take(whose) for _ in range(times))

    def test_soManyAtOnceAndThenASecondThatMany(self) -> None:
        """
        For rates of every size: a full bucket holds what comes in a second.
        """
        for rate in 1, 5, 7, 1000, 30000:
            buckets = Buckets(self.clock, rate)
            self.assertEqual(self.taken(buckets, "a", rate + 10), rate)
            self.clock.advance(0.5)
            self.assertAlmostEqual(self.taken(buckets, "a", rate), rate // 2, delta=1)
            self.clock.advance(10)
            self.assertEqual(self.taken(buckets, "a", rate + 10), rate)

    def test_lessThanOneASecond(self) -> None:
        """
        There is one token, and it takes its time.
        """
        buckets = Buckets(self.clock, 0.1)
        found = []
        for _ in range(40):
            found.append(buckets.take("a"))
            self.clock.advance(1)
        self.assertEqual([at for at, given in enumerate(found) if given], [0, 10, 20, 30])

    def test_everyoneHasTheirOwn(self) -> None:
        """
        Whoever asks too much takes nothing from another.
        """
        buckets = Buckets(self.clock, 2)
        self.assertEqual(self.taken(buckets, "a", 100), 2)
        self.assertEqual(self.taken(buckets, "b", 100), 2)

    def test_whoIsRefusedLosesNothing(self) -> None:
        """
        To ask again and again does not put off the next token.
        """
        buckets = Buckets(self.clock, 1)
        found = 0
        for _ in range(100):
            found += self.taken(buckets, "a", 10)
            self.clock.advance(0.1)
        self.assertEqual(found, 10)

    def test_whatIsFullAgainIsForgotten(self) -> None:
        """
        Once somebody comes.
        """
        buckets = Buckets(self.clock, 5)
        for number in range(1000):
            buckets.take(number)
        self.assertEqual(len(buckets), 1000)
        for _ in range(2):
            self.clock.advance(1.5)
            buckets.take("a")
        self.assertLessEqual(len(buckets), 2)

    def test_thereAreNeverTooMany(self) -> None:
        """
        Of those who come from everywhere the oldest are forgotten, and the newest are not.
        """
        buckets = Buckets(self.clock, 1, most=100)
        for number in range(10000):
            self.assertTrue(buckets.take(number))
            self.assertLessEqual(len(buckets), 100)
            self.assertFalse(buckets.take(max(0, number - 40)))

    def test_aClockThatIsSetBackLocksNobodyOut(self) -> None:
        """
        As it can be, while we run.
        """
        buckets = Buckets(self.clock, 1)
        buckets.take("a")
        self.clock.rightNow -= 3600
        self.assertTrue(buckets.take("a"))
        self.assertFalse(buckets.take("a"))
        self.clock.advance(1.1)
        self.assertTrue(buckets.take("a"))

    @given(
        st.integers(1, 50).map(Fraction) | st.fractions(Fraction(1, 100), 1, max_denominator=100),
        st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab")), max_size=200),
        st.integers(1, 4),
    )
    def test_theyAreAsTheTextbookHasThem(
        self, rate: Fraction, steps: list[tuple[int, str]], half: int
    ) -> None:
        """
        A bucket that is filled steadily and has a token taken out of it, whatever happens; but for
        moments at which it has nearly one.

        @param steps: hundredths of a second that pass, and who comes then.
        """
        clock = Clock()
        clock.advance(NOW)
        buckets = Buckets(clock, float(rate), most=4 * half)
        size = max(Fraction(1), rate)
        tokens = dict.fromkeys("ab", size)
        for hundredths, whose in steps:
            clock.advance(hundredths / 100)
            for each in tokens:
                tokens[each] = min(size, tokens[each] + rate * Fraction(hundredths, 100))
            wouldTake = tokens[whose] >= 1
            isNear = 0.99 < tokens[whose] < 1.01
            took = buckets.take(whose)
            if not isNear:
                self.assertEqual(took, wouldTake)
            if took:
                tokens[whose] = max(Fraction(0), tokens[whose] - 1)
