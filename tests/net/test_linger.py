"""
Tests for L{tlstunnel.net.linger}, on real sockets and a clock of the test's own.
"""

from __future__ import annotations

import errno
import socket

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.net.linger import (
    LINGER_SECONDS,
    LINGERING_SOCKETS,
    READ_BYTES,
    READS_PER_TURN,
    Linger,
    discard,
)


class LingerTests(SynchronousTestCase):
    """
    Sockets that are about to be closed.
    """

    def setUp(self) -> None:
        """
        A reactor in which nothing happens by itself.
        """
        self.reactor = MemoryReactorClock()
        self.linger = Linger(self.reactor)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """
        A socket to be closed, and its peer.
        """
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        return near, far

    def turn(self) -> None:
        """
        Everybody who waits to read may read.
        """
        for each in self.reactor.getReaders():
            each.doRead()

    def test_thePeerHearsTheEndAtOnce(self) -> None:
        """
        And may go on talking, which nobody hears.
        """
        near, far = self.pair()
        near.send(b"goodbye")
        self.linger.closeGently(near)
        self.assertEqual(far.recv(100), b"goodbye")
        self.assertEqual(far.recv(100), b"")
        for _ in range(3):
            far.send(b"but")
            self.turn()
        self.assertGreater(near.fileno(), -1)

    def test_whatCannotBeWatchedHasItsTime(self) -> None:
        """
        And is closed then.
        """

        def refuse(reader: object) -> None:
            raise OSError(errno.ENOSPC, "no room")

        self.patch(self.reactor, "addReader", refuse)
        near, far = self.pair()
        self.linger.closeGently(near)
        self.assertEqual(len(self.linger), 1)
        self.assertEqual(far.recv(1), b"")
        self.reactor.advance(LINGER_SECONDS)
        self.assertEqual((len(self.linger), near.fileno()), (0, -1))

    def test_whatLiesUnreadResetsNobody(self) -> None:
        """
        It is read before the socket is closed.
        """
        near, far = self.pair()
        far.send(b"more")
        near.send(b"goodbye")
        self.linger.closeGently(near)
        self.linger.closeAll()
        self.assertEqual(far.recv(100), b"goodbye")
        self.assertEqual(far.recv(100), b"")

    def test_aSocketIsClosedWhenItsPeerCloses(self) -> None:
        """
        Its timer goes with it.
        """
        near, far = self.pair()
        self.linger.closeGently(near)
        far.close()
        self.turn()
        self.assertEqual(near.fileno(), -1)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_aPeerThatHasClosedIsNotWaitedFor(self) -> None:
        """
        Whether it said something before or not.
        """
        for said in (b"", b"something"):
            near, far = self.pair()
            far.send(said)
            far.close()
            self.linger.closeGently(near)
            self.assertEqual(near.fileno(), -1)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_aPeerThatDoesNotCloseIsWaitedForNoLonger(self) -> None:
        """
        However much it says.
        """
        near, far = self.pair()
        self.linger.closeGently(near)
        self.reactor.advance(LINGER_SECONDS * 0.9)
        far.send(b"but")
        self.turn()
        self.assertGreater(near.fileno(), -1)
        self.reactor.advance(LINGER_SECONDS * 0.2)
        self.assertEqual(near.fileno(), -1)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_noMoreLingerThanMay(self) -> None:
        """
        The next is closed at once, and one that is closed makes room.
        """
        linger = Linger(self.reactor, sockets=2)
        pairs = [self.pair() for _ in range(4)]
        for near, _ in pairs[:3]:
            linger.closeGently(near)
        self.assertEqual([near.fileno() > -1 for near, _ in pairs[:3]], [True, True, False])
        pairs[0][1].close()
        self.turn()
        linger.closeGently(pairs[3][0])
        self.assertGreater(pairs[3][0].fileno(), -1)

    def test_theLimitsAreWithinReason(self) -> None:
        """
        A service has descriptors for other things, and a stop waits for nobody.
        """
        self.assertLessEqual(LINGER_SECONDS, 2)
        self.assertLessEqual(LINGERING_SOCKETS, 1000)

    def test_oneTurnReadsSomeAndNotAll(self) -> None:
        """
        A peer that sends faster than we read does not hold up the others.
        """
        reads: list[int] = []

        class Endless(socket.socket):
            def recv_into(self, *_: object) -> int:
                reads.append(1)
                return READ_BYTES

        with Endless() as endless:
            self.assertIs(discard(endless), False)
        self.assertEqual(len(reads), READS_PER_TURN)
        self.assertLessEqual(READS_PER_TURN * READ_BYTES, 1 << 20)

    def test_servicesLingerEachForItself(self) -> None:
        """
        When one ends, the other's peers still hear its last words.
        """
        other = Linger(self.reactor)
        first, second = self.pair(), self.pair()
        self.linger.closeGently(first[0])
        other.closeGently(second[0])
        self.linger.closeAll()
        self.assertEqual((first[0].fileno() > -1, second[0].fileno() > -1), (False, True))

    def test_aHangUpIsTheEnd(self) -> None:
        """
        The reactor has forgotten the socket already.
        """
        near, _ = self.pair()
        self.linger.closeGently(near)
        (lingering,) = self.reactor.getReaders()
        self.reactor.removeReader(lingering)
        lingering.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(near.fileno(), -1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_aSocketThatIsBrokenIsClosed(self) -> None:
        """
        There is nobody to be told anything.
        """
        sock = socket.socket()
        sock.setblocking(False)
        self.linger.closeGently(sock)
        self.assertEqual(sock.fileno(), -1)
        self.assertEqual(self.reactor.getReaders(), [])
