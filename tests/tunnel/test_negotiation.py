"""
Tests for L{tlstunnel.tunnel.negotiation}: the tunnel negotiates, and others speak TLS.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from OpenSSL import SSL
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import (
    PATIENCE,
    SERVER,
    Encrypted,
    Reset,
    TunnelTests,
    reactor,
    readLine,
    readUntil,
    smtpServer,
    wait,
)
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import ILeg
from tlstunnel.program.commandline import TunnelOptions
from tlstunnel.protocols.mysqlpackets import SSL as SSL_FLAG
from tlstunnel.protocols.mysqlpackets import Greeting, packet
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.upgrade import Upgrade

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


def postgresqlClient(sock: socket.socket) -> None:
    """
    What a client of PostgreSQL says before TLS.
    """
    sock.sendall(_SSL_REQUEST)
    assert sock.recv(1) == b"S"


def postgresqlServer(sock: socket.socket) -> None:
    """
    What a server says.
    """
    assert sock.recv(8, socket.MSG_WAITALL) == _SSL_REQUEST
    sock.sendall(b"S")


class BetweenTests(TunnelTests):
    """
    A client and a server that speak TLS with each other, and a tunnel that negotiates for one.
    """

    async def between(
        self,
        dialect: str,
        ofClient: Callable[[socket.socket], object],
        ofServer: Callable[[socket.socket], object],
        **settings: Any,
    ) -> tuple[Any, Any]:
        """
        What comes of both, each with its socket in a thread of its own.
        """
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(PATIENCE)
        self.addCleanup(listening.close)
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        settings = {"remoteID": None, "negotiatesOnly": True, **settings}
        host, port = self.tunnel(address, dialect, **settings).addresses[0].rsplit(":", 1)

        def client() -> Any:
            with socket.create_connection((host, int(port)), PATIENCE) as sock:
                return ofClient(sock)

        def server() -> Any:
            sock, _ = listening.accept()
            with sock:
                sock.settimeout(PATIENCE)
                return ofServer(sock)

        served = deferToThread(server)
        return await deferToThread(client), await served

    def says(self, before: Callable[[socket.socket], object] | None = None) -> Any:
        """
        A client that speaks TLS, and gets an answer.

        @param before: what it says before that.
        """

        def client(sock: socket.socket) -> object:
            if before is not None:
                before(sock)
            tls = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
            tls.handshake()
            tls.write(b"question")
            answer = tls.read(6)
            tls.end()
            return answer, tls.read(1), tls.tls.get_peer_certificate() is not None

        return client

    def answers(self, before: Callable[[socket.socket], object] | None = None) -> Any:
        """
        A server that does.
        """

        def server(sock: socket.socket) -> object:
            if before is not None:
                before(sock)
            tls = Encrypted(sock, self.context(False), False)
            tls.handshake()
            question = tls.read(8)
            tls.write(b"answer")
            end = tls.read(1)
            tls.end()
            return question, end

        return server


class ClientModeTests(BetweenTests):
    """
    The app speaks TLS, and knows no upgrade.
    """

    mode = Mode.CLIENT

    async def test_aProgramThatOnlySpeaksTLSReachesTheServer(self) -> None:
        """
        With the server itself, end to end, and both ends are clean.
        """
        for dialect, before in (("smtp", smtpServer), ("postgresql", postgresqlServer)):
            self.ends.clear()
            heard = await self.between(dialect, self.says(), self.answers(before))
            self.assertEqual(heard, ((b"answer", b"", True), (b"question", b"")))
            await wait(lambda: bool(self.ends))
            self.assertEqual(self.ends[0]["outcome"], "clean")
            self.assertEqual(self.ends[0]["identity"], None)

    async def test_nothingInClearReachesTheServer(self) -> None:
        """
        An app that does not speak TLS is cut off, and nothing of what it says is passed on.
        """

        def app(sock: socket.socket) -> object:
            sock.sendall(b"EHLO secret\r\n")
            return _rest(sock)

        def server(sock: socket.socket) -> object:
            smtpServer(sock)
            return _rest(sock)

        self.assertEqual(await self.between("smtp", app, server), (b"", b""))
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.ends[0]["outcome"], "foreign-protocol")

    async def test_nothingInClearReachesTheApp(self) -> None:
        """
        What is put behind the go-ahead, at once or in place of a ServerHello.
        """

        def atOnce(sock: socket.socket) -> object:
            sock.sendall(b"220 mx\r\n")
            readLine(sock)
            sock.sendall(b"250 mx\r\n")
            readLine(sock)
            sock.sendall(b"220 go\r\n250 injected\r\n")
            return _rest(sock)

        def later(sock: socket.socket) -> object:
            smtpServer(sock)
            sock.recv(65536)
            sock.sendall(b"250 injected\r\n")
            return _rest(sock)

        def app(sock: socket.socket) -> object:
            try:
                Encrypted(sock, self.context(True), True).handshake()
            except (ConnectionError, SSL.Error) as error:
                return isinstance(error, ConnectionError)
            return False

        for server in (atOnce, later):
            self.ends.clear()
            heard, _ = await self.between("smtp", app, server)
            self.assertTrue(heard)
            await wait(lambda: bool(self.ends))
            self.assertEqual(self.ends[0]["outcome"], "plaintext-after-starttls")

    async def test_anAppThatSaysNothingIsNotWaitedForWithoutEnd(self) -> None:
        """
        As long as a handshake may take.
        """

        def server(sock: socket.socket) -> object:
            smtpServer(sock)
            return _rest(sock)

        heard = await self.between("smtp", _rest, server, limits=Limits(handshake=0.3))
        self.assertEqual(heard, (b"", b""))
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.ends[0]["outcome"], "timeout")

    async def test_aRefusalReachesNobody(self) -> None:
        """
        The app gets an end, and nothing of the words.
        """

        def server(sock: socket.socket) -> object:
            sock.sendall(b"220 mx\r\n")
            readLine(sock)
            sock.sendall(b"250 mx\r\n")
            readLine(sock)
            sock.sendall(b"454 not now\r\n")
            return _rest(sock)

        heard, _ = await self.between("smtp", _rest, server)
        self.assertEqual(heard, b"")
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.ends[0]["outcome"], "temporary")

    async def test_mysqlIsAskedWithoutALogin(self) -> None:
        """
        What is announced is ours.
        """

        def server(sock: socket.socket) -> object:
            greeting = Greeting.substitute()
            offer = replace(greeting, capabilities=greeting.capabilities | SSL_FLAG)
            sock.sendall(packet(0, offer.payload()))
            request = sock.recv(36, socket.MSG_WAITALL)
            return request[:4] + request[36:], self.answers()(sock)

        heard = await self.between("mysql", self.says(), server)
        self.assertEqual(heard[0][0], b"answer")
        self.assertEqual(heard[1][0], b"\x20\0\0\x01")

    async def test_xmppAsksForTheDomainThatIsExpected(self) -> None:
        """
        The app is not heard.
        """

        def server(sock: socket.socket) -> object:
            said = readUntil(sock, b"'http://etherx.jabber.org/streams'>")
            sock.sendall(
                b"<stream:stream id='x' version='1.0' xmlns='jabber:client' "
                b"xmlns:stream='http://etherx.jabber.org/streams'><stream:features>"
                b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
            )
            readUntil(sock, b">")
            sock.sendall(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            return b"to='server.example.org'" in said, self.answers()(sock)

        heard = await self.between("xmpp-client", self.says(), server, remoteID=SERVER)
        self.assertEqual(heard, ((b"answer", b"", True), (True, (b"question", b""))))


class ServerModeTests(BetweenTests):
    """
    The backend speaks TLS from the first byte.
    """

    async def test_aBackendWithTLSGetsItsFront(self) -> None:
        """
        Also where no certificate of ours is there, as none is shown.
        """
        nobody = Identity(None, "nobody.example.org")
        for before in (postgresqlClient, None):
            self.ends.clear()
            heard = await self.between(
                "postgresql", self.says(before), self.answers(), localID=nobody
            )
            self.assertEqual(heard, ((b"answer", b"", True), (b"question", b"")))

    async def test_aBackendThatIsFarAway(self) -> None:
        """
        What a client says behind the go-ahead is TLS, and waits for it.
        """
        dial = Upgrade.dial

        async def late(upgrade: Upgrade, dialler: Any) -> ILeg:
            await deferLater(reactor, 0.5)
            return await dial(upgrade, dialler)

        def client(sock: socket.socket) -> None:
            sock.sendall(b"STARTTLS\r\n")
            while b"670" not in readLine(sock):
                pass

        self.patch(Upgrade, "dial", late)
        for dialect, before in ("irc", client), ("postgresql", postgresqlClient):
            heard = await self.between(dialect, self.says(before), self.answers())
            self.assertEqual(heard, ((b"answer", b"", True), (b"question", b"")))

    async def test_aBackendThatSpeaksNoTLSShowsNothing(self) -> None:
        """
        Its words in clear are for nobody.
        """

        def client(sock: socket.socket) -> object:
            postgresqlClient(sock)
            try:
                Encrypted(sock, self.context(True), True).handshake()
            except ConnectionError:
                return Reset
            return None

        def server(sock: socket.socket) -> object:
            sock.recv(65536)
            sock.sendall(b"220 who are you\r\n")
            return _rest(sock)

        heard, _ = await self.between("postgresql", client, server)
        self.assertIs(heard, Reset)


class MistakeTests(SynchronousTestCase):
    """
    L{tlstunnel.tunnel.negotiation.checkNegotiation}, by the command line.
    """

    def mistake(self, words: str) -> str:
        """
        What is wrong with it.
        """
        options = TunnelOptions()
        return str(self.assertRaises(usage.UsageError, options.parseOptions, words.split()))

    def test_whatIsNotNegotiatedIsRefused(self) -> None:
        """
        And where a client would take one answer for another.
        """
        client = "-c -l :1 -r a.example:1 --negotiate-only"
        server = "-s -l :1 -r 127.0.0.1:2 -L a.example --negotiate-only"
        for words, message in (
            (client, "nothing to negotiate"),
            (f"{server} --starttls smtp", "has no greeting inside TLS"),
            (f"{server} --starttls mysql", "needs the first words of a backend"),
            (f"{server} --starttls nats", "needs the first words of a backend"),
            (f"{server} --starttls vnc", "has not heard"),
            (f"{client} --starttls smtp --trust system", "--trust: is about TLS"),
            (f"{client} --starttls smtp -R a.example", "--remote-id: is about TLS"),
            (f"{client} --starttls smtp --minimum-tls 1.3", "--minimum-tls: is about TLS"),
            ("-c -l :1 -r 127.0.0.1:1 --negotiate-only --starttls xmpp", "--remote-id: is missing"),
        ):
            self.assertIn(message, self.mistake(words))

    def test_nobodyHasToBeExpected(self) -> None:
        """
        Where nobody is verified, an address is enough.
        """
        options = TunnelOptions()
        options.parseOptions("-c -l :1 -r 127.0.0.1:1 --negotiate-only --starttls smtp".split())
        self.assertTrue(options["tunnel"].negotiatesOnly)


def _rest(sock: socket.socket) -> bytes:
    """
    All that comes until the end, or a reset.
    """
    said = b""
    with ExitStack() as stack:
        stack.callback(sock.close)
        try:
            while data := sock.recv(65536):
                said += data
        except ConnectionError:
            pass
    return said
