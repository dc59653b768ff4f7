"""
Tests for L{tlstunnel.net.remotes}.
"""

from __future__ import annotations

import gc
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConnectFailed
from tlstunnel.net.remotes import (
    FIRST,
    FORGET_SECONDS,
    JITTER,
    LEAST_CONNECTIONS,
    LONGEST_SECONDS,
    POLICIES,
    ROUND_ROBIN,
    Backend,
    Balance,
    Remotes,
)

HERE = TCPAddress("192.0.2.1", 25)
REFUSED = ConnectFailed("192.0.2.1:25: Connection refused")


class _Most(Random):
    """
    Chooses the longest pauses.
    """

    def random(self) -> float:
        """
        The least.
        """
        return 0.0


class RemotesTests(SynchronousTestCase):
    """
    L{Remotes}, with one place of several.
    """

    def setUp(self) -> None:
        """
        The place is well.
        """
        self.clock = Clock()
        self.clock.advance(1000)
        self.remotes = Remotes(self.clock, "mail", _Most())
        self.backend = self.remotes.backend(HERE)
        self.said: list[Any] = []

        def note(event: Any) -> None:
            if event.get("event") == "remote":
                self.said.append(event)

        globalLogPublisher.addObserver(note)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, note)  # type: ignore[arg-type]

    def fail(self, others: bool = True) -> float:  # type: ignore[override]
        """
        Try it, in vain.

        @return: how long it is left alone.
        """
        now = self.clock.seconds()
        self.backend.begin(now)
        self.remotes.failed(self.backend, now, REFUSED, others)
        return self.backend.due - now

    def test_itIsLeftAloneForLongerEachTime(self) -> None:
        """
        Twice as long, up to a bound.
        """
        pauses = []
        for _ in range(9):
            pauses.append(self.fail())
            self.clock.advance(pauses[-1])
        self.assertEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60])

    def test_aLongTimeAgoIsForgotten(self) -> None:
        """
        Who fails rarely is tried again soon.
        """
        for _ in range(5):
            self.fail()
        self.clock.advance(FORGET_SECONDS)
        self.assertEqual(self.fail(), 1)

    def test_whoFailsAgainSoonIsLeftAloneForLonger(self) -> None:
        """
        Also if it served in between: else it would come and go all the time.
        """
        self.fail()
        self.clock.advance(1)
        self.remotes.served(self.backend, True)
        self.assertEqual(self.fail(), 2)

    def test_noTwoComeBackTogether(self) -> None:
        """
        A part of the pause is missing, at random, and never more than that.
        """
        remotes = Remotes(self.clock, random=Random(1))
        pauses = set()
        for number in range(50):
            backend = remotes.backend(TCPAddress("192.0.2.1", number + 1))
            remotes.failed(backend, self.clock.seconds(), REFUSED, True)
            pauses.add(backend.due - self.clock.seconds())
        self.assertGreater(len(pauses), 40)
        self.assertGreaterEqual(min(pauses), 1 - JITTER)
        self.assertLessEqual(max(pauses), 1)

    def test_manyThatFailTogetherCountOnce(self) -> None:
        """
        A server that dies takes all with it that are on their way to it.
        """
        began = self.clock.seconds()
        self.clock.advance(1)
        for _ in range(100):
            self.remotes.failed(self.backend, began, REFUSED, True)
        self.assertEqual(self.backend.due - self.clock.seconds(), 1)
        self.assertEqual(self.backend.failures, 100)
        self.assertEqual(len(self.said), 1)

    def test_whereTheClockIsPutBackItIsLeftAloneAllTheSame(self) -> None:
        """
        What has failed in the future says nothing of now.
        """
        self.fail()
        self.remotes.served(self.backend, True)
        self.clock.rightNow -= 500
        self.fail()
        self.assertTrue(self.backend.isLeftAlone(self.clock.seconds()))

    def test_oneConnectionTriesItFirst(self) -> None:
        """
        The others leave it alone for as long again.
        """
        self.fail()
        self.clock.advance(1)
        now = self.clock.seconds()
        self.assertLessEqual(self.backend.due, now)
        self.backend.begin(now)
        self.assertEqual(self.backend.due, now + 1)
        self.remotes.served(self.backend, True)
        self.assertLessEqual(self.backend.due, now)

    def test_aLineWhenItIsLeftAloneAndOneWhenItIsBack(self) -> None:
        """
        However often it fails in between.
        """
        for _ in range(20):
            self.fail()
            self.clock.advance(LONGEST_SECONDS)
        for _ in range(3):
            self.remotes.served(self.backend, True)
        down, up = self.said
        self.assertEqual(
            {key: down[key] for key in ("tunnel", "backend", "state", "outcome", "seconds")},
            {
                "tunnel": "mail",
                "backend": "192.0.2.1:25",
                "state": "down",
                "outcome": "connect",
                "seconds": 1,
            },
        )
        self.assertIn("Connection refused", down["detail"])
        self.assertEqual((up["backend"], up["state"]), ("192.0.2.1:25", "up"))

    def test_ofOneThatIsAloneNothingIsSaid(self) -> None:
        """
        It is tried all the same, and the lines of its connections say why in vain.
        """
        self.fail(others=False)
        self.remotes.served(self.backend, False)
        self.assertEqual(self.said, [])
        self.assertEqual(self.backend.failures, 1)

    def test_whatIsKnownIsKeptAsLongAsSomebodyHasIt(self) -> None:
        """
        So it survives a reload, and a place that nobody wants is no longer there.
        """
        self.fail()
        self.assertIs(self.remotes.backend(HERE), self.backend)
        del self.backend
        gc.collect()
        self.assertTrue(self.remotes.backend(HERE).isUp)


class BalanceTests(SynchronousTestCase):
    """
    L{Balance}.
    """

    def setUp(self) -> None:
        """
        Three places.
        """
        self.backends = [Backend(TCPAddress("192.0.2.1", port)) for port in (1, 2, 3)]

    def firsts(self, policy: str, count: int) -> list[int]:
        """
        Who is tried first, of some connections that stay.
        """
        balance = Balance(policy)
        found = []
        for _ in range(count):
            first = balance.ordered(self.backends)[0]
            first.open += 1
            found.append(self.backends.index(first))
        return found

    def test_first(self) -> None:
        """
        Their order is kept.
        """
        self.assertEqual(self.firsts(FIRST, 3), [0, 0, 0])

    def test_roundRobin(self) -> None:
        """
        One after the other.
        """
        self.assertEqual(self.firsts(ROUND_ROBIN, 7), [0, 1, 2, 0, 1, 2, 0])

    def test_leastConnections(self) -> None:
        """
        Those with fewer before the others; those with as many in turn.
        """
        self.backends[0].open = 2
        self.assertEqual(sorted(self.firsts(LEAST_CONNECTIONS, 4)), [1, 1, 2, 2])
        self.assertEqual(sorted(self.firsts(LEAST_CONNECTIONS, 3)), [0, 1, 2])

    @given(st.sampled_from(POLICIES), st.integers(0, 9), st.integers(1, 9))
    def test_nobodyIsMissing(self, policy: str, count: int, turns: int) -> None:
        """
        Every place is in the order once.
        """
        balance = Balance(policy)
        backends = [Backend(TCPAddress("192.0.2.1", port)) for port in range(count)]
        for _ in range(turns):
            self.assertCountEqual(balance.ordered(backends), backends)
