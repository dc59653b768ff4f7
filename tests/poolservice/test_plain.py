"""
Tests for L{tlstunnel.poolservice.plain}: the pairs of sockets for plaintext.
"""

from __future__ import annotations

import errno
import resource
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.poolservice.test_descriptors import descriptorsInUse, eventually
from tlstunnel.errors import ConnectFailed, TimedOut
from tlstunnel.local.refusals import TooMany
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.poolservice import plain
from tlstunnel.poolservice.plain import PAIR_SECONDS, STRANGERS, pairOf
from tlstunnel.poolservice.request import Plain

reactor: Any = _reactor

Pair = tuple[socket.socket, socket.socket]


class Unread:
    """
    A reactor that never looks, but has a clock.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.readers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard

    def pair(self, kind: Plain) -> Deferred[Pair]:
        """
        Have one made.
        """
        return Deferred.fromCoroutine(pairOf(kind, self, Deadlines(self.clock)))


class Listening(socket.socket):
    """
    A socket to which something happens before anybody can connect to it.
    """

    whenBound: Callable[[socket.socket], object]

    def listen(self, backlog: int = 0, /) -> None:
        """
        As a socket's.
        """
        super().listen(backlog)
        type(self).whenBound(self)


class PairTests(SynchronousTestCase):
    """
    Making one.
    """

    def setUp(self) -> None:
        """
        Note which descriptors there are.
        """
        self.before = descriptorsInUse()
        self.reactor = Unread()

    def assertNothingLeft(self) -> None:
        """
        All descriptors are closed.
        """
        self.assertEqual(descriptorsInUse() - self.before, set())
        self.assertEqual(self.reactor.readers, set())

    def strangers(self, sock: socket.socket, count: int) -> None:
        """
        Let C{count} strangers connect first.
        """
        for _ in range(count):
            stranger = socket.socket()
            stranger.setblocking(False)
            stranger.connect_ex(sock.getsockname())
            self.addCleanup(stranger.close)

    def between(self, whenBound: Callable[[socket.socket], object]) -> Any:
        """
        Let something happen before we connect.
        """
        kind = type("Between", (Listening,), {"whenBound": staticmethod(whenBound)})
        return patch("socket.socket", kind)

    def test_aPairIsConnected(self) -> None:
        """
        Of either kind; ours does not block, that of the program does.
        """
        for kind in Plain:
            with self.subTest(kind=kind), ExitStack() as stack:
                pair: Pair = self.successResultOf(self.reactor.pair(kind))
                ours, theirs = [stack.enter_context(each) for each in pair]
                self.assertEqual((ours.getblocking(), theirs.getblocking()), (False, True))
                ours.send(b"x")
                self.assertEqual(theirs.recv(1), b"x")
                theirs.send(b"y")
                self.assertEqual(ours.recv(1), b"y")
                self.assertFalse(ours.get_inheritable() or theirs.get_inheritable())
        self.assertNothingLeft()

    def test_aPairOfTCPCanBeReset(self) -> None:
        """
        This is what it is for.
        """
        ours, theirs = self.successResultOf(self.reactor.pair(Plain.TCP))
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ours.close()
            self.assertRaises(ConnectionResetError, theirs.recv, 1)

    def test_nobodyListensForMore(self) -> None:
        """
        When the pair is there.
        """
        ours, theirs = self.successResultOf(self.reactor.pair(Plain.TCP))
        with ours, theirs, socket.socket() as stranger:
            code = stranger.connect_ex(theirs.getsockname())
            self.assertEqual(code, errno.ECONNREFUSED)

    def test_strangersAreSentAway(self) -> None:
        """
        Who comes first gets nothing, and the pair is ours.
        """
        with self.between(lambda sock: self.strangers(sock, 5)):
            ours, theirs = self.successResultOf(self.reactor.pair(Plain.TCP))
        with ours, theirs:
            self.assertEqual(theirs.getpeername(), ours.getsockname())
            self.assertEqual(ours.getpeername(), theirs.getsockname())

    def test_whereStrangersTakeAllRoomThereIsATimeLimit(self) -> None:
        """
        Nothing blocks, and nothing is left.
        """
        with patch.object(plain, "_accept", return_value=None):
            making = self.reactor.pair(Plain.TCP)
            self.assertNoResult(making)
            for reader in tuple(self.reactor.readers):
                reader.doRead()
            self.assertNoResult(making)
            self.reactor.clock.advance(PAIR_SECONDS)
            self.failureResultOf(making, TimedOut)
        self.assertNothingLeft()

    def test_whatComesLateIsTaken(self) -> None:
        """
        As soon as the reactor sees it.
        """
        really = plain._accept
        with patch.object(plain, "_accept", return_value=None):
            making = self.reactor.pair(Plain.TCP)
        self.assertIs(plain._accept, really)
        for reader in tuple(self.reactor.readers):
            reader.doRead()
        ours, theirs = self.successResultOf(making)
        with ours, theirs:
            self.assertEqual(theirs.getpeername(), ours.getsockname())
        self.reactor.clock.advance(PAIR_SECONDS)
        self.assertNothingLeft()

    def test_whoWaitsCanBeCancelled(self) -> None:
        """
        Nothing is left.
        """
        with patch.object(plain, "_accept", return_value=None):
            making = self.reactor.pair(Plain.TCP)
        making.cancel()
        self.failureResultOf(making, CancelledError)
        self.assertNothingLeft()

    def test_withoutDescriptorsThereIsALimit(self) -> None:
        """
        Of either kind, wherever they run out.
        """
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        for kind in Plain:
            for free in range(3 if kind is Plain.TCP else 2):
                with self.subTest(kind=kind, free=free), ExitStack() as stack:
                    stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
                    resource.setrlimit(
                        resource.RLIMIT_NOFILE, (max(descriptorsInUse()) + 20, limits[1])
                    )
                    opened = []
                    try:
                        while True:
                            opened.append(stack.enter_context(open("/dev/null")))  # noqa: PTH123
                    except OSError:
                        pass
                    for each in opened[:free]:
                        each.close()
                    making = self.reactor.pair(kind)
                    refused = self.failureResultOf(making, TooMany)
                    self.assertIn("Too many open files", refused.value.detail)
        self.assertNothingLeft()

    def test_whereThereIsNoLoopbackItIsSaid(self) -> None:
        """
        As in a container that has none.
        """
        with patch.object(plain, "_LOOPBACK", ("192.0.2.1", 0)):
            refused = self.failureResultOf(self.reactor.pair(Plain.TCP), ConnectFailed)
        self.assertIn("no plaintext socket", refused.value.detail)
        self.assertNothingLeft()


class FloodTests(TestCase):
    """
    Whoever connects to all that listens.
    """

    timeout = 60

    async def test_aPairIsMadeAlthoughStrangersFloodIt(self) -> None:
        """
        They are as many as have room, and go on.
        """
        deadlines = Deadlines(reactor)
        self.addCleanup(deadlines.clear)
        over = threading.Event()
        threads: list[threading.Thread] = []

        def flood(where: Any) -> None:
            while not over.is_set():
                with socket.socket() as sock:
                    if sock.connect_ex(where):
                        return

        def begin(sock: socket.socket) -> None:
            where = sock.getsockname()
            threads.append(threading.Thread(target=flood, args=(where,)))
            threads[0].start()
            for _ in range(STRANGERS + 8):
                stranger = socket.socket()
                stranger.setblocking(False)
                stranger.connect_ex(where)
                self.addCleanup(stranger.close)

        kind = type("Between", (Listening,), {"whenBound": staticmethod(begin)})
        with patch("socket.socket", kind):
            ours, theirs = await pairOf(Plain.TCP, reactor, deadlines)
        over.set()
        with ours, theirs:
            self.assertEqual(theirs.getpeername(), ours.getsockname())
        self.assertTrue(eventually(lambda: not threads[0].is_alive()))
