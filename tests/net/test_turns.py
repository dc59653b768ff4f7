"""
Tests for L{tlstunnel.net.turns}: what handshakes may take of a turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import Address, TCPAddress, UNIXAddress
from tlstunnel.net.turns import LONG_SECONDS, TURN_SECONDS, Turns, turnsOf

ONE = TCPAddress("192.0.2.1", 1)
OTHER = TCPAddress("192.0.2.2", 1)


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

    def take(self, name: str, seconds: float, peer: Address = ONE) -> bool:
        """
        Ask for a turn.
        """
        step = self.step(name, seconds)
        return self.turns.take(step, step, peer)

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
        However short the step is, of one source.
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
        self.turns.take(self.fail, lambda: self.fail("a mistake"), ONE)
        self.take("c", 0)
        self.assertRaises(self.failureException, self.reactor.turn)
        self.assertEqual(self.turn(), ["c"])

    def waiting(self, *names: str) -> None:
        """
        Let steps wait that take a turn each, of the source that each begins with.
        """
        self.turns.take(self.step("", 1), self.fail, ONE)
        for name in names:
            self.assertFalse(self.take(name, 1, TCPAddress(f"192.0.2.{ord(name[0])}", 1)))

    def rest(self) -> list[str]:
        """
        What is done in all turns that are left.
        """
        self.done.clear()
        while self.reactor.due:
            self.reactor.turn()
        return list(self.done)

    def test_sourcesTakeTurns(self) -> None:
        """
        In the order in which they came, and so do the steps of each.
        """
        self.waiting("a1", "a2", "a3", "b1", "b2", "c1")
        self.assertEqual(self.rest(), ["a1", "b1", "c1", "a2", "b2", "a3"])

    def test_aSourceThatWantsMuchHoldsUpNoOther(self) -> None:
        """
        Not even for as many steps as fit into a turn.
        """
        self.take("first", TURN_SECONDS)
        for _ in range(1000):
            self.take("many", LONG_SECONDS / 2)
        self.turn()
        self.take("one", LONG_SECONDS / 2, OTHER)
        self.assertLessEqual(self.turn().index("one"), 1)
        # Its next step has to wait no longer.
        self.take("one", LONG_SECONDS / 2, OTHER)
        self.assertLessEqual(self.turn().index("one"), 1)

    def test_whoeverComesWaitsForOneStepOfEachSource(self) -> None:
        """
        Those who wait already are not held up by those who come.
        """
        self.waiting("a1", "a2", "b1", "b2")
        self.assertEqual(self.turn(), ["a1"])
        self.take("c1", 1, OTHER)
        self.assertEqual(self.rest(), ["b1", "a2", "c1", "b2"])

    def test_whatLimitsCountAsOneSourceIsOne(self) -> None:
        """
        An address of IPv4, a network of 64 bits of IPv6, all UNIX sockets; and a name, where a
        proxy knows what it means.
        """
        for first, second in (
            (TCPAddress("192.0.2.1", 1), TCPAddress("192.0.2.1", 2)),
            (TCPAddress("2001:db8::1", 1), TCPAddress("2001:db8::2", 1)),
            (TCPAddress("fe80::1%lo", 1), TCPAddress("fe80::2%lo", 1)),
            (UNIXAddress("/one"), UNIXAddress("")),
            (TCPAddress("one.example", 1), TCPAddress("one.example", 2)),
            (TCPAddress("no\0name", 1), TCPAddress("no\0name", 2)),
        ):
            self.reactor.now += 60
            self.take("", 1)
            for name, peer in (("a", first), ("b", second), ("c", OTHER)):
                self.assertFalse(self.take(name, 1, peer))
            self.assertEqual(self.rest(), ["a", "c", "b"])

    def test_othersAreOthers(self) -> None:
        """
        The same address is on every link, and what a name means is not known.
        """
        for first, second in (
            (TCPAddress("192.0.2.1", 1), TCPAddress("192.0.2.3", 1)),
            (TCPAddress("2001:db8::1", 1), TCPAddress("2001:db8:0:1::1", 1)),
            (TCPAddress("fe80::1%lo", 1), TCPAddress("fe80::1%eth0", 1)),
            (TCPAddress("one.example", 1), TCPAddress("other.example", 1)),
            (UNIXAddress(""), TCPAddress("one.example", 1)),
        ):
            self.reactor.now += 60
            self.take("", 1)
            for name, peer in (("a", first), ("b", first), ("c", second)):
                self.assertFalse(self.take(name, 1, peer))
            self.assertEqual(self.rest(), ["a", "c", "b"])

    def test_whatIsDoneAtOnceIsNobodys(self) -> None:
        """
        As long as nobody waits, it costs nothing to find out who is who.
        """
        self.assertTrue(self.turns.take(lambda: None, self.fail, None))  # type: ignore[arg-type]

    def test_whoLeavesIsForgotten(self) -> None:
        """
        Others of the same source are not, and nothing is left of a source that has none.
        """
        self.take("first", 1)
        steps = {name: self.step(name, 1) for name in ("one", "two", "three")}
        for step in steps.values():
            self.turns.take(step, step, OTHER)
        self.turns.leave(steps["two"], OTHER)
        self.take("mine", 1)
        self.assertEqual(self.turn(), ["one"])
        self.turns.leave(steps["three"], OTHER)
        self.assertEqual(self.rest(), ["mine"])
        self.assertEqual(len(self.turns._waiting), 0)

    def test_aTurnIsDueOnce(self) -> None:
        """
        Also where all who waited for it have left: else everybody's turn would come twice.
        """
        self.take("first", 1)
        for _ in range(3):
            self.turns.take(self.fail, self.fail, ONE)
            self.turns.leave(self.fail, ONE)
        self.take("last", 1)
        self.assertEqual(len(self.reactor.due), 1)
        self.assertEqual(self.rest(), ["last"])

    def test_aStepMayAskForAnother(self) -> None:
        """
        And for the end of one that waits.
        """
        gone = self.step("gone", 1)

        def act() -> None:
            self.turns.leave(gone, OTHER)
            self.take("another", 1)

        self.take("first", 1)
        self.turns.take(act, act, ONE)
        self.turns.take(gone, gone, OTHER)
        self.assertEqual(self.rest(), ["another"])

    @given(
        st.lists(
            st.tuples(
                st.sampled_from("abc"),
                st.sampled_from((0.0015, 0.05, 0.05)),
                st.sampled_from(("stays", "stays", "leaves", "a turn later")),
            ),
            max_size=60,
        )
    )
    def test_everyStepIsDoneOnceInItsOrder(self, course: list[tuple[str, float, str]]) -> None:
        """
        Whoever comes and leaves, and when: nobody is forgotten, and no source that waits has two
        steps before another has one.
        """
        self.setUp()
        asked: dict[str, list[str]] = {name: [] for name in "abc"}
        for number, (name, seconds, what) in enumerate(course):
            peer = TCPAddress(f"192.0.2.{ord(name)}", 1)
            step = self.step(f"{name}{number}", seconds)
            if not self.turns.take(step, step, peer) and what == "leaves":
                self.turns.leave(step, peer)
            else:
                asked[name].append(f"{name}{number}")
            if what == "a turn later":
                self.reactor.turn()
        began = len(self.done)
        while self.reactor.due:
            self.reactor.turn()
        for name, steps in asked.items():
            self.assertEqual([each for each in self.done if each[0] == name], steps)
        left = [each[0] for each in self.done[began:]]
        for name in set(left):
            own = [at for at, each in enumerate(left) if each == name]
            for first, second in pairwise(own):
                between = left[first + 1 : second]
                self.assertEqual(len(between), len(set(between)))

    def test_aReactorHasOneOfThem(self) -> None:
        """
        All connections share it.
        """
        self.assertIs(turnsOf(self.reactor), turnsOf(self.reactor))
        self.assertIsNot(turnsOf(self.reactor), turnsOf(Reactor()))
