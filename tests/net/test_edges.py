"""
Tests for L{tlstunnel.net.edges}, on real sockets.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.legs import TURN, SocketCase
from tlstunnel.net import edges as module
from tlstunnel.net.edges import ENDED, EVENTS_PER_TURN, GONE, Edges


class _Watched:
    """
    Remembers what it was told.
    """

    def __init__(self) -> None:
        self.events: list[int] = []
        self.lost: list[Failure] = []
        self.then: Callable[[], object] = bool

    def changed(self, event: int) -> None:
        """
        Remember.
        """
        self.events.append(event)
        self.then()

    def connectionLost(self, reason: Failure) -> None:
        """
        Remember.
        """
        self.lost.append(reason)


class EdgesTests(SocketCase, SynchronousTestCase):
    """
    What is new is told once.
    """

    def setUp(self) -> None:
        """
        One socket is watched.
        """
        super().setUp()
        self.edges = Edges(self.reactor)
        self.addCleanup(self.edges.close)
        self.near, self.peer, self.watched = self.watch()

    def watch(self) -> tuple[socket.socket, socket.socket, _Watched]:
        """
        One more.
        """
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        watched = _Watched()
        self.edges.watch(near.fileno(), watched)
        self.addCleanup(self.forget, near)
        return near, far, watched

    def forget(self, near: socket.socket) -> None:
        """
        If it is watched.
        """
        if near.fileno() in self.edges._watched:
            self.edges.forget(near.fileno())

    def turns(self) -> None:
        """
        Of the reactor.
        """
        for _ in range(4):
            self.reactor.doIteration(TURN)

    def told(self) -> int:
        """
        How often something was told since the last time.
        """
        self.turns()
        count = len(self.watched.events)
        self.watched.events.clear()
        return count

    def test_whatIsNewIsToldOnce(self) -> None:
        """
        Though it stays unread.
        """
        self.assertEqual(self.told(), 0)
        self.peer.send(b"x")
        self.assertEqual(self.told(), 1)
        self.assertEqual(self.told(), 0)
        self.peer.send(b"x")
        self.assertEqual(self.told(), 1)

    def test_whatIsNotReadIsToldAgainIfAskedFor(self) -> None:
        """
        In the next turn.
        """
        self.peer.send(b"x")
        self.assertEqual(self.told(), 1)
        self.edges.again(self.near.fileno())
        self.assertEqual(self.told(), 1)

    def test_whoBeginsIsToldWhatThereIs(self) -> None:
        """
        Also what has been told before.
        """
        self.peer.send(b"x")
        self.assertEqual(self.told(), 1)
        self.edges.forget(self.near.fileno())
        self.peer.send(b"x")
        self.assertEqual(self.told(), 0)
        self.edges.watch(self.near.fileno(), self.watched)
        self.assertEqual(self.told(), 1)

    def test_endsAreTold(self) -> None:
        """
        That of the peer's direction, and that of the peer.
        """
        self.peer.shutdown(socket.SHUT_WR)
        self.turns()
        self.assertTrue(self.watched.events[-1] & ENDED)
        self.assertFalse(self.watched.events[-1] & GONE)
        self.peer.close()
        self.turns()
        self.assertTrue(self.watched.events[-1] & GONE)

    def test_oneTurnTellsSome(self) -> None:
        """
        And the next ones the rest.
        """
        others = [self.watch() for _ in range(20)]
        self.patch(module, "EVENTS_PER_TURN", 8)
        for _, far, _ in others:
            far.send(b"x")
        self.reactor.doIteration(TURN)
        self.assertEqual(sum(len(each.events) for _, _, each in others), 8)
        self.turns()
        self.assertEqual([len(each.events) for _, _, each in others], [1] * 20)
        self.assertLessEqual(EVENTS_PER_TURN, 256)

    def test_nothingIsToldToWhoeverHasTheNumberNext(self) -> None:
        """
        The event was for who had it before.
        """
        near, far, other = self.watch()
        late = _Watched()
        number = near.fileno()

        def replace() -> None:
            if number in self.edges._watched and self.edges._watched[number] is other:
                self.edges.forget(number)
                self.edges.watch(number, late)
                heard.append(len(late.events))

        heard: list[int] = []
        self.watched.then = replace
        self.peer.send(b"x")
        far.send(b"x")
        self.edges.doRead()
        self.assertEqual((heard, other.events, late.events), ([0], [], []))
        self.turns()
        self.assertEqual(len(late.events), 1)

    def test_oneThatFailsHarmsNoOther(self) -> None:
        """
        It is logged, and over.
        """
        _, far, other = self.watch()

        def fail() -> None:
            raise ValueError("by the test")

        self.watched.then = fail
        self.peer.send(b"x")
        far.send(b"x")
        self.turns()
        self.assertEqual((len(self.watched.lost), len(other.events)), (1, 1))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.peer.send(b"x")
        self.turns()
        self.assertEqual(len(self.watched.events), 1)

    def test_allAreToldWhenTheReactorStops(self) -> None:
        """
        They are not known to it themselves.
        """
        (found,) = self.reactor.removeAll()
        self.assertIs(found, self.edges)
        self.edges.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.watched.lost), 1)

    def test_whoIsToldThatTheReactorStopsMayWantToBeForgotten(self) -> None:
        """
        As legs do; it is so already.
        """
        told: list[Failure] = []

        def lost(reason: Failure) -> None:
            self.edges.forget(self.near.fileno())
            told.append(reason)

        self.watched.connectionLost = lost  # type: ignore[method-assign]
        self.edges.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(told), 1)

    def test_theReactorHasNothingToWatchWhereNobodyWaits(self) -> None:
        """
        And no descriptor is left once it is closed.
        """
        self.edges.close()
        self.assertGreater(self.edges.fileno(), -1)
        self.edges.forget(self.near.fileno())
        self.assertEqual(self.reactor.removeAll(), [])
        self.edges.close()
        self.assertEqual(self.edges.fileno(), -1)
        self.edges.watch(self.near.fileno(), self.watched)
        self.peer.send(b"x")
        self.assertEqual(self.told(), 1)

    def test_anyReactorWillDo(self) -> None:
        """
        To it this is a descriptor like any other.
        """
        self.edges.forget(self.near.fileno())
        reactor = SelectReactor()
        for waker in reactor._internalReaders:
            self.addCleanup(waker.connectionLost, Failure(ConnectionDone()))
        edges = Edges(reactor)
        edges.watch(self.near.fileno(), self.watched)
        self.peer.send(b"x")
        for _ in range(3):
            reactor.doIteration(TURN)
        self.assertEqual(len(self.watched.events), 1)
        edges.forget(self.near.fileno())
        edges.close()
