"""
Tests for what others do to endpoints: nothing of it reaches a protocol, and nothing is left of it.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.endpoints.stage import SERVER, EndpointTests, HalfTalker, Made, Talker, reactor
from tests.loopback import PATIENCE, Encrypted, wait
from tlstunnel.endpoints.leg import CAPACITY_BYTES
from tlstunnel.errors import (
    Closed,
    ForeignProtocol,
    Malformed,
    PlaintextAfterStartTLS,
    Refused,
    Truncated,
    TunnelError,
)
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.relay import RELAY_READ_BYTES


def descriptors() -> int:
    """
    How many this process has.
    """
    return len(list(Path("/proc/self/fd").iterdir()))


class Script(Protocol):
    """
    An SMTP server in clear, which answers one line after the other.
    """

    answers: tuple[bytes, ...] = ()

    def connectionMade(self) -> None:
        """
        The first one is the greeting.
        """
        self.left = list(self.answers)
        self.answer()

    def answer(self) -> None:
        """
        The next one; after the last it leaves.
        """
        assert self.transport is not None
        if self.left:
            self.transport.write(self.left.pop(0))
        else:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Whatever it is.
        """
        self.answer()


OFFER = b"250-mail.example.org\r\n250 STARTTLS\r\n"

#: What a server says to a client of smtp, and what that fails with.
SERVERS: dict[str, tuple[tuple[bytes, ...], type[TunnelError]]] = {
    "offers no TLS": ((b"220 hello\r\n", b"250 a\r\n", b"502 what?\r\n"), Refused),
    "refuses": ((b"220 hello\r\n", OFFER, b"502 no\r\n"), Refused),
    "says more behind its go-ahead": (
        (b"220 hello\r\n", OFFER, b"220 go\r\n250 injected\r\n"),
        PlaintextAfterStartTLS,
    ),
    "speaks no TLS": ((b"220 hello\r\n", OFFER, b"220 go\r\n", b"250 what?\r\n"), ForeignProtocol),
    "leaves": ((b"220 hello\r\n", OFFER), Closed),
    "is something else": ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), Malformed),
    "goes on for ever": ((b"220-" + b"x" * 200000 + b"\r\n",), TunnelError),
}

#: What a client says to a server of smtp before TLS.
CLIENTS = {
    "says more behind STARTTLS": b"EHLO a\r\nSTARTTLS\r\nMAIL FROM:<a@example.org>\r\n",
    "wants no TLS": b"EHLO a\r\n" + b"MAIL FROM:<a@example.org>\r\n" * 20,
    "speaks TLS at once": b"\x16\x03\x01\x00\x05hello",
    "is something else": b"GET / HTTP/1.1\r\n\r\n",
    "goes on for ever": b"EHLO " + b"a" * 200000 + b"\r\n",
}


class ServerAttackTests(EndpointTests):
    """
    Servers that are none.
    """

    async def test_noProtocolMeetsThem(self) -> None:
        """
        Nothing is made, and the reason is told.
        """
        for name, (answers, kind) in SERVERS.items():

            class Attacker(Script):
                pass

            Attacker.answers = answers
            attackers = Made(Attacker)
            inner = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
            port: Any = await inner.listen(attackers)
            factory = Made()
            endpoint = self.client(port.getHost().port, "smtp", limits=Limits(negotiation=1.0))
            await self.assertFailure(endpoint.connect(factory), kind)
            self.assertEqual(factory.made, [], name)
            await port.stopListening()
        await deferLater(reactor, 0.05)


class ClientAttackTests(EndpointTests):
    """
    Clients that are none.
    """

    async def test_noProtocolMeetsThem(self) -> None:
        """
        Nothing is made, and others are served.
        """
        factory = Made()
        port = await self.server(factory, "smtp", limits=Limits(negotiation=0.5))

        def attack(said: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                heard = b""
                try:
                    sock.sendall(said)
                    sock.shutdown(socket.SHUT_WR)
                    while data := sock.recv(65536):
                        heard += data
                except OSError:
                    pass
                return heard

        for name, said in CLIENTS.items():
            heard = await deferToThread(attack, said)
            self.assertTrue(heard.startswith(b"220 ") or not heard, name)
            self.assertEqual(factory.made, [], name)

    async def test_theyLeaveNoDescriptor(self) -> None:
        """
        However far they came.
        """
        factory = Made()
        port = await self.server(factory, "smtp")
        await deferToThread(int)
        before = descriptors()

        def attack(count: int) -> None:
            for said in (b"", b"EHLO a\r\n", b"EHLO a\r\nSTARTTLS\r\n", b"EHLO a\r\nSTARTTLS\r\nx"):
                for _ in range(count):
                    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                        sock.sendall(said)

        await deferToThread(attack, 25)
        await wait(lambda: descriptors() <= before)


class EncryptedTests(EndpointTests):
    """
    Peers that speak TLS.
    """

    def context(self) -> SSL.Context:
        """
        That of a server which is who it says.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        directory = self.pool.path / str(SERVER)
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))
        return context

    async def peer(self, made: Made) -> tuple[Any, Encrypted]:
        """
        Connect to a server that the test plays.

        @return: the protocol, and that server.
        """
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        connecting = self.client(listener.getsockname()[1]).connect(made)

        def accept() -> Encrypted:
            accepted, _ = listener.accept()
            accepted.settimeout(PATIENCE)
            encrypted = Encrypted(accepted, self.context(), False)
            encrypted.handshake()
            return encrypted

        encrypted = await deferToThread(accept)
        self.addCleanup(encrypted.close)
        return await connecting, encrypted

    async def test_aCutIsNoEnd(self) -> None:
        """
        What came before it is heard, and that it was cut.
        """
        for kind in (Talker, HalfTalker):
            protocol, peer = await self.peer(Made(kind))
            peer.write(b"half of it")
            peer.truncate()
            await protocol.lost
            self.assertEqual(protocol.heard, b"half of it")
            self.assertEqual(protocol.calls, ["made", "data", "lost"])
            assert protocol.reason.check(ConnectionLost)
            self.assertIsInstance(protocol.reason.value.__cause__, Truncated)

    async def test_anEndWithoutFINIsOne(self) -> None:
        """
        close_notify is what counts.
        """
        protocol, peer = await self.peer(Made())
        peer.write(b"all of it")
        peer.end()
        await protocol.lost
        self.assertEqual(protocol.heard, b"all of it")
        self.assertFalse(protocol.reason.check(ConnectionLost))
        self.assertTrue(await deferToThread(peer.atEnd))

    async def test_aFloodAgainstAPausedProtocolIsBounded(self) -> None:
        """
        The sender has to wait.
        """
        protocol, peer = await self.peer(Made())
        protocol.transport.pauseProducing()
        peer.sock.settimeout(0.5)
        flood = os.urandom(1 << 20)

        def write() -> int:
            sent = 0
            try:
                for _ in range(64):
                    peer.write(flood)
                    sent += len(flood)
            except TimeoutError:
                pass
            return sent

        sent = await deferToThread(write)
        self.assertLess(sent, len(flood) * 64)
        kept = len(protocol.transport.leg._toProgram)
        self.assertLessEqual(kept, CAPACITY_BYTES + RELAY_READ_BYTES + 65536)
        self.assertEqual(protocol.heard, b"")
        protocol.transport.abortConnection()
        await protocol.lost

    async def test_aPeerThatReadsNothingHoldsBackAProducer(self) -> None:
        """
        So that what waits for it is bounded.
        """
        protocol, _ = await self.peer(Made())
        transport = protocol.transport

        class Endless:
            written = 0
            isPaused = False

            def resumeProducing(self) -> None:
                self.isPaused = False
                while not self.isPaused and self.written < 1 << 28:
                    self.written += 65536
                    transport.write(b"x" * 65536)

            def pauseProducing(self) -> None:
                self.isPaused = True

            def stopProducing(self) -> None:
                self.isPaused = True

        producer = Endless()
        transport.registerProducer(producer, True)
        producer.resumeProducing()
        await deferLater(reactor, 0.3)
        self.assertTrue(producer.isPaused)
        self.assertLess(producer.written, 1 << 26)
        transport.abortConnection()
        await protocol.lost

    async def test_manyPiecesAreHeardInOrder(self) -> None:
        """
        By a protocol that pauses after each.
        """

        class Hesitant(Talker):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                transport: Any = self.transport
                transport.pauseProducing()
                reactor.callLater(0, transport.resumeProducing)

        protocol, peer = await self.peer(Made(Hesitant))
        said = os.urandom(1 << 20)

        def talk() -> None:
            peer.write(said)
            peer.end()

        await deferToThread(talk)
        await protocol.lost
        self.assertEqual(protocol.heard, said)
