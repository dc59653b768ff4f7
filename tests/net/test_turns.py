"""
Tests for L{tlstunnel.net.turns}: what handshakes, and long work, may take of a turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.net.turns import (
    LONG_SECONDS,
    REST_SECONDS,
    TURN_SECONDS,
    WORK_SECONDS,
    Spreading,
    Turns,
    atOnce,
    spread,
    turnsOf,
)


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


class SpreadTests(SynchronousTestCase):
    """
    L{spread}, L{atOnce} and L{Spreading}.
    """

    def setUp(self) -> None:
        """
        Nothing is done yet.
        """
        self.clock = Clock()
        self.done: list[float] = []

    def steps(self, *seconds: float) -> Generator[None, None, None]:
        """
        Each takes so long, and the last one ends it.
        """
        for each in seconds:
            self.done.append(self.clock.seconds())
            self.clock.rightNow += each
            yield

    def rested(self) -> float:
        """
        Let the next turn come, and say after how long.
        """
        (call,) = self.clock.getDelayedCalls()
        before = self.clock.seconds()
        self.clock.advance(call.getTime() - before)
        return call.getTime() - before

    def test_eachTurnHasSomeOfThem(self) -> None:
        """
        With a rest as long as they have taken, up to a limit.
        """
        half = WORK_SECONDS / 2
        over = Deferred.fromCoroutine(spread(self.clock, self.steps(*[half] * 5, 1.0, half)))
        rests = []
        while not over.called:
            before = len(self.done)
            rests.append(self.rested())
            self.assertLessEqual(len(self.done) - before, 2)
        self.assertEqual(len(self.done), 7)
        self.assertEqual([round(each, 6) for each in rests], [WORK_SECONDS] * 2 + [REST_SECONDS])

    def test_whatComesOutOfThem(self) -> None:
        """
        Whichever way they are done; and what goes wrong.
        """

        def steps() -> Generator[None, None, str]:
            yield
            return "found"

        self.assertEqual(atOnce(steps()), "found")
        spreading = Deferred.fromCoroutine(spread(self.clock, steps()))
        self.assertEqual(self.successResultOf(spreading), "found")

        def broken() -> Generator[None, None, str]:
            yield
            raise ValueError

        self.assertRaises(ValueError, atOnce, broken())
        self.failureResultOf(Deferred.fromCoroutine(spread(self.clock, broken())), ValueError)

    def test_whatIsLeftCanBeDoneAtOnce(self) -> None:
        """
        All who wait are told; the second time there is nothing left.
        """
        spreading = Spreading(self.clock, self.steps(*[1.0] * 5))
        over = spreading.whenOver()
        self.assertEqual(len(self.done), 1)
        self.assertNoResult(over)
        for _ in range(2):
            spreading.finish()
            self.assertEqual(len(self.done), 5)
        self.successResultOf(over)
        self.successResultOf(spreading.whenOver())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whoWaitsNoLongerChangesNothing(self) -> None:
        """
        They are done all the same.
        """
        spreading = Spreading(self.clock, self.steps(1.0, 1.0))
        over = spreading.whenOver()
        over.cancel()
        self.failureResultOf(over, CancelledError)
        other = spreading.whenOver()
        while not other.called:
            self.rested()
        self.assertEqual(len(self.done), 2)
