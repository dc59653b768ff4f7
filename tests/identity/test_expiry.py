"""
Tests for L{tlstunnel.identity.expiry}.
"""

from __future__ import annotations

from datetime import timedelta

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, make
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.expiry import inWords, isDue, warningsOf
from tlstunnel.identity.names import Identity

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


class WarningsTests(SynchronousTestCase):
    """When there are warnings, and what they say."""

    def credentials(self, days: int) -> Credentials:
        """Credentials that live for some days."""
        issued = make(Recipe(start=timedelta(), end=timedelta(days=days)))
        return Credentials(Identity.parse("a.b"), issued.chain, issued.key, source="/a.b.pem")

    def test_overTime(self) -> None:
        """One that lives for a year is spoken of from 30 days before its end on."""
        credentials = self.credentials(365)
        (leaf,) = credentials.certificates
        start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        for now, says in (
            (start - MINUTE, "UTC; check the clock"),
            (start, ""),
            (end - 30 * DAY - MINUTE, ""),
            (end - 30 * DAY, "expires in 30 days, on"),
            (end - 5 * DAY, "expires in 5 days, on"),
            (end - MINUTE, "expires in 0 hours, on"),
            (end + MINUTE, "expired on"),
        ):
            sentences = warningsOf(credentials, now)
            self.assertEqual(len(sentences), 1 if says else 0)
            for sentence in sentences:
                self.assertTrue(sentence.startswith("/a.b.pem: the certificate "))
                self.assertIn(says, sentence)

    def test_onceADay(self) -> None:
        """A look each day speaks 30, 7 and 1 days before the end, and every day after it."""
        credentials = self.credentials(365)
        end = credentials.certificates[0].not_valid_after_utc
        spoken = []
        for days in range(40, -4, -1):
            now = end - days * DAY - timedelta(hours=1)
            if warningsOf(credentials, now, now - DAY):
                spoken.append(days)
        self.assertEqual(spoken, [29, 6, 0, -1, -2, -3])

    def test_shortLives(self) -> None:
        """One that lives for six days is not spoken of from its first."""
        credentials = self.credentials(6)
        (leaf,) = credentials.certificates
        end = leaf.not_valid_after_utc
        self.assertFalse(isDue(leaf, end - 2 * DAY - MINUTE))
        self.assertTrue(isDue(leaf, end - 2 * DAY))

    def test_certbot(self) -> None:
        """One for 90 days is due when certbot renews it."""
        (leaf,) = self.credentials(90).certificates
        self.assertFalse(isDue(leaf, leaf.not_valid_after_utc - 30 * DAY - MINUTE))
        self.assertTrue(isDue(leaf, leaf.not_valid_after_utc - 30 * DAY))

    def test_durations(self) -> None:
        """Hours where days are too rough."""
        for left, words in (
            (47 * timedelta(hours=1), "47 hours"),
            (48 * timedelta(hours=1), "2 days"),
        ):
            self.assertEqual(inWords(left), words)
