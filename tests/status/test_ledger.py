"""
Tests for L{tlstunnel.status.ledger}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.status.test_counts import recordOf
from tlstunnel.errors import Refused
from tlstunnel.status.ledger import FAILURES, RELOADS, Ledger
from tlstunnel.status.rates import INTERVAL_SECONDS


class LedgerTests(SynchronousTestCase):
    """
    L{Ledger}.
    """

    def setUp(self) -> None:
        """
        A process that began in the middle of an interval.
        """
        self.clock = Clock()
        self.clock.advance(INTERVAL_SECONDS * 100 + 4)
        self.ledger = Ledger(self.clock)

    def test_aTunnelThatIsServedAnewGoesOnCounting(self) -> None:
        """
        A counter never falls, also where a reload makes the tunnel again.
        """
        counts = self.ledger.observer("web")
        recordOf(counts, self.clock)
        self.assertIs(self.ledger.observer("web"), counts)
        self.assertIsNot(self.ledger.observer("mail"), counts)

    def test_ofManyFailuresTheLastAreRemembered(self) -> None:
        """
        Whoever fails many connections does not fill the memory.
        """
        counts = self.ledger.observer("web")
        for number in range(3 * FAILURES):
            recordOf(counts, self.clock).end(Refused(str(number)))
        self.assertEqual(len(self.ledger.failures), FAILURES)
        assert self.ledger.failures[-1].error is not None
        self.assertEqual(self.ledger.failures[-1].error.detail, str(3 * FAILURES - 1))

    def test_aTunnelIsForgottenWithItsLastConnection(self) -> None:
        """
        One that a reload has removed stays as long as it has some.
        """
        record = recordOf(self.ledger.observer("web"), self.clock)
        self.ledger.keep(["mail"])
        self.assertIn("web", self.ledger.entries)
        record.end(None)
        self.ledger.keep(["mail"])
        self.assertNotIn("web", self.ledger.entries)

    def test_allReloadsAreCountedAndTheLastRemembered(self) -> None:
        """
        Both that changed something and that failed.
        """
        for number in range(3 * RELOADS):
            self.ledger.reloaded("applied", [f"{number}"])
        self.ledger.reloaded("failed", problems=["no such file"])
        self.assertEqual(self.ledger.results, {"applied": 3 * RELOADS, "failed": 1})
        self.assertEqual(len(self.ledger.reloads), RELOADS)
        self.assertEqual(self.ledger.reloads[-1].problems, ("no such file",))

    def test_intervalsEndWithThoseOfTheClock(self) -> None:
        """
        So that those of several processes can be added up.
        """
        self.ledger.observer("web")
        rates = self.ledger.entries["web"].rates
        self.ledger.start()
        recordOf(self.ledger.entries["web"].counts, self.clock)
        self.clock.advance(INTERVAL_SECONDS - 4 - 0.5)
        self.assertEqual(rates.shown()["connections"], [])
        self.clock.advance(0.5)
        self.assertEqual(rates.shown()["connections"], [1])
        self.clock.advance(INTERVAL_SECONDS)
        self.assertEqual(rates.shown()["connections"], [1, 0])

    def test_stoppedItWaitsForNothing(self) -> None:
        """
        The clock has nothing to call any more.
        """
        self.ledger.start()
        self.ledger.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
