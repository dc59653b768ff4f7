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
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.loopback import wait
from tests.ports import freePort
from tlstunnel.address import TCPAddress, UNIXAddress, parseAddress
from tlstunnel.errors import ConnectFailed
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.dial import ADDRESSES_PER_NAME, Dialler
from tlstunnel.net.linger import Linger
from tlstunnel.net.search import STAGGER_SECONDS


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
        self.port = freePort()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.addCleanup(self.listener.close)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.down = probe.getsockname()[1]

    def path(self) -> str:
        """
        A short path of a file that is not there.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        return os.path.relpath(directory / "s")

    def dial(
        self, *addresses: TCPAddress | UNIXAddress, limit: float = 5
    ) -> Coroutine[Any, Any, Any]:
        """
        Dial C{addresses}.
        """
        return self.dialler(*addresses, limit=limit).dial()

    def dialler(self, *addresses: TCPAddress | UNIXAddress, limit: float = 5) -> Dialler:
        """
        What dials C{addresses}.
        """
        return Dialler(self.reactor, self.deadlines, Linger(self.reactor), addresses, limit)

    async def connects(self, *addresses: TCPAddress | UNIXAddress) -> TCPAddress | UNIXAddress:
        """
        Dial, and close.

        @return: the other end.
        """
        leg = await self.dial(*addresses)
        leg.abortConnection()
        peer: TCPAddress | UNIXAddress = leg.peer
        return peer

    async def test_aLiteralAddressIsConnectedTo(self) -> None:
        """
        No name is resolved for it.
        """
        address = TCPAddress("127.0.0.1", self.port)
        self.assertEqual(await self.connects(address), address)

    async def test_aNameIsResolved(self) -> None:
        """
        The log has the address that it came to.
        """
        self.reactor.nameResolver.names["host.example"] = [
            IPv4Address("TCP", "127.0.0.1", self.port)
        ]
        peer = await self.connects(TCPAddress("host.example", self.port))
        self.assertEqual(peer, TCPAddress("127.0.0.1", self.port))

    async def test_theDotAtTheEndIsForTheResolver(self) -> None:
        """
        Which would append domains of its own without it.
        """
        names = self.reactor.nameResolver.names
        names["host.example."] = [IPv4Address("TCP", "127.0.0.1", 0)]
        names["host.example"] = [IPv4Address("TCP", "127.0.0.2", 0)]
        peer = await self.connects(parseAddress(f"host.example.:{self.port}"))
        self.assertEqual(peer, TCPAddress("127.0.0.1", self.port))

    async def test_noOtherAddressIsTriedOnceOneAnswers(self) -> None:
        """
        Its server would see a connection that is dropped.
        """
        other = socket.create_server(("127.0.0.2", self.port))
        other.setblocking(False)
        self.addCleanup(other.close)
        self.reactor.nameResolver.names["host.example"] = [
            IPv4Address("TCP", host, 0) for host in ("127.0.0.1", "127.0.0.2")
        ]
        await self.connects(TCPAddress("host.example", self.port))
        self.assertRaises(BlockingIOError, other.accept)

    async def test_whatIsSaidIsSentAtOnce(self) -> None:
        """
        The kernel waits for nothing more to say.
        """
        leg = await self.dial(TCPAddress("127.0.0.1", self.port))
        self.assertTrue(leg.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        leg.abortConnection()

    async def test_theNextAddressOfANameIsTriedWhenOneRefuses(self) -> None:
        """
        All addresses of a name are good.
        """
        self.reactor.nameResolver.names["host.example"] = [
            IPv6Address("TCP", "::1", 0),
            IPv4Address("TCP", "127.0.0.1", 0),
        ]
        peer = await self.connects(TCPAddress("host.example", self.port))
        self.assertEqual(peer, TCPAddress("127.0.0.1", self.port))

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
        path = self.path()
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

    async def test_whatIsHereIsConnectedToAtOnce(self) -> None:
        """
        Nobody waits for a turn of the reactor.
        """
        path = self.path()
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()
        for address in (TCPAddress("127.0.0.1", self.port), UNIXAddress(path)):
            dialling = Deferred.fromCoroutine(self.dial(address))
            leg = self.successResultOf(dialling)
            self.assertEqual(leg.peer, address)
            leg.abortConnection()

    async def test_whatTakesLongerIsNotBegunAgain(self) -> None:
        """
        The server sees one connection, however long it takes: not one that is dropped before.
        """
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listener.close)
        address = TCPAddress("127.0.0.1", listener.getsockname()[1])
        first = await self.dial(address)
        waiting = Deferred.fromCoroutine(self.dial(address))
        self.assertNoResult(waiting)
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

    async def test_aSilentAddressIsGivenUpOn(self) -> None:
        """
        Within its limit, and its socket is closed.
        """
        silent = self.silent()
        failing = Deferred.fromCoroutine(self.dial(silent, limit=0.05))
        (begun,) = self.reactor.getWriters()
        error = await self.assertFailure(failing, ConnectFailed)
        self.assertIn(f"{silent}: no answer", str(error))
        self.assertEqual(self.reactor.getWriters(), [])
        self.assertEqual(begun.fileno(), -1)

    async def test_aHangUpWhileConnectingIsAFailure(self) -> None:
        """
        As the reactor tells it when it stops.
        """
        failing = Deferred.fromCoroutine(self.dial(self.silent()))
        (begun,) = self.reactor.getWriters()
        self.reactor.removeWriter(begun)
        begun.connectionLost(Failure(ConnectionDone()))
        error = await self.assertFailure(failing, ConnectFailed)
        self.assertIn("hung up", str(error))

    async def test_moreAddressesThanSenseAreNotTried(self) -> None:
        """
        Whoever answers for the name decides how many there are, and each costs us something.
        """
        self.reactor.nameResolver.names["host.example"] = [
            IPv4Address("TCP", f"127.0.{n // 250}.{n % 250 + 2}", 0) for n in range(2000)
        ]
        failing = Deferred.fromCoroutine(self.dial(TCPAddress("host.example", self.port)))
        error = await self.assertFailure(failing, ConnectFailed)
        self.assertEqual(str(error).count("refused"), ADDRESSES_PER_NAME)

    async def test_aCancelledDialLeavesNothing(self) -> None:
        """
        No descriptor and no timer outlives it.
        """
        path = self.path()
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
        silent = self.silent("127.0.0.2", self.port)
        self.reactor.nameResolver.names["host.example"] = [
            IPv4Address("TCP", each, 0) for each in (silent.host, "127.0.0.1")
        ]
        self.assertLess(STAGGER_SECONDS, 1)
        peer = await self.connects(TCPAddress("host.example", self.port))
        self.assertEqual(peer, TCPAddress("127.0.0.1", self.port))
        self.assertEqual(self.reactor.getWriters(), [])

    async def test_whenAllHaveBegunTheyAreWaitedFor(self) -> None:
        """
        The last address being silent ends nothing.
        """
        listener = socket.create_server(("127.0.0.1", freePort()), backlog=0)
        self.addCleanup(listener.close)
        late = TCPAddress("127.0.0.1", listener.getsockname()[1])
        first = await self.dial(late)
        silent = self.silent("127.0.0.2", late.port)
        self.reactor.nameResolver.names["host.example"] = [
            IPv4Address("TCP", each.host, 0) for each in (late, silent)
        ]
        waiting = Deferred.fromCoroutine(self.dial(TCPAddress("host.example", late.port)))
        await wait(lambda: len(self.reactor.getWriters()) == 2)
        listener.accept()[0].close()
        second = await waiting
        self.assertEqual(second.peer, late)
        self.assertEqual(self.reactor.getWriters(), [])
        for leg in (first, second):
            leg.abortConnection()

    def silent(self, host: str = "127.0.0.1", port: int = 0) -> TCPAddress:
        """
        An address where nobody answers: a listener whose queue is full, since Linux drops what
        comes then.
        """
        listener = socket.create_server((host, port), backlog=0)
        self.fillers = [listener]
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            self.fillers.append(filler)
        self.addCleanup(self.closeSilent)
        return TCPAddress(*listener.getsockname())

    def closeSilent(self) -> None:
        """
        Close what L{silent} has opened.
        """
        for each in self.fillers:
            each.close()
