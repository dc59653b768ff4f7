"""
Tests for L{tlstunnel.status.shared}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.status.shared import FRESH_SECONDS, Shared


class SharedTests(SynchronousTestCase):
    """
    L{Shared}.
    """

    def setUp(self) -> None:
        """
        Something that is made when the test says so.
        """
        self.clock = Clock()
        self.making: list[Deferred[str]] = []
        self.shared: Shared[str] = Shared(self.clock, self.make)

    def make(self) -> Deferred[str]:
        """
        Begin to make it.
        """
        self.making.append(Deferred())
        return self.making[-1]

    def test_allWhoWaitGetTheSame(self) -> None:
        """
        It is made once, however many ask.
        """
        waiting = [self.shared.get() for _ in range(100)]
        self.assertEqual(len(self.making), 1)
        self.making[0].callback("it")
        self.assertEqual({self.successResultOf(each) for each in waiting}, {"it"})

    def test_aFreshOneIsGivenAtOnce(self) -> None:
        """
        Who asks often does not let it be made often.
        """
        self.shared.get()
        self.making[0].callback("it")
        self.clock.advance(FRESH_SECONDS * 0.99)
        self.assertEqual(self.successResultOf(self.shared.get()), "it")
        self.assertEqual(len(self.making), 1)

    def test_anOldOneIsMadeAgain(self) -> None:
        """
        Nobody gets what was true long ago.
        """
        self.shared.get()
        self.making[0].callback("it")
        self.clock.advance(FRESH_SECONDS)
        again = self.shared.get()
        self.assertNoResult(again)
        self.making[1].callback("another")
        self.assertEqual(self.successResultOf(again), "another")

    def test_aFailureIsForAllAndIsNotKept(self) -> None:
        """
        The next who asks lets it be tried again.
        """
        waiting = [self.shared.get(), self.shared.get()]
        self.making[0].errback(ValueError("no"))
        for each in waiting:
            self.failureResultOf(each, ValueError)
        self.shared.get()
        self.assertEqual(len(self.making), 2)
