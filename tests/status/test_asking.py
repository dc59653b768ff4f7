"""
Tests for L{tlstunnel.status.asking}: the status of several processes.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.status.examples import snapshot
from tlstunnel.status.asking import ANSWER_SECONDS, Asker, Gathering
from tlstunnel.status.facts import Gathered, Snapshot


class GatherTests(SynchronousTestCase):
    """
    L{Gathering}, of two workers.
    """

    def setUp(self) -> None:
        """
        They answer when the test says so.
        """
        self.clock = Clock()
        self.asked: dict[int, list[Deferred[Snapshot]]] = {1: [], 2: []}
        self.workers = {number: Asker(self.asking(number)) for number in self.asked}
        self.gathering = Gathering(self.clock, snapshot, self.workers)

    def asking(self, number: int):  # type: ignore[no-untyped-def]
        """
        What sends a question to worker C{number}.
        """

        def ask() -> Deferred[Snapshot]:
            self.asked[number].append(Deferred())
            return self.asked[number][-1]

        return ask

    def gather(self) -> Deferred[Gathered]:
        """
        Ask them.
        """
        return self.gathering.gather()

    def test_allSayHowTheyAre(self) -> None:
        """
        The parent first, the workers in their order.
        """
        gathering = self.gather()
        for number in (2, 1):
            self.assertNoResult(gathering)
            self.asked[number][0].callback(snapshot(number))
        found = self.successResultOf(gathering)
        self.assertEqual([each["process"]["worker"] for each in found.snapshots], [None, 1, 2])
        self.assertEqual(found.silent, ())

    def test_aWorkerThatIsGoneIsNamed(self) -> None:
        """
        The others are shown.
        """
        gathering = self.gather()
        self.asked[1][0].errback(ValueError("is gone"))
        self.asked[2][0].callback(snapshot(2))
        found = self.successResultOf(gathering)
        self.assertEqual([each["process"]["worker"] for each in found.snapshots], [None, 2])
        self.assertEqual(found.silent, (1,))

    def test_nobodyWaitsForASilentWorker(self) -> None:
        """
        For longer than the limit.
        """
        gathering = self.gather()
        self.asked[2][0].callback(snapshot(2))
        self.clock.advance(ANSWER_SECONDS * 0.99)
        self.assertNoResult(gathering)
        self.clock.advance(ANSWER_SECONDS * 0.02)
        self.assertEqual(self.successResultOf(gathering).silent, (1,))

    def test_aSilentWorkerHasOneQuestionAtATime(self) -> None:
        """
        However often somebody asks, so that nothing piles up; what it answers at last is taken.
        """
        for _ in range(50):
            gathering = self.gather()
            self.clock.advance(ANSWER_SECONDS)
            self.successResultOf(gathering)
        self.assertEqual(len(self.asked[1]), 1)
        self.assertEqual(self.workers[1]._waiting, [])
        gathering = self.gather()
        for number in (1, 2):
            self.asked[number][0].callback(snapshot(number))
        self.assertEqual(self.successResultOf(gathering).silent, ())
        self.gather()
        self.assertEqual(len(self.asked[1]), 2)
