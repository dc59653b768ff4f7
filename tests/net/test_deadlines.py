"""
Tests for L{tlstunnel.net.deadlines}.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.net.deadlines import EXPIRED_PER_TURN, Deadlines


class DeadlinesTests(SynchronousTestCase):
    """
    Deadlines on a clock that the test turns.
    """

    def setUp(self) -> None:
        """
        A clock at 0.
        """
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.expired: list[str] = []

    def set(self, seconds: float, name: str) -> object:
        """
        A deadline that notes its name.
        """
        return self.deadlines.after(seconds, lambda: self.expired.append(name))

    def test_aDeadlineExpiresWhenItsTimeHasCome(self) -> None:
        """
        Not before, and once.
        """
        self.set(10, "a")
        self.clock.advance(9.9)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.1)
        self.assertEqual(self.expired, ["a"])
        self.clock.advance(100)
        self.assertEqual(self.expired, ["a"])

    def test_aCancelledDeadlineNeverExpires(self) -> None:
        """
        Cancelling is final, and may be done again.
        """
        deadline = self.deadlines.after(10, lambda: self.expired.append("a"))
        deadline.cancel()
        deadline.cancel()
        self.clock.advance(20)
        self.assertEqual(self.expired, [])

    def test_thousandsOfDeadlinesNeedOneDelayedCall(self) -> None:
        """
        The clock knows one call for each length.
        """
        for _ in range(1000):
            self.set(10, "x")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_ofThousandsThatAreDueAtOnceSomeExpireInEachTurn(self) -> None:
        """
        In the order in which they were set; whoever else waits for the clock has a turn in between.
        """
        expired: list[int] = []
        perTurn: list[int] = []
        for number in range(1000):
            self.deadlines.after(10, partial(expired.append, number))
        clock: Any = self.clock
        callLater = clock.callLater

        def counting(*args: Any) -> IDelayedCall:
            perTurn.append(len(expired))
            call: IDelayedCall = callLater(*args)
            return call

        clock.callLater = counting
        self.clock.advance(10)
        self.assertEqual(expired, list(range(1000)))
        self.assertEqual(perTurn, list(range(EXPIRED_PER_TURN, 1000, EXPIRED_PER_TURN)))

    def test_oneThatIsCancelledByAnotherDoesNotExpire(self) -> None:
        """
        Though both are due in the same turn.
        """

        def cancel() -> None:
            other.cancel()

        self.deadlines.after(10, cancel)
        other = self.deadlines.after(10, lambda: self.expired.append("other"))
        self.clock.advance(10)
        self.assertEqual(self.expired, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothingIsLeftOnceAllHaveExpired(self) -> None:
        """
        No delayed call outlives its deadlines.
        """
        self.set(1, "a")
        self.set(2, "b")
        self.clock.pump([1, 1])
        self.assertEqual(self.expired, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_oneThatFailsDoesNotHoldUpTheOthers(self) -> None:
        """
        The rest expires although one raised.
        """

        def fail() -> None:
            raise ZeroDivisionError

        self.deadlines.after(1, fail)
        self.set(1, "b")
        self.assertRaises(ZeroDivisionError, self.clock.advance, 1)
        self.clock.advance(0)
        self.assertEqual(self.expired, ["b"])

    def test_aDeadlineMaySetAnother(self) -> None:
        """
        Also one of its own length, which then takes its full time.
        """
        self.deadlines.after(1, lambda: self.set(1, "second"))
        self.clock.advance(1)
        self.clock.advance(0.5)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.5)
        self.assertEqual(self.expired, ["second"])

    def test_clearForgetsAll(self) -> None:
        """
        Nothing expires, and the clock is left alone.
        """
        self.set(1, "a")
        self.deadlines.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @given(
        st.lists(st.tuples(st.sampled_from([1, 2, 5]), st.booleans(), st.sampled_from([0, 1, 3])))
    )
    def test_eachExpiresAtItsOwnTime(self, plan: list[tuple[int, bool, int]]) -> None:
        """
        Whatever is set and cancelled, each expires exactly when it is due.
        """
        clock = Clock()
        deadlines = Deadlines(clock)
        due: list[float] = []
        expired: list[float] = []
        for seconds, cancelled, pause in plan:
            deadline = deadlines.after(seconds, lambda: expired.append(clock.seconds()))
            if cancelled:
                deadline.cancel()
            else:
                due.append(clock.seconds() + seconds)
            for _ in range(pause):
                clock.advance(1)
        for _ in range(10):
            clock.advance(1)
        self.assertEqual(sorted(due), expired)
