"""
Tests for L{tlstunnel.status.words}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.status.words import inBytes, inDays, inTime, summary


class WordsTests(SynchronousTestCase):
    """
    How numbers are written.
    """

    def test_bytesHaveTheUnitThatKeepsThemShort(self) -> None:
        """
        Three digits at most.
        """
        for count, words in (
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10 * 1024, "10 KiB"),
            (1023 * 1024, "1.0 MiB"),
            (5 * 1024**3, "5.0 GiB"),
        ):
            self.assertEqual(inBytes(count), words)

    @given(st.floats(0, 1e18))
    def test_anyNumberOfBytesIsShort(self, count: float) -> None:
        """
        So that columns stay narrow.
        """
        self.assertLessEqual(len(inBytes(count)), 12)

    def test_aDurationHasItsTwoLargestUnits(self) -> None:
        """
        More is not read.
        """
        for seconds, words in (
            (-1, "0 s"),
            (59.9, "59 s"),
            (60, "1 min"),
            (200, "3 min 20 s"),
            (3600, "1 h"),
            (2 * 86400 + 5 * 3600 + 59, "2 d 5 h"),
        ):
            self.assertEqual(inTime(seconds), words)

    def test_fewDaysAreHours(self) -> None:
        """
        And none is the end.
        """
        for days, words in (
            (90.9, "90 days"),
            (1.5, "36 hours"),
            (0.05, "1 hour"),
            (0, "0 hours"),
            (-0.1, "expired"),
        ):
            self.assertEqual(inDays(days), words)

    def test_allIsWellOrItIsNot(self) -> None:
        """
        One tunnel is none of several.
        """
        self.assertEqual(summary([], 1), "the tunnel is up")
        self.assertEqual(summary([], 2), "all 2 tunnels are up")
        self.assertEqual(summary(["a"], 2), "1 problem")
        self.assertEqual(summary(["a", "b"], 2), "2 problems")
