"""
Tests for L{tlstunnel.poolservice.turns}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.poolservice.turns import TURN_SECONDS, UserTurns


class _Reactor(Clock):
    """
    What is due is done in a turn, and what that asks for in the next.
    """

    def turn(self) -> None:
        """One of them."""
        due, self.calls = self.calls, []
        for each in due:
            each.func(*each.args)


class TurnsTests(SynchronousTestCase):
    """
    Work that takes its time on a clock.
    """

    def setUp(self) -> None:
        """Nothing is done yet."""
        self.clock = _Reactor()
        self.turns = UserTurns(self.clock)
        self.done: list[str] = []

    def work(self, name: str, seconds: float = 2 * TURN_SECONDS) -> Callable[[], str]:
        """What takes longer than a turn may."""

        def do() -> str:
            self.clock.rightNow += seconds
            self.done.append(name)
            return name

        return do

    def test_whatFitsIntoATurnIsDoneAtOnce(self) -> None:
        """As most of it does."""
        found = [self.turns.take(1, self.work(str(each), TURN_SECONDS / 10)) for each in range(5)]
        self.assertEqual(found, ["0", "1", "2", "3", "4"])

    def test_whatDoesNotFitWaitsForTheNextTurn(self) -> None:
        """One after the other."""
        self.turns.take(1, self.work("a"))
        later: Any = self.turns.take(1, self.work("b"))
        last: Any = self.turns.take(1, self.work("c"))
        self.assertEqual(self.done, ["a"])
        self.clock.turn()
        self.assertEqual(self.successResultOf(later), "b")
        self.assertNoResult(last)
        self.clock.turn()
        self.assertEqual(self.successResultOf(last), "c")
        self.clock.turn()
        self.assertEqual(self.clock.calls, [])

    def test_usersTakeTurns(self) -> None:
        """Who has asked a hundred times does not come before who asks once."""
        for each in range(100):
            self.turns.take(1, self.work(f"many {each}"))
        self.turns.take(2, self.work("one"))
        for _ in range(2):
            self.clock.turn()
        self.assertEqual(self.done, ["many 0", "many 1", "one"])

    def test_whoHasGoneCostsNothing(self) -> None:
        """His work is not done."""
        self.turns.take(1, self.work("a"))
        gone: Any = self.turns.take(1, self.work("b"))
        stays: Any = self.turns.take(1, self.work("c"))
        gone.addErrback(lambda failure: None)
        gone.cancel()
        self.clock.turn()
        self.assertEqual(self.successResultOf(stays), "c")
        self.assertEqual(self.done, ["a", "c"])

    def test_whatGoesWrongIsToldToWhoWaits(self) -> None:
        """And to nobody else; now, or later."""

        def fail() -> None:
            raise ValueError("no")

        self.assertRaises(ValueError, self.turns.take, 1, fail)
        self.turns.take(1, self.work("a"))
        later: Any = self.turns.take(1, fail)
        self.clock.turn()
        self.failureResultOf(later, ValueError)

    def test_whatTakesLongerStillIsWaitedFor(self) -> None:
        """It may give a Deferred."""
        answer: Deferred[str] = Deferred()
        self.turns.take(1, self.work("a"))
        later: Any = self.turns.take(1, lambda: answer)
        self.clock.turn()
        self.assertNoResult(later)
        answer.callback("b")
        self.assertEqual(self.successResultOf(later), "b")
