"""
Tests for L{tlstunnel.net.viadial}: on real sockets, with proxies whose answers are scripted.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.loopback import wait
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConnectFailed
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.dial import Dialler
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.resolve import Directory
from tlstunnel.net.via import Login, Via
from tlstunnel.net.viadial import ViaDialler

reactor: Any = _reactor

#: No resolver knows it.
TARGET = TCPAddress("mail.example.invalid", 587)

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
GREETING = b"220 mx\r\n"


class NoNames:
    """
    The real reactor, which resolves nothing.

    @ivar asked: the names that it should have.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.nameResolver = self

    def resolveHostName(self, receiver: Any, name: str, port: int, **_: Any) -> None:
        """
        Know nobody.
        """
        self.asked.append(name)
        receiver.resolutionBegan(None)
        receiver.resolutionComplete()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class ViaDiallerTests(TestCase):
    """
    From a proxy to a leg whose other end is the remote.
    """

    timeout = 30

    def setUp(self) -> None:
        """
        A listener, and a port where nobody listens.
        """
        self.reactor = NoNames()
        self.deadlines = Deadlines(self.reactor)  # type: ignore[arg-type]
        self.addCleanup(self.deadlines.clear)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.addCleanup(self.listener.close)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.down = probe.getsockname()[1]

    def dialler(self, scheme: str = "http", **settings: Any) -> ViaDialler:
        """
        What dials through our listener.
        """
        address = TCPAddress(*self.listener.getsockname())
        defaults: dict[str, Any] = {
            "reactor": self.reactor,
            "deadlines": self.deadlines,
            "linger": Linger(self.reactor),
            "via": Via(scheme, address),
            "login": None,
            "perAddress": 20,
        }
        return ViaDialler(**(defaults | settings))

    def dial(self, scheme: str = "http", **settings: Any) -> tuple[Deferred[Leg], socket.socket]:
        """
        Dial.

        @return: what comes of it, and the proxy's end.
        """
        dialling = Deferred.fromCoroutine(self.dialler(scheme, **settings).connect(TARGET))
        proxy, _ = self.listener.accept()
        proxy.settimeout(20)
        self.addCleanup(proxy.close)
        return dialling, proxy

    async def fails(self, dialling: Deferred[Leg]) -> ConnectFailed:
        """
        The error, with which nothing is left behind.
        """
        error: Any = await self.assertFailure(dialling, ConnectFailed)
        self.assertEqual(self.watched(), [])
        assert isinstance(error, ConnectFailed)
        return error

    def watched(self) -> list[Any]:
        """
        What the reactor watches of ours.
        """
        return [
            each
            for each in (*reactor.getReaders(), *reactor.getWriters())
            if type(each).__module__.startswith("tlstunnel.net.")
        ]

    async def test_theOtherEndIsTheRemote(self) -> None:
        """
        Its name is told to the proxy, and resolved nowhere else.
        """
        dialling, proxy = self.dial()
        self.assertIn(b"CONNECT mail.example.invalid:587 ", proxy.recv(1000))
        proxy.sendall(ESTABLISHED)
        await self.reaches(dialling)

    async def test_theProxyIsLookedUpWhereAllNamesAre(self) -> None:
        """
        So that nobody asks for it a second time who need not.
        """

        class Here(Directory):
            async def hosts(self, deadlines: Deadlines, host: str, seconds: float) -> list[str]:
                return ["127.0.0.1"]

        via = Via("http", TCPAddress("proxy.example.invalid", self.listener.getsockname()[1]))
        dialling, proxy = self.dial(via=via, directory=Here(self.reactor))
        proxy.recv(1000)
        proxy.sendall(ESTABLISHED)
        await self.reaches(dialling)

    async def test_theSameBySOCKS(self) -> None:
        """
        Which takes two questions.
        """
        dialling, proxy = self.dial("socks5")
        self.assertEqual(proxy.recv(1000), b"\x05\x01\0")
        proxy.sendall(b"\x05\0")
        await wait(lambda: bool(self.pending(proxy)))
        self.assertIn(b"\x03\x14mail.example.invalid\x02\x4b", proxy.recv(1000))
        proxy.sendall(b"\x05\0\0\x01\x7f\0\0\x01\0\x01")
        await self.reaches(dialling)

    async def reaches(self, dialling: Deferred[Leg]) -> None:
        """
        The remote, and asks nobody else for it.
        """
        leg = await dialling
        self.assertEqual(leg.peer, TARGET)
        self.assertEqual(self.watched(), [])
        self.assertEqual(self.reactor.asked, [])
        leg.abortConnection()

    def pending(self, proxy: socket.socket) -> bytes:
        """
        What we have said to the proxy, and it has not read.
        """
        proxy.setblocking(False)
        try:
            return proxy.recv(1000, socket.MSG_PEEK)
        except BlockingIOError:
            return b""
        finally:
            proxy.settimeout(20)

    async def test_whatFollowsTheAnswerStaysInTheSocket(self) -> None:
        """
        It is the far end's greeting, whether it comes in the same segment or is announced as a
        body, which there is not.
        """
        for answer in (ESTABLISHED, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"):
            dialling, proxy = self.dial()
            proxy.sendall(answer + GREETING)
            leg = await dialling
            self.assertEqual(leg.pendingInput(100), GREETING)
            self.assertEqual(leg.received, 0)
            leg.abortConnection()
        dialling, proxy = self.dial("socks5")
        proxy.sendall(b"\x05\0" + b"\x05\0\0\x03\x01a\0\x01" + GREETING)
        leg = await dialling
        self.assertEqual(leg.pendingInput(100), GREETING)
        leg.abortConnection()

    async def test_nothingElseIsSaidToTheProxy(self) -> None:
        """
        One request, and the login in it where there is one.
        """
        dialling, proxy = self.dial(login=Login(b"me", b"secret"))
        asked = proxy.recv(1000)
        self.assertTrue(asked.endswith(b"Basic bWU6c2VjcmV0\r\n\r\n"))
        proxy.sendall(ESTABLISHED)
        leg = await dialling
        leg.loseConnection()
        self.assertEqual(proxy.recv(1000), b"")

    async def test_aRefusalNamesRemoteAndProxy(self) -> None:
        """
        And is the end of the connection to the proxy.
        """
        dialling, proxy = self.dial()
        proxy.recv(1000)
        proxy.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        error = await self.fails(dialling)
        where = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.assertEqual(
            str(error), f'connect: {TARGET} via {where}: the proxy answers 403 "Forbidden"'
        )
        self.assertEqual(error.cause, "proxy forbids")
        self.assertRaises(ConnectionResetError, proxy.recv, 1)

    async def test_aProxyThatIsNotThereIsTold(self) -> None:
        """
        From a remote that is not.
        """
        address = TCPAddress("127.0.0.1", self.down)
        dialling = self.dialler(via=Via("http", address)).connect(TARGET)
        error = await self.fails(Deferred.fromCoroutine(dialling))
        self.assertIn(f"via http://{address}: the proxy cannot be reached (", error.detail)
        self.assertEqual(error.cause, "proxy ECONNREFUSED")

    async def test_theNameOfTheProxyIsResolvedHere(self) -> None:
        """
        As that of any remote.
        """
        dialling = self.dialler(via=Via("http", TCPAddress("proxy.invalid", 1))).connect(TARGET)
        error = await self.fails(Deferred.fromCoroutine(dialling))
        self.assertEqual(self.reactor.asked, ["proxy.invalid"])
        self.assertEqual(error.cause, "proxy unresolved")

    async def test_anEndIsNoAnswer(self) -> None:
        """
        Nor is a reset.
        """
        dialling, proxy = self.dial()
        proxy.recv(1000)
        proxy.sendall(ESTABLISHED[:-1])
        proxy.shutdown(socket.SHUT_WR)
        self.assertIn("ended the connection", (await self.fails(dialling)).detail)
        dialling, proxy = self.dial()
        # What it has not read resets the connection.
        proxy.close()
        error = await self.fails(dialling)
        self.assertIn("broke", error.detail)
        self.assertEqual(error.cause, "proxy mute")

    async def test_silenceEnds(self) -> None:
        """
        Whatever drips meanwhile.
        """
        dialling, proxy = self.dial(perAddress=0.1)
        proxy.sendall(b"HTTP/1.1 1")
        error = await self.fails(dialling)
        self.assertIn("the proxy gave no answer in 0.1 s", error.detail)
        self.assertEqual(error.cause, "proxy mute")

    async def test_aFloodEnds(self) -> None:
        """
        It is not kept.
        """
        dialling, proxy = self.dial()
        proxy.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 30000)
        error = await self.fails(dialling)
        self.assertIn("more than 16384 bytes", error.detail)

    async def test_aHangUpIsAFailure(self) -> None:
        """
        As the reactor tells it when it stops.
        """
        dialling, _ = self.dial()
        (asking,) = self.watched()
        reactor.removeReader(asking)
        asking.connectionLost(Failure(ConnectionDone()))
        self.assertIn("hung up", (await self.fails(dialling)).detail)

    async def test_aCancelledDialLeavesNothing(self) -> None:
        """
        No descriptor and no timer outlives it.
        """
        before = len(list(Path("/dev/fd").iterdir()))
        dialling, proxy = self.dial()
        dialling.cancel()
        await self.assertFailure(dialling, CancelledError)
        self.assertEqual(self.watched(), [])
        proxy.close()
        self.assertEqual(len(list(Path("/dev/fd").iterdir())), before)

    async def test_aUNIXSocketIsNotAskedFor(self) -> None:
        """
        The proxy is not even connected to.
        """
        dialling = self.dialler().connect(UNIXAddress("/run/s"))
        error = await self.fails(Deferred.fromCoroutine(dialling))
        self.assertIn("/run/s: no proxy reaches a UNIX socket", error.detail)
        self.listener.setblocking(False)
        self.assertRaises(BlockingIOError, self.listener.accept)

    async def test_remotesAreTriedInTurn(self) -> None:
        """
        Each through the proxy, and none past it.
        """
        direct = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(direct.close)
        direct.setblocking(False)
        remotes = (TCPAddress(*direct.getsockname()), TARGET)
        dialler = Dialler(
            self.reactor,
            self.deadlines,
            Linger(self.reactor),
            remotes,
            20,
            via=self.dialler().connect,
        )
        dialling = Deferred.fromCoroutine(dialler.dial())
        first, _ = self.listener.accept()
        first.sendall(b"HTTP/1.1 502 no\r\n\r\n")
        self.listener.setblocking(False)
        accepted: list[socket.socket] = []

        def second() -> bool:
            try:
                accepted.append(self.listener.accept()[0])
            except BlockingIOError:
                return False
            return True

        await wait(second)
        accepted[0].sendall(ESTABLISHED)
        leg = await dialling
        self.assertEqual(leg.peer, TARGET)
        self.assertRaises(BlockingIOError, direct.accept)
        leg.abortConnection()
        for each in (first, *accepted):
            each.close()

    async def test_theProxyIsNamedForThoseInSearchOfAFault(self) -> None:
        """
        In a line for C{-v}, without the login.
        """
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, events.append)  # type: ignore[arg-type]
        dialling, proxy = self.dial(login=Login(b"me", b"secret"))
        proxy.sendall(ESTABLISHED)
        (await dialling).abortConnection()
        (event,) = [each for each in events if "via" in each]
        self.assertEqual(event["log_level"].name, "debug")
        self.assertNotIn("secret", str(event))
