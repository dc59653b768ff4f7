"""
Tests for L{tlstunnel.status.rates} and L{tlstunnel.status.sparkline}.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.template import flattenString

from tlstunnel.status.rates import INTERVALS, Rates, together
from tlstunnel.status.sparkline import HEIGHT, WIDTH, sparkline

SERIES = st.lists(st.integers(0, 10**15), max_size=INTERVALS)


class RatesTests(SynchronousTestCase):
    """
    L{Rates} and L{together}.
    """

    def test_anIntervalHasWhatWasNewInIt(self) -> None:
        """
        Not how far the counters were.
        """
        rates = Rates(("a", "b"), (5, 0))
        rates.sample((7, 0))
        rates.sample((7, 4))
        self.assertEqual(rates.shown(), {"a": [2, 0], "b": [0, 4]})

    def test_onlyTheLastIntervalsAreRemembered(self) -> None:
        """
        However long the process runs.
        """
        rates = Rates(("a",), (0,))
        for number in range(3 * INTERVALS):
            rates.sample((number,))
        self.assertEqual(rates.shown(), {"a": [1] * INTERVALS})

    def test_beforeTheFirstIntervalThereIsNothing(self) -> None:
        """
        But the names are there.
        """
        self.assertEqual(Rates(("a",), (0,)).shown(), {"a": []})

    @given(st.lists(SERIES, max_size=4))
    def test_theLastIntervalsAreAddedUp(self, series: list[list[int]]) -> None:
        """
        Processes that are younger have fewer of them.
        """
        total = together(series)
        self.assertEqual(len(total), max(map(len, series), default=0))
        for back in range(1, len(total) + 1):
            here = sum(each[-back] for each in series if len(each) >= back)
            self.assertEqual(total[-back], here)


class SparklineTests(SynchronousTestCase):
    """
    L{sparkline}.
    """

    @given(SERIES)
    def test_thePictureHasAPointForEachValueInIt(self, values: list[int]) -> None:
        """
        None is outside of the picture, whatever the values are.
        """
        drawn = self.successResultOf(
            flattenString(None, sparkline(values, INTERVALS, "how it went"))
        ).decode()
        found = re.search('points="([^"]*)" class="line"', drawn)
        points = found[1].split() if found else []
        self.assertEqual(len(points), len(values))
        for point in points:
            x, y = map(float, point.split(","))
            self.assertTrue(0 <= x <= WIDTH and 0 <= y <= HEIGHT, point)

    def test_hasNoStyleOfItsOwn(self) -> None:
        """
        The policy of the page would not let it count.
        """
        drawn = self.successResultOf(flattenString(None, sparkline([1, 2], 60, "<b>")))
        self.assertNotIn(b"style", drawn)
        self.assertIn(b"&lt;b", drawn)

    def test_withoutValuesThereIsALine(self) -> None:
        """
        So that one sees where the picture will be.
        """
        drawn = self.successResultOf(flattenString(None, sparkline([], INTERVALS, "nothing yet")))
        self.assertIn(f'd="M0 {HEIGHT - 1}H{WIDTH}"'.encode(), drawn)
