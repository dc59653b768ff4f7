"""
Tests for L{tlstunnel.net.dial}: on real sockets, with a resolver of the test's own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConnectFailed
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.dial import STAGGER, Dialler
from tlstunnel.net.leg import Leg


class _Resolver:
    """
    Knows the names it was told.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[Any]] = {}
        self.silent = False

    def resolveHostName(self, receiver: Any, name: str, port: int, **_: Any) -> None:
        """
        Tell all addresses of C{name} at once.
        """
        receiver.resolutionBegan(None)
        if not self.silent:
            for address in self.names.get(name, []):
                receiver.addressResolved(address)
            receiver.resolutionComplete()


class _Reactor:
    """
    The real one, with another resolver.
    """

    def __init__(self) -> None:
        self.nameResolver = _Resolver()

    def __getattr__(self, name: str) -> Any:
        return getattr(_reactor, name)


class DialTests(TestCase):
    """
    From addresses to a leg.
    """

    timeout = 30

    def setUp(self) -> None:
        """
        A listener on IPv4, and a port where nobody listens.
        """
        self.reactor = _Reactor()
        self.deadlines = Deadlines(self.reactor)  # type: ignore[arg-type]
        self.addCleanup(self.deadlines.clear)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.port = self.listener.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.down = probe.getsockname()[1]

    def dial(
        self, *addresses: TCPAddress | UNIXAddress, limit: float = 5
    ) -> Coroutine[Any, Any, Leg]:
        """
        Dial C{addresses}.
        """
        return Dialler(self.reactor, self.deadlines, addresses, limit).dial()

    async def connects(self, *addresses: TCPAddress | UNIXAddress) -> str:
        """
        Dial, and close.

        @return: what the log calls the other end.
        """
        leg = await self.dial(*addresses)
        leg.abortConnection()
        return leg.peer

    async def test_aLiteralAddressIsConnectedTo(self) -> None:
        """
        No name is resolved for it.
        """
        address = TCPAddress("127.0.0.1", self.port)
        self.assertEqual(await self.connects(address), str(address))

    async def test_aNameIsResolvedForEachConnection(self) -> None:
        """
        The log has the address that it came to.
        """
        self.reactor.nameResolver.names["host.example"] = [
            IPv4Address("TCP", "127.0.0.1", self.port)
        ]
        peer = await self.connects(TCPAddress("host.example", self.port))
        self.assertEqual(peer, f"127.0.0.1:{self.port}")

    async def test_theNextAddressOfANameIsTriedWhenOneRefuses(self) -> None:
        """
        All addresses of a name are good.
        """
        self.reactor.nameResolver.names["host.example"] = [
            IPv6Address("TCP", "::1", self.down),
            IPv4Address("TCP", "127.0.0.1", self.port),
        ]
        peer = await self.connects(TCPAddress("host.example", self.port))
        self.assertEqual(peer, f"127.0.0.1:{self.port}")

    async def test_aNameThatDoesNotResolveIsNamed(self) -> None:
        """
        The error says which.
        """
        failing = Deferred.fromCoroutine(self.dial(TCPAddress("gone.example", 1)))
        error = await self.assertFailure(failing, ConnectFailed)
        self.assertIn("gone.example", str(error))

    async def test_aResolverThatDoesNotAnswerIsGivenUpOn(self) -> None:
        """
        Within the limit of one address.
        """
        self.reactor.nameResolver.silent = True
        failing = Deferred.fromCoroutine(self.dial(TCPAddress("slow.example", 1), limit=0.05))
        await self.assertFailure(failing, ConnectFailed)

    async def test_allProblemsAreNamedWhenNothingAnswers(self) -> None:
        """
        One for each address.
        """
        failing = Deferred.fromCoroutine(
            self.dial(TCPAddress("127.0.0.1", self.down), UNIXAddress("/nonexistent/socket"))
        )
        error = await self.assertFailure(failing, ConnectFailed)
        self.assertIn(f"127.0.0.1:{self.down}: Connection refused", str(error))
        self.assertIn("/nonexistent/socket: No such file", str(error))

    async def test_aFullQueueOfAUNIXSocketIsWaitedFor(self) -> None:
        """
        Such a socket says EAGAIN, and takes us when there is room.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        path = os.path.relpath(directory / "s")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen(0)
        first = await self.dial(UNIXAddress(path))
        waiting = Deferred.fromCoroutine(self.dial(UNIXAddress(path)))
        self.assertNoResult(waiting)
        listener.accept()[0].close()
        (await waiting).abortConnection()
        first.abortConnection()

    async def test_whatWasBegunAtOnceIsNotBegunAgain(self) -> None:
        """
        The server sees one connection, however long it takes: not one that is dropped before.
        """
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listener.close)
        address = TCPAddress("127.0.0.1", listener.getsockname()[1])
        dialler = Dialler(self.reactor, self.deadlines, [address], 5)
        first = dialler.dialHere()
        assert first is not None
        self.assertIs(dialler.dialHere(), None)
        waiting = Deferred.fromCoroutine(dialler.dial())
        (begun,) = self.reactor.getWriters()
        name = begun.sock.getsockname()
        listener.accept()[0].close()
        second = await waiting
        self.assertEqual(second.sock.getsockname(), name)
        listener.settimeout(5)
        accepted, peer = listener.accept()
        accepted.close()
        self.assertEqual(peer, name)
        for leg in (first, second):
            leg.abortConnection()

    async def test_whatFailedAtOnceHasFailed(self) -> None:
        """
        There is no second try of the same address.
        """
        address = TCPAddress("127.0.0.1", self.down)
        dialler = Dialler(self.reactor, self.deadlines, [address], 5)
        self.assertIs(dialler.dialHere(), None)
        with socket.create_server(("127.0.0.1", self.down)):
            failing = Deferred.fromCoroutine(dialler.dial())
            error = await self.assertFailure(failing, ConnectFailed)
        self.assertIn("refused", str(error))

    async def test_aCancelledDialLeavesNothing(self) -> None:
        """
        No descriptor and no timer outlives it.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        path = os.path.relpath(directory / "s")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen(0)
        first = await self.dial(UNIXAddress(path))
        before = len(list(Path("/dev/fd").iterdir()))
        waiting = Deferred.fromCoroutine(self.dial(UNIXAddress(path)))
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)
        self.assertEqual(len(list(Path("/dev/fd").iterdir())), before)
        first.abortConnection()

    async def test_aSilentAddressDelaysTheNextButLittle(self) -> None:
        """
        The addresses of a name race (RFC 8305), and the loser is closed.
        """
        # A listener whose queue is full is silent: Linux drops what comes then.
        silent = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(silent.close)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
            self.addCleanup(filler.close)
        self.reactor.nameResolver.names["host.example"] = [
            IPv4Address("TCP", "127.0.0.1", silent.getsockname()[1]),
            IPv4Address("TCP", "127.0.0.1", self.port),
        ]
        self.assertLess(STAGGER, 1)
        peer = await self.connects(TCPAddress("host.example", 0))
        self.assertEqual(peer, f"127.0.0.1:{self.port}")
