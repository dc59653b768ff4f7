"""
Tests for L{tlstunnel.net.turns}: what handshakes may take of a turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.net.turns import LONG_SECONDS, TURN_SECONDS, Turns, turnsOf


class Reactor:
    """
    One whose turns are taken by hand.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.due: list[Callable[[], object]] = []

    def seconds(self) -> float:
        """
        The time.
        """
        return self.now

    def callLater(self, delay: float, what: Callable[[], object]) -> None:
        """
        Call C{what} in the next turn.
        """
        self.due.append(what)

    def turn(self) -> None:
        """
        Do what is due now, and not what becomes due meanwhile.
        """
        due, self.due = self.due, []
        for each in due:
            each()


class TurnsTests(SynchronousTestCase):
    """
    Steps that take as long as they say.
    """

    def setUp(self) -> None:
        """
        Time passes with steps alone.
        """
        self.reactor = Reactor()
        self.turns = Turns(self.reactor, self.reactor.seconds)
        self.done: list[str] = []

    def step(self, name: str, seconds: float) -> Callable[[], None]:
        """
        A step.
        """

        def act() -> None:
            self.reactor.now += seconds
            self.done.append(name)

        return act

    def take(self, name: str, seconds: float) -> bool:
        """
        Ask for a turn.
        """
        step = self.step(name, seconds)
        return self.turns.take(step, step)

    def turn(self) -> list[str]:
        """
        What is done in another turn of the reactor.
        """
        self.done.clear()
        self.reactor.turn()
        return list(self.done)

    def test_whatFitsIntoATurnIsDoneAtOnce(self) -> None:
        """
        As most steps do.
        """
        for name in "abc":
            self.assertTrue(self.take(name, LONG_SECONDS / 2))
        self.assertEqual(self.done, ["a", "b", "c"])

    def test_longStepsTakeOneTurnEach(self) -> None:
        """
        Everybody else is served between them.
        """
        self.assertEqual([self.take(name, 1) for name in "abc"], [True, False, False])
        self.assertEqual(self.turn(), ["b"])
        self.assertEqual(self.turn(), ["c"])
        self.assertEqual(self.turn(), [])

    def test_aLongStepIsTheLastOfItsTurn(self) -> None:
        """
        Also where there would be time for another one.
        """
        self.assertTrue(self.take("a", LONG_SECONDS / 2))
        self.assertTrue(self.take("b", 2 * LONG_SECONDS))
        self.assertFalse(self.take("c", 2 * LONG_SECONDS))
        self.assertFalse(self.take("d", 0))
        self.assertEqual(self.turn(), ["c"])
        self.assertEqual(self.turn(), ["d"])

    def test_nobodyOvertakesWhoWaits(self) -> None:
        """
        However short the step is.
        """
        self.take("a", 1)
        self.take("b", 1)
        self.reactor.now += 60
        self.assertFalse(self.take("c", 0))
        self.assertEqual(self.turn(), ["b"])
        self.assertEqual(self.turn(), ["c"])

    def test_timeThatPassesWithSomethingElseCountsForLess(self) -> None:
        """
        A turn that was long is over.
        """
        self.take("a", 2 * TURN_SECONDS)
        self.reactor.now += 2 * TURN_SECONDS
        self.assertTrue(self.take("b", 0))

    def test_aStepThatRaisesHoldsUpNobody(self) -> None:
        """
        Whoever waits behind it has a turn nevertheless.
        """
        self.take("a", 1)
        self.turns.take(self.fail, lambda: self.fail("a mistake"))
        self.take("c", 0)
        self.assertRaises(self.failureException, self.reactor.turn)
        self.assertEqual(self.turn(), ["c"])

    def test_aReactorHasOneOfThem(self) -> None:
        """
        All connections share it.
        """
        self.assertIs(turnsOf(self.reactor), turnsOf(self.reactor))
        self.assertIsNot(turnsOf(self.reactor), turnsOf(Reactor()))
