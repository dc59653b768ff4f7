"""
Tests for L{tlstunnel.status.asking}: the status of several processes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.status.examples import snapshot
from tlstunnel.status.answers import Gathered
from tlstunnel.status.asking import ANSWER_SECONDS, Asker, Teller, gatherFrom
from tlstunnel.status.facts import Snapshot


class OverSocketsTests(TestCase):
    """
    Both ends, on a pair of sockets.
    """

    def end(self, sock: socket.socket, protocol: Protocol) -> None:
        """
        Let C{protocol} speak on C{sock}.
        """
        factory = Factory.forProtocol(lambda: protocol)  # type: ignore[arg-type]
        factory.noisy = False
        sock.setblocking(False)
        _reactor.adoptStreamConnection(sock.fileno(), sock.family, factory)  # type: ignore[attr-defined]
        sock.close()
        self.addCleanup(lambda: protocol.transport and protocol.transport.loseConnection())

    def worker(self, take: Callable[[], Snapshot]) -> tuple[Asker, Teller]:
        """
        A worker, and the end of who asks it.
        """
        ours, its = socket.socketpair()
        asker, teller = Asker(), Teller(take)
        self.end(ours, asker)
        self.end(its, teller)
        return asker, teller

    async def test_theWorkerSaysHowItIs(self) -> None:
        """
        Also if that is more than fits into the buffers of a socket.
        """
        large = snapshot(1, connections=snapshot(1)["connections"] * 5000)
        asker, _ = self.worker(lambda: large)
        self.assertEqual(await asker.ask(), large)
        self.assertEqual(await asker.ask(), large)

    async def test_aWorkerThatIsGoneDoesNotAnswer(self) -> None:
        """
        The others do.
        """
        first, teller = self.worker(lambda: snapshot(1))
        second, _ = self.worker(lambda: snapshot(2))
        assert teller.transport is not None
        teller.transport.loseConnection()
        asked = {1: first, 2: second, 3: None}
        found = await gatherFrom(_reactor, snapshot, lambda: asked)()  # type: ignore[arg-type]
        self.assertEqual([each["process"]["worker"] for each in found.snapshots], [None, 2])
        self.assertEqual(found.silent, (1, 3))


class TimeTests(SynchronousTestCase):
    """
    Workers that take their time.
    """

    def setUp(self) -> None:
        """
        One that says nothing.
        """
        self.clock = Clock()
        self.asker = Asker()
        self.transport = StringTransport()
        self.asker.makeConnection(self.transport)

    def gather(self) -> Deferred[Gathered]:
        """
        Ask it.
        """
        return gatherFrom(self.clock, snapshot, lambda: {1: self.asker})()

    def test_nobodyWaitsForASilentWorker(self) -> None:
        """
        For longer than the limit; the rest of the status is shown.
        """
        gathering = self.gather()
        self.clock.advance(ANSWER_SECONDS * 0.99)
        self.assertNoResult(gathering)
        self.clock.advance(ANSWER_SECONDS * 0.02)
        found = self.successResultOf(gathering)
        self.assertEqual((len(found.snapshots), found.silent), (1, (1,)))

    def test_aSilentWorkerIsNotAskedAgainAndAgain(self) -> None:
        """
        As long as its answer is due there is one question on its way.
        """
        for _ in range(50):
            gathering = self.gather()
            self.clock.advance(ANSWER_SECONDS)
            self.successResultOf(gathering)
        self.assertEqual(self.transport.value().count(b"status"), 1)

    def test_whatIsWaitedForIsBounded(self) -> None:
        """
        Those who gave up leave nothing behind.
        """
        for _ in range(50):
            self.gather()
            self.clock.advance(ANSWER_SECONDS)
        self.assertLessEqual(len(self.asker._waiting), 1)
