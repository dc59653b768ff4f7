"""
Tunnels through proxies whose answers are scripted: what reaches the dialect, TLS and the log.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import (
    PATIENCE,
    SERVER,
    Encrypted,
    Plain,
    TunnelTests,
    readLine,
    smtpServer,
    wait,
)
from tests.net.test_viaexchange import KINDS
from tlstunnel.address import TCPAddress
from tlstunnel.net.via import Via
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.proxies import hintOfProxy
from tlstunnel.tunnel.limits import Limits

#: No resolver knows it.
REMOTE = "mail.example.invalid:587"

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class HintTests(SynchronousTestCase):
    """
    L{hintOfProxy}.
    """

    def test_everyAnswerThatFailsHasAHint(self) -> None:
        """
        Whatever kind of proxy gives it.
        """
        for kind in KINDS:
            for *_, cause in kind.failures:
                self.assertNotEqual(hintOfProxy(cause), "", cause)

    def test_whatHasNoneNeedsNone(self) -> None:
        """
        Such as that no descriptor is left.
        """
        self.assertEqual(hintOfProxy("proxy EMFILE"), "")


class ThroughTests(TunnelTests):
    """
    A tunnel, its app or client, a proxy, and what the proxy connects to: the last two are one.
    """

    def proxied(self, mode: Mode, dialect: str, **settings: Any) -> tuple[Any, socket.socket]:
        """
        A tunnel, and where its proxy listens.
        """
        self.mode = mode
        proxy = socket.create_server(("127.0.0.1", 0))
        proxy.settimeout(PATIENCE)
        self.addCleanup(proxy.close)
        via = Via(settings.pop("scheme", "http"), TCPAddress(*proxy.getsockname()))
        return self.tunnel(REMOTE, dialect, via=via, **settings), proxy

    def accept(self, proxy: socket.socket) -> socket.socket:
        """
        What the tunnel asks for, up to the empty line of its request.
        """
        sock, _ = proxy.accept()
        sock.settimeout(PATIENCE)
        self.asked = readLine(sock)
        while readLine(sock) != b"\r\n":
            pass
        return sock

    def dial(self, service: Any) -> socket.socket:
        """
        The app, or the client.
        """
        host, port = service.addresses[0].rsplit(":", 1)
        return socket.create_connection((host, int(port)), PATIENCE)

    async def test_aServerMayGreetRightBehindTheAnswer(self) -> None:
        """
        In the same segment: its greeting is heard by the dialect, and the log has its name.
        """
        service, proxy = self.proxied(Mode.CLIENT, "smtp")

        def run() -> tuple[Any, Any]:
            with self.dial(service) as app, self.accept(proxy) as sock:
                app.settimeout(PATIENCE)
                sock.sendall(ESTABLISHED + b"220 mx ESMTP\r\n")
                readLine(sock)
                sock.sendall(b"250 mx\r\n")
                readLine(sock)
                sock.sendall(b"220 go\r\n")
                network = Encrypted(sock, self.context(False), False)
                network.handshake()
                greeting = readLine(app)
                app.sendall(b"QUIT\r\n")
                return greeting, network.read(6)

        greeting, said = await deferToThread(run)
        self.assertTrue(greeting.startswith(b"220 "), greeting)
        self.assertEqual(said, b"QUIT\r\n")
        self.assertEqual(self.asked, f"CONNECT {REMOTE} HTTP/1.1\r\n".encode())
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.ends[0]["backend"], REMOTE)

    async def test_whatAProxyAddsIsNoTLS(self) -> None:
        """
        A body that it announces is what the far end says, and no beginning of TLS.
        """
        service, proxy = self.proxied(Mode.CLIENT, "none")

        def run() -> bytes:
            with self.dial(service) as app, self.accept(proxy) as sock:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK\r\n")
                network = Encrypted(sock, self.context(False), False)
                with contextlib.suppress(SSL.Error, OSError):
                    network.handshake()
                with contextlib.suppress(ConnectionResetError):
                    return app.recv(1)
                return b""

        self.assertEqual(await deferToThread(run), b"")
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.ends[0]["outcome"], "foreign-protocol")

    async def test_nothingOfTheAppIsSaidToAProxy(self) -> None:
        """
        It is held, while the proxy has not connected; and where it refuses, the app hears nothing
        but the end.
        """
        service, proxy = self.proxied(Mode.CLIENT, "smtp")

        def run() -> tuple[bytes, bytes]:
            with self.dial(service) as app:
                app.settimeout(PATIENCE)
                app.sendall(b"EHLO secret\r\n")
                with self.accept(proxy) as sock:
                    sock.sendall(b"HTTP/1.1 403 " + b"no" * 500 + b"\r\n\r\n<html>no</html>")
                    rest = b""
                    with contextlib.suppress(ConnectionResetError):
                        rest = sock.recv(1000)
                    heard = b""
                    with contextlib.suppress(ConnectionResetError):
                        heard = app.recv(1000)
                    return rest, heard

        self.assertEqual(await deferToThread(run), (b"", b""))
        await wait(lambda: bool(self.ends))
        (event,) = self.ends
        self.assertEqual(event["outcome"], "connect")
        self.assertLess(event["detail"].count("no"), 110)
        self.assertIn("the proxy has to allow", event["hint"])

    async def test_aProxyThatSaysNothingEnds(self) -> None:
        """
        Within the limit of connecting to one address.
        """
        service, proxy = self.proxied(
            Mode.CLIENT, "smtp", limits=Limits(connect=0.2, connectTotal=5)
        )

        def run() -> None:
            with self.dial(service) as app, self.accept(proxy):
                with contextlib.suppress(ConnectionResetError):
                    app.recv(1)

        await deferToThread(run)
        await wait(lambda: bool(self.ends))
        self.assertIn("the proxy gave no answer in 0.2 s", self.ends[0]["detail"])

    async def test_aBackendIsAskedForOnceTheClientIsVerified(self) -> None:
        """
        And not before: the proxy would see that somebody has come.
        """
        service, proxy = self.proxied(Mode.SERVER, "none")

        def run() -> Any:
            with self.dial(service) as client:
                client.settimeout(PATIENCE)
                proxy.settimeout(0.2)
                self.assertRaises(TimeoutError, proxy.accept)
                proxy.settimeout(PATIENCE)
                network = Encrypted(client, self.context(True), True, SERVER.domain.encode())
                network.handshake()
                network.write(b"question")
                with self.accept(proxy) as sock:
                    sock.sendall(ESTABLISHED)
                    plain = Plain(sock)
                    self.assertEqual(plain.read(8), b"question")
                    plain.write(b"answer")
                    return network.read(6)

        self.assertEqual(await deferToThread(run), b"answer")

    async def test_theUpgradeOfARealServerGoesThroughSOCKS(self) -> None:
        """
        With what the far end says right behind the address.
        """
        service, proxy = self.proxied(Mode.CLIENT, "smtp", scheme="socks5")

        def run() -> bytes:
            with self.dial(service) as app:
                app.settimeout(PATIENCE)
                sock, _ = proxy.accept()
                with sock:
                    sock.settimeout(PATIENCE)
                    self.assertEqual(sock.recv(3), b"\x05\x01\0")
                    sock.sendall(b"\x05\0")
                    self.assertIn(b"mail.example.invalid", sock.recv(100))
                    sock.sendall(b"\x05\0\0\x03\x03a.b\0\x19")
                    smtpServer(sock)
                    network = Encrypted(sock, self.context(False), False)
                    network.handshake()
                    return readLine(app)

        self.assertTrue((await deferToThread(run)).startswith(b"220 "))
