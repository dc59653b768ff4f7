"""
Tests for L{tlstunnel.program.pulse}: workers that are asked whether they still run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.orders import Order
from tlstunnel.program.pulse import ASK_SECONDS, Pulse


class Worker:
    """
    Answers when the test says so.
    """

    def __init__(self) -> None:
        self.isServing = True
        self.asked: list[Deferred[Mapping[str, Any]]] = []
        self.killed: list[str] = []

    def ask(self, order: Order) -> Deferred[Mapping[str, Any]]:
        """
        How it is.
        """
        assert order is Order.TALLY
        self.asked.append(Deferred())
        return self.asked[-1]

    def kill(self, why: str) -> None:
        """
        It is given up.
        """
        self.killed.append(why)

    def answer(self, connections: int) -> None:
        """
        Say how many connections there are.
        """
        self.asked[-1].callback({"tunnel": 1, "connection": connections})


class PulseTests(SynchronousTestCase):
    """
    L{Pulse}.
    """

    def make(self, limit: float) -> None:
        """
        Ask two workers from now on.
        """
        self.clock = Clock()
        self.workers: list[Any] = [Worker(), Worker()]
        self.pulse = Pulse(self.clock, self.workers, limit)
        self.pulse.start()

    def test_connectionsAreThoseOfAllWorkers(self) -> None:
        """
        As they said last; one that is gone has none.
        """
        self.make(limit=0)
        first, second = self.workers
        first.answer(3)
        self.assertEqual(self.pulse.connections, 3)
        second.answer(4)
        self.assertEqual(self.pulse.connections, 7)
        self.clock.advance(ASK_SECONDS)
        first.answer(2)
        second.asked[-1].errback(ConfigurationError("worker 2", "ended", "see the log"))
        self.assertEqual(self.pulse.connections, 2)

    def test_whoDoesNotServeYetIsNotAsked(self) -> None:
        """
        It may have much to read.
        """
        self.make(limit=1.0)
        first, _ = self.workers
        first.answer(0)
        first.isServing = False
        self.clock.pump([0.5] * 10)
        self.assertEqual(len(first.asked), 1)
        self.assertEqual(first.killed, [])

    def test_whoIsSilentForTooLongIsReplaced(self) -> None:
        """
        And not one that answers.
        """
        for limit in (2.0, 60.0):
            self.make(limit)
            first, second = self.workers
            interval = min(limit / 2, ASK_SECONDS)
            for _ in range(int(limit / interval) - 1):
                second.answer(0)
                self.clock.advance(interval)
            self.assertEqual(first.killed, [])
            second.answer(0)
            self.clock.advance(interval)
            self.assertEqual(first.killed, [f"has not answered for {limit:g} s"])
            self.assertEqual(second.killed, [])
            self.assertEqual(len(first.asked), 1)

    def test_withoutALimitNobodyIsReplaced(self) -> None:
        """
        There is no watchdog.
        """
        self.make(limit=0)
        self.clock.pump([ASK_SECONDS] * 100)
        self.assertEqual([worker.killed for worker in self.workers], [[], []])

    def test_aMachineThatStoodStillCostsNobodyHisLife(self) -> None:
        """
        All have stood still, and answer as soon as they go on.
        """
        self.make(limit=2.0)
        self.clock.advance(3600.0)
        for worker in self.workers:
            worker.answer(0)
        self.clock.advance(1.0)
        self.assertEqual([worker.killed for worker in self.workers], [[], []])

    def test_whatFailsWithOneIsAskedAgain(self) -> None:
        """
        Else a worker that stands still later would never be replaced.
        """
        self.make(limit=ASK_SECONDS)
        first, _ = self.workers
        first.answer(1)

        def fail(order: Order) -> Deferred[Mapping[str, Any]]:
            raise ZeroDivisionError

        broken = self.patch(first, "ask", fail)
        self.assertRaises(ZeroDivisionError, self.clock.advance, self.pulse._interval)
        broken.restore()
        self.clock.pump([self.pulse._interval] * 4)
        self.assertTrue(first.killed)
