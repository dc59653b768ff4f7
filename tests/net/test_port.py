"""
Tests for L{tlstunnel.net.port}.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.net.claim import Claim
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.listen import Bound, bind
from tlstunnel.net.port import ACCEPT_RETRY_SECONDS, ACCEPTS_PER_TURN, ListeningPort


class _Failing:
    """
    A listening socket whose accept fails as it is told.
    """

    family, type = socket.AF_INET, socket.SOCK_STREAM

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.accepts = 0

    def setsockopt(self, *option: object) -> None:
        """
        Nothing to set.
        """

    def _accept(self) -> Any:
        """
        Fail.
        """
        self.accepts += 1
        raise OSError(self.errors.pop(0) if self.errors else errno.EAGAIN, "as told")

    def getsockname(self) -> tuple[str, int]:
        """
        Somewhere.
        """
        return ("127.0.0.1", 1)

    def fileno(self) -> int:
        """
        None.
        """
        return -1

    def close(self) -> None:
        """
        Nothing is open.
        """


class _Full(MemoryReactorClock):
    """
    A reactor that has no room, until it has.
    """

    isFull = True

    def addReader(self, reader: Any) -> None:
        """
        Fail.
        """
        if self.isFull:
            raise OSError(errno.ENOSPC, "no room")
        super().addReader(reader)


class ListeningPortTests(SynchronousTestCase):
    """
    Accepting.
    """

    def setUp(self) -> None:
        """
        A reactor without a network.
        """
        self.reactor = MemoryReactorClock()
        self.accepted: list[socket.socket] = []
        self.peers: list[TCPAddress | UNIXAddress] = []

    def port(self, sock: Any) -> ListeningPort:
        """
        A port on C{sock}, listening.
        """

        def accepted(sock: socket.socket, peer: TCPAddress | UNIXAddress) -> None:
            self.peers.append(peer)
            self.accepted.append(sock)
            self.addCleanup(sock.close)

        port = ListeningPort(self.reactor, Deadlines(self.reactor), Bound(sock), accepted)
        port.startListening()
        return port

    def test_moreAreAcceptedInOneTurnTheFasterTheyCome(self) -> None:
        """
        Up to a limit, for the sake of those that are there.
        """
        (sock,) = bind(TCPAddress("127.0.0.1", 0))
        port = self.port(sock)
        self.addCleanup(port.stopListening)
        for _ in range(ACCEPTS_PER_TURN * 3):
            self.addCleanup(socket.create_connection(sock.getsockname()).close)
        turns = []
        while len(self.accepted) < ACCEPTS_PER_TURN * 3:
            before = len(self.accepted)
            port.doRead()
            turns.append(len(self.accepted) - before)
        self.assertEqual(turns, [1, 2, 4, 8, 16, 32, 32, 1])
        self.assertFalse(self.accepted[0].getblocking())
        self.assertTrue(self.accepted[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def test_aFaultOfOursWithOneConnectionDoesNotMatterToTheNext(self) -> None:
        """
        To the reactor, whoever raises is to be given up: nobody would be accepted any more.
        """
        (sock,) = bind(TCPAddress("127.0.0.1", 0))
        mistakes = [ZeroDivisionError()]

        def accepted(sock: socket.socket, peer: TCPAddress | UNIXAddress) -> None:
            self.addCleanup(sock.close)
            if mistakes:
                raise mistakes.pop()
            self.accepted.append(sock)

        port = ListeningPort(self.reactor, Deadlines(self.reactor), Bound(sock), accepted)
        port.startListening()
        self.addCleanup(port.stopListening)
        for _ in range(2):
            self.addCleanup(socket.create_connection(sock.getsockname()).close)
            port.doRead()
        self.assertEqual(len(self.accepted), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_aSocketCanBeLeftToAnotherPort(self) -> None:
        """
        With whoever waits in its queue; what was set for the first one does not stay.
        """
        (sock,) = bind(TCPAddress("127.0.0.1", 0))
        first = ListeningPort(self.reactor, Deadlines(self.reactor), Bound(sock), print, 60)
        first.startListening()
        self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        self.addCleanup(socket.create_connection(sock.getsockname()).close)
        first.letGo()
        self.assertEqual(self.reactor.getReaders(), [])
        second = self.port(sock)
        self.addCleanup(second.stopListening)
        second.doRead()
        self.assertEqual(len(self.accepted), 1)
        self.assertFalse(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def test_whatIsAcceptedCarriesWhatTheSocketDoes(self) -> None:
        """
        Messages, each of them whole.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        address = UNIXAddress(os.path.relpath(directory / "s"))
        (sock,) = bind(address, Claim((address,), kind=socket.SOCK_SEQPACKET))
        port = self.port(sock)
        self.addCleanup(port.stopListening)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(address.path)
            client.send(b"one")
            client.send(b"two")
            port.doRead()
            (accepted,) = self.accepted
            self.assertEqual(accepted.type, socket.SOCK_SEQPACKET)
            self.assertEqual(accepted.recv(100), b"one")

    def test_whoConnectsIsNamed(self) -> None:
        """
        IPv4 also where IPv6 is listened at, and a path where a peer on a UNIX socket has one.
        """
        (both,) = bind(TCPAddress("::", 0))
        directory = Path(self.mktemp())
        directory.mkdir()
        path = os.path.relpath(directory / "s")
        (unix,) = bind(UNIXAddress(path))
        near = socket.create_connection(("127.0.0.1", both.getsockname()[1]))
        unnamed, named = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        named.bind(path + "c")
        for sock in (unnamed, named):
            sock.connect(path)
        for sock in (near, unnamed, named):
            self.addCleanup(sock.close)
        for listening in (both, unix, unix):
            port = self.port(listening)
            self.addCleanup(port.stopListening)
            port.doRead()
        self.assertEqual(
            self.peers,
            [TCPAddress(*near.getsockname()), UNIXAddress(""), UNIXAddress(path + "c")],
        )

    def test_noDescriptorLeftIsWaitedOutWithoutSpinning(self) -> None:
        """
        The port is not read for a while, and then again.
        """
        failing = _Failing(errno.EMFILE)
        port = self.port(failing)
        port.doRead()
        self.assertEqual(failing.accepts, 1)
        self.assertNotIn(port, self.reactor.getReaders())
        self.reactor.advance(ACCEPT_RETRY_SECONDS)
        self.assertIn(port, self.reactor.getReaders())

    def test_aConnectionThatIsGoneAlreadyIsSkipped(self) -> None:
        """
        The next one is accepted in the next turn.
        """
        failing = _Failing(errno.ECONNABORTED, errno.EINTR)
        port = self.port(failing)
        for _ in range(3):
            port.doRead()
        self.assertEqual(failing.accepts, 4)
        self.assertIn(port, self.reactor.getReaders())

    def test_aPausedPortStaysPausedAfterAFailure(self) -> None:
        """
        The end of the wait does not undo the pause.
        """
        port = self.port(_Failing(errno.EMFILE))
        port.doRead()
        port.pauseListening()
        self.reactor.advance(ACCEPT_RETRY_SECONDS)
        self.assertNotIn(port, self.reactor.getReaders())
        port.startListening()
        self.assertIn(port, self.reactor.getReaders())

    def test_stoppingDuringTheWaitLeavesNoTimer(self) -> None:
        """
        Nothing is left of a stopped port.
        """
        port = self.port(_Failing(errno.EMFILE))
        port.doRead()
        port.stopListening()
        self.reactor.advance(ACCEPT_RETRY_SECONDS)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_whatCannotBeWatchedIsWatchedLater(self) -> None:
        """
        Whenever the system has room again, and whoever wants it then.
        """
        reactor = self.reactor = _Full()
        port = self.port(_Failing())
        reactor.advance(ACCEPT_RETRY_SECONDS)
        self.assertEqual(reactor.getReaders(), [])
        reactor.isFull = False
        reactor.advance(ACCEPT_RETRY_SECONDS)
        self.assertEqual(reactor.getReaders(), [port])
        port.pauseListening()
        reactor.isFull = True
        port.startListening()
        port.pauseListening()
        reactor.isFull = False
        reactor.advance(ACCEPT_RETRY_SECONDS)
        self.assertEqual(reactor.getReaders(), [])
        port.startListening()
        self.assertEqual(reactor.getReaders(), [port])
