"""
Tests for L{tlstunnel.status.web}: who is answered, and that nobody holds it up.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import PATIENCE
from tests.status.examples import snapshot
from tests.status.stage import StatusTests
from tlstunnel.address import TCPAddress
from tlstunnel.status.answers import Answers
from tlstunnel.status.facts import Gathered
from tlstunnel.status.hosts import Hosts
from tlstunnel.status.web import CONNECTION_SECONDS, CONNECTIONS, HEADERS, StatusSite

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class ServedTests(StatusTests):
    """
    What is answered, over real sockets.
    """

    async def test_eachPathHasItsKind(self) -> None:
        """
        And nothing is cached, framed, or taken for something else.
        """
        self.before(self.listen())
        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/status.json", "application/json"),
            ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
            ("/health", "text/plain; charset=utf-8"),
            ("/status.css", "text/css; charset=utf-8"),
            ("/status.js", "text/javascript; charset=utf-8"),
            ("/icon.svg", "image/svg+xml"),
        ):
            code, header, body = await self.ask(path)
            self.assertEqual((code, header["Content-Type"]), (200, kind), path)
            self.assertTrue(body)
            self.assertEqual(header["X-Content-Type-Options"], "nosniff")
            self.assertEqual(header["Cache-Control"], "no-store")
            self.assertEqual(header["Connection"], "close")

    async def test_thePolicyLetsNothingInFromElsewhere(self) -> None:
        """
        Nor anything that stands in the page itself.
        """
        _, header, _ = await self.ask("/")
        policy = header["Content-Security-Policy"]
        self.assertTrue(policy.startswith("default-src 'none';"))
        self.assertNotIn("unsafe", policy)
        self.assertNotIn("*", policy)

    async def test_theServerDoesNotSayWhatItIs(self) -> None:
        """
        Nobody needs to know its version from outside of the document.
        """
        _, header, _ = await self.ask("/")
        self.assertNotIn("Server", header)

    async def test_anotherNameIsNotAnswered(self) -> None:
        """
        A page of somebody else, whose name leads here, learns nothing.
        """
        for path in ("/", "/status.json", "/metrics", "/nothing"):
            code, _, body = await self.ask(path, headers={"Host": "evil.example"})
            self.assertEqual(code, 421)
            self.assertIn("Host", body)

    async def test_nothingCanBeChanged(self) -> None:
        """
        There are questions, and nothing else.
        """
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "NONSENSE"):
            code, header, _ = await self.ask("/", method)
            self.assertEqual((code, header["Allow"]), (405, "GET, HEAD"), method)

    async def test_aHeadIsWithoutItsBody(self) -> None:
        """
        With the length that it would have.
        """
        code, header, body = await self.ask("/health", "HEAD")
        self.assertEqual((code, body), (503, ""))
        self.assertGreater(int(header["Content-Length"]), 5)

    async def test_anUnknownPathNamesThoseThatThereAre(self) -> None:
        """
        In one line.
        """
        code, _, body = await self.ask("/nothing")
        self.assertEqual(code, 404)
        self.assertIn("/status.json", body)

    async def test_healthIsInTheCode(self) -> None:
        """
        And in one line, why.
        """
        self.assertEqual((await self.ask("/health"))[0], 503)
        service = self.before(self.listen())
        self.status._answers._document._due = 0.0
        self.assertEqual((await self.ask("/health"))[0], 200)
        await service.stopService()
        self.status._answers._document._due = 0.0
        code, _, body = await self.ask("/health")
        self.assertEqual((code, body), (503, "tunnel web is down\n"))

    async def test_aBodyChangesNothing(self) -> None:
        """
        Who sends one gets the answer that all get.
        """

        def send() -> bytes:
            host, port = self.status.addresses[0].rsplit(":", 1)
            with socket.create_connection((host, int(port)), PATIENCE) as sock:
                header = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000\r\n\r\n"
                sock.sendall(header + b"x" * 3000)
                answer = b""
                while chunk := sock.recv(65536):
                    answer += chunk
                return answer

        self.assertTrue((await deferToThread(send)).startswith(b"HTTP/1.1 405 "))


class Wire(StringTransportWithDisconnection):
    """
    A connection in memory.

    @ivar isStuck: whether the peer takes nothing, so that what is written has to wait.
    """

    isStuck = False

    def loseConnection(self) -> None:
        """
        Close, once all is written.
        """
        self.disconnecting = True
        if not self.isStuck:
            super().loseConnection()

    def abortConnection(self) -> None:
        """
        Close now.
        """
        super().loseConnection()


class BoundsTests(SynchronousTestCase):
    """
    Peers that are slow, many, or sick, on a clock of ours.
    """

    def setUp(self) -> None:
        """
        A server.
        """
        self.clock = Clock()
        self.result: Deferred[Gathered] = succeed(Gathered((snapshot(),)))
        answers = Answers(self.clock, lambda: self.result)
        hosts = Hosts((TCPAddress("127.0.0.1", 0),), "node")
        self.site = StatusSite(answers, hosts.allow, self.clock)

    def connect(self) -> tuple[Any, Wire]:
        """
        Somebody connects.
        """
        channel = self.site.buildProtocol(None)
        transport = Wire()
        transport.protocol = channel
        channel.makeConnection(transport)
        return channel, transport

    def ask(self, request: bytes) -> bytes:
        """
        What somebody gets for C{request}.
        """
        channel, transport = self.connect()
        channel.dataReceived(request)
        for _ in range(100):
            self.clock.advance(0)
        said: bytes = transport.value()
        return said

    def test_whoSendsALittleAtATimeIsCut(self) -> None:
        """
        Although something comes all the time.
        """
        channel, transport = self.connect()
        for byte in range(int(CONNECTION_SECONDS)):
            self.assertTrue(transport.connected)
            channel.dataReceived(GET[byte : byte + 1])
            self.clock.advance(1)
        self.assertFalse(transport.connected)

    def test_whoDoesNotTakeTheAnswerIsCut(self) -> None:
        """
        It need not be kept for longer.
        """
        channel, transport = self.connect()
        transport.isStuck = True
        channel.dataReceived(GET)
        for _ in range(100):
            self.clock.advance(0)
        self.assertTrue(transport.connected)
        self.clock.advance(CONNECTION_SECONDS)
        self.assertFalse(transport.connected)

    def test_aNewOneTakesThePlaceOfTheOldest(self) -> None:
        """
        Who holds many connections open does not keep others out.
        """
        held = [self.connect()[1] for _ in range(CONNECTIONS)]
        self.assertTrue(self.ask(GET).startswith(b"HTTP/1.1 200 "))
        self.assertFalse(held[0].connected)
        self.assertTrue(all(each.connected for each in held[1:]))

    def test_whoWaitsForAnAnswerKeepsItsPlace(self) -> None:
        """
        Those who only connect do not push out who has asked.
        """
        self.result = Deferred()
        asking, transport = self.connect()
        asking.dataReceived(GET)
        for _ in range(3 * CONNECTIONS):
            self.connect()
        self.assertTrue(transport.connected)
        self.result.callback(Gathered((snapshot(),)))
        for _ in range(100):
            self.clock.advance(0)
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 200 "))

    def test_thoseWhoAskAreBoundedToo(self) -> None:
        """
        If all have asked, the oldest leaves.
        """
        self.result = Deferred()
        asking = [self.connect() for _ in range(CONNECTIONS + 1)]
        for channel, _ in asking[:-1]:
            channel.dataReceived(GET)
        self.assertEqual(sum(wire.connected for _, wire in asking), CONNECTIONS)

    def test_aConnectionIsForOneRequest(self) -> None:
        """
        What follows is not looked at.
        """
        said = self.ask(GET + GET.replace(b"/", b"/health", 1))
        self.assertEqual(said.count(b"HTTP/1.1 200 "), 1)

    def test_whatFollowsTheHeaderIsNotRead(self) -> None:
        """
        The answer does not wait for it, whatever is said of its length; nor is any of it kept.
        """
        for about in (
            b"Content-Length: 100",
            b"Content-Length: " + b"9" * 5000,
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        ):
            self.result = Deferred()
            channel, transport = self.connect()
            channel.dataReceived(GET.replace(b"\r\n\r\n", b"\r\n" + about + b"\r\n\r\n"))
            for _ in range(100):
                channel.dataReceived(b"1\r\nx\r\n" * 10_000)
            self.assertEqual(channel._dataBuffer, [])
            self.result.callback(Gathered((snapshot(),)))
            for _ in range(100):
                self.clock.advance(0)
            self.assertTrue(transport.value().startswith(b"HTTP/1.1 200 "), about[:30])

    def test_everyCodeHasItsPhrase(self) -> None:
        """
        Also the one that the library does not know.
        """
        said = self.ask(GET.replace(b"localhost", b"evil.example"))
        self.assertTrue(said.startswith(b"HTTP/1.1 421 Misdirected Request\r\n"), said[:50])

    def test_headersAreBounded(self) -> None:
        """
        In bytes, and in number.
        """
        for lines in (b"X: " + b"a" * 10_000 + b"\r\n", b"X: a\r\n" * 100):
            said = self.ask(GET.replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n"))
            self.assertTrue(said.startswith(b"HTTP/1.1 400 "), said[:50])

    def test_withoutAHostNothingIsSaid(self) -> None:
        """
        Nor with two of them.
        """
        for request in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            GET.replace(b"\r\n\r\n", b"\r\nHost: evil.example\r\n\r\n"),
        ):
            self.assertIn(b" 421 ", self.ask(request).partition(b"\r\n")[0])

    def test_nonsenseIsRefused(self) -> None:
        """
        Whatever it is.
        """
        for request in (
            b"\x16\x03\x01\x00\xff" * 20 + b"\r\n\r\n",
            b"\r\n\r\n\r\n",
            b"GET\r\n\r\n",
        ):
            said = self.ask(request)
            self.assertTrue(not said or said.startswith(b"HTTP/1.1 400 "), said)

    def test_refusalsHaveTheSameHeadersAsAnswers(self) -> None:
        """
        Browsers are told the same whatever is answered.
        """
        for request in (
            GET,
            GET.replace(b"GET", b"POST"),
            GET.replace(b"localhost", b"evil.example"),
        ):
            said = self.ask(request).lower()
            for name, value in HEADERS.items():
                self.assertIn(name + b": " + value.lower(), said)

    def test_whatGoesWrongIsOneLine(self) -> None:
        """
        The log has the rest.
        """
        self.result = fail(ValueError("secret"))
        said = self.ask(GET)
        self.assertTrue(said.startswith(b"HTTP/1.1 500 "))
        self.assertNotIn(b"secret", said)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_whoLeavesBeforeTheAnswerHarmsNobody(self) -> None:
        """
        Others who wait for the same get it.
        """
        self.result = Deferred()
        leaving, transport = self.connect()
        leaving.dataReceived(GET)
        staying, other = self.connect()
        staying.dataReceived(GET)
        transport.loseConnection()
        self.result.callback(Gathered((snapshot(),)))
        for _ in range(100):
            self.clock.advance(0)
        self.assertTrue(other.value().startswith(b"HTTP/1.1 200 "))
        self.assertEqual(transport.value(), b"")

    def test_nothingIsLeftBehind(self) -> None:
        """
        After connections of all kinds the clock has nothing to call, and nobody is remembered.
        """
        self.ask(GET)
        self.ask(b"nonsense\r\n\r\n")
        _, transport = self.connect()
        transport.loseConnection()
        self.clock.advance(CONNECTION_SECONDS + 60)
        self.assertEqual(self.site._channels, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])
