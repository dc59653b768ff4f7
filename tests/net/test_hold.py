"""
Tests for L{tlstunnel.net.hold}, on real sockets and a reactor that turns when the test says so.
"""

from __future__ import annotations

import socket

from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.legs import TURN, SocketCase
from tlstunnel.net import hold
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.edges import Edges
from tlstunnel.net.hold import HELD_SOCKETS, Hold


class HoldTests(SocketCase, SynchronousTestCase):
    """
    Sockets that have no end yet.
    """

    def setUp(self) -> None:
        """
        Two may be held.
        """
        super().setUp()
        self.clock = Clock()
        self.edges = Edges(self.reactor)
        self.addCleanup(self.edges.close)
        self.hold = Hold(self.edges, Deadlines(self.clock), 2)
        self.addCleanup(self.hold.closeAll)
        self.notices: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "notice":
                self.notices.append(event["notice"])

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def held(self, seconds: float = 0) -> tuple[socket.socket, socket.socket]:
        """
        One that is held, and its peer.
        """
        near, far = socket.socketpair()
        far.setblocking(False)
        self.addCleanup(far.close)
        self.hold.hold(near, near.close, seconds)
        return near, far

    def test_aSocketIsHeldUntilItsPeerSpeaks(self) -> None:
        """
        That is a reset then.
        """
        near, far = self.held()
        self.turn()
        self.assertRaises(BlockingIOError, far.recv, 1)
        far.send(b"hello?")
        self.turn()
        self.assertEqual((near.fileno(), len(self.hold)), (-1, 0))
        self.assertRaises(ConnectionResetError, far.recv, 1)

    def test_whatWasSaidMeanwhileCountsToo(self) -> None:
        """
        Though it is no news.
        """
        near, far = socket.socketpair()
        self.addCleanup(far.close)
        far.send(b"hello?")
        self.hold.hold(near, near.close, 0)
        self.turn()
        self.assertEqual(near.fileno(), -1)

    def test_aPeerThatHasEndedIsHeldUntilItCloses(self) -> None:
        """
        An end says nothing.
        """
        near, far = self.held()
        far.shutdown(socket.SHUT_WR)
        self.turn()
        self.assertEqual(len(self.hold), 1)
        self.assertRaises(BlockingIOError, far.recv, 1)
        far.close()
        self.turn()
        self.assertEqual((near.fileno(), len(self.hold)), (-1, 0))
        self.assertEqual(self.notices, [])

    def test_theOldestMakesRoom(self) -> None:
        """
        Whoever cuts connections does not take all descriptors; and it is told.
        """
        pairs = [self.held() for _ in range(3)]
        self.assertEqual([near.fileno() > -1 for near, _ in pairs], [False, True, True])
        self.assertEqual(pairs[0][1].recv(1), b"")
        (notice,) = self.notices
        self.assertIn("as there may be 2 of them", notice)
        self.assertIn("use a loopback address", notice)
        self.assertLessEqual(HELD_SOCKETS, 1000)

    def test_whatIsClosedInAMinuteIsToldTogether(self) -> None:
        """
        Behind the first one: whoever cuts connections does not fill the log.
        """
        for _ in range(7):
            self.held()
        self.assertEqual(len(self.notices), 1)
        self.clock.advance(hold.NOTICE_SECONDS)
        self.assertIn("closed 4 UNIX sockets", self.notices[-1])
        self.assertIn("as their number and time are limited", self.notices[-1])
        self.clock.advance(3 * hold.NOTICE_SECONDS)
        self.assertEqual(len(self.notices), 2)
        self.held()
        self.assertIn("closed a UNIX socket", self.notices[-1])
        self.held()
        self.hold.closeAll()
        self.clock.advance(hold.NOTICE_SECONDS)
        self.assertEqual(len(self.notices), 5)
        self.assertIn("as their number", self.notices[-2])
        self.assertIn("closed 2 UNIX sockets", self.notices[-1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_thereAreFewerWhereDescriptorsAreFew(self) -> None:
        """
        The others are for connections that go on.
        """
        self.patch(hold, "descriptorLimit", lambda: 2 * hold.HELD_PART - 1)
        pairs = [self.held() for _ in range(2)]
        self.assertEqual([near.fileno() > -1 for near, _ in pairs], [False, True])

    def test_theTimeIsLimitedWhereThereIsALimit(self) -> None:
        """
        Whoever is closed before leaves nothing to be called.
        """
        _, gone = self.held(5)
        gone.close()
        self.turn()
        self.clock.advance(1)
        near, far = self.held(5)
        self.clock.advance(4.5)
        self.assertGreater(near.fileno(), -1)
        self.clock.advance(1)
        self.assertEqual(near.fileno(), -1)
        self.assertEqual(far.recv(1), b"")
        (notice,) = self.notices
        self.assertIn("as nothing moved for 5 s", notice)

    def test_allAreClosedInTheEnd(self) -> None:
        """
        That is told once.
        """
        self.hold.name = "web"
        pairs = [self.held(5), self.held(5)]
        self.hold.closeAll()
        self.hold.closeAll()
        self.assertEqual([near.fileno() for near, _ in pairs], [-1, -1])
        self.clock.advance(10)
        (notice,) = self.notices
        self.assertIn("closed 2 UNIX sockets", notice)
        self.assertEqual(self.reactor.removeAll(), [])

    def turn(self) -> None:
        """
        Of the reactor, more than once.
        """
        for _ in range(3):
            self.reactor.doIteration(TURN)
