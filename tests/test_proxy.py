"""
Tests for L{tlstunnel.proxy} in server mode: what happens before the relay, and how it fails.
"""

from __future__ import annotations

import os
import select
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import deferToThread

from tests.dialogues import ASK, closeAll, dialogue, pairsOf
from tests.loopback import CLIENT, PATIENCE, Encrypted, Plain, TunnelTests, reactor, wait
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.identity.names import Selector
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.limits import Limits


class ServerModeTests(TunnelTests):
    """
    Mode -s.
    """

    def port(self, service: Any) -> int:
        """
        Where a tunnel listens.
        """
        return int(service.addresses[0].rsplit(":", 1)[1])

    def connect(self, service: Any) -> socket.socket:
        """
        A raw connection to a tunnel.
        """
        return socket.create_connection(("127.0.0.1", self.port(service)), PATIENCE)

    async def test_aQuietTunnelLogsNoConnection(self) -> None:
        """
        Another one logs each.
        """
        for isQuiet in True, False:
            service = self.tunnel("127.0.0.1:1", quiet=isQuiet)
            assert service.factory is not None
            ended: list[bool] = []
            service.factory.idle = partial(ended.append, True)
            self.connect(service).close()
            await wait(partial(bool, ended))
            self.assertEqual(len(self.ends), 0 if isQuiet else 1)

    async def test_anUnverifiedPeerCostsNoBackend(self) -> None:
        """
        The backend is not dialled before TLS is up (rule 2).
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.setblocking(False)
        self.addCleanup(backend.close)
        service = self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}", "smtp")

        def run() -> None:
            with self.connect(service) as sock:
                dialogue(sock, *ASK)
                time.sleep(0.05)

        await deferToThread(run)
        self.assertRaises(BlockingIOError, backend.accept)

    async def test_theGreetingAndSTARTTLSOfTheBackendAreHidden(self) -> None:
        """
        Inside TLS the client finds no second greeting and no second offer.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"220-backend\r\n220 ready\r\n")
            network.write(b"EHLO x\r\n")
            self.assertEqual(plain.read(8), b"EHLO x\r\n")
            plain.write(b"250-backend\r\n250-SIZE 10\r\n250 STARTTLS\r\n")
            expected = b"250-backend\r\n250 SIZE 10\r\n"
            self.assertEqual(network.read(len(expected)), expected)

        await self.through(script, "smtp", lambda sock: dialogue(sock, *ASK))

    async def test_bytesBehindSTARTTLSEndTheConnectionWithAReset(self) -> None:
        """
        A command in the same segment is never answered and never reaches the backend (rule 3).
        """
        service = self.tunnel("127.0.0.1:1", "smtp")

        def run() -> None:
            with self.connect(service) as sock:
                dialogue(sock, *ASK[:3], ("say", b"STARTTLS\r\nRSET\r\n"))
                self.assertTrue(Plain(sock).isReset())

        await deferToThread(run)
        await wait(lambda: bool(self.ends))
        self.assertEnded("plaintext-after-starttls")

    async def test_plaintextBehindTheGoAheadFailsInTLS(self) -> None:
        """
        In the next segment it is no plaintext any more: OpenSSL gets it, and nobody else (rule 3).
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.setblocking(False)
        self.addCleanup(backend.close)
        service = self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}", "smtp")

        def run() -> None:
            with self.connect(service) as sock:
                dialogue(sock, *ASK, ("say", b"MAIL FROM:<a@b>\r\n"))
                heard = Plain(sock).read(1 << 16)
                # An alert at most.
                assert not isinstance(heard, bytes) or heard[:1] in (b"", b"\x15"), heard

        await deferToThread(run)
        await wait(lambda: bool(self.ends))
        self.assertEnded("foreign-protocol")
        self.assertRaises(BlockingIOError, backend.accept)

    async def test_aBackendThatIsDownClosesTheConnectionCleanly(self) -> None:
        """
        Nothing but close_notify is said inside TLS, and the log names the backend.
        """
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        service = self.tunnel(f"127.0.0.1:{port}")

        def run() -> None:
            network = Encrypted(self.connect(service), self.context(True), True)
            network.handshake()
            self.assertTrue(network.atEnd())
            network.close()

        await deferToThread(run)
        await wait(lambda: bool(self.ends))
        self.assertEnded("connect")
        self.assertIn(f"127.0.0.1:{port}", self.ends[0]["detail"])

    async def test_theNextRemoteIsTriedWhenOneIsDown(self) -> None:
        """
        Several -r are tried in order.
        """
        with socket.create_server(("127.0.0.1", 0)) as probe:
            down = probe.getsockname()[1]
        backend = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(backend.close)
        up = TCPAddress("127.0.0.1", backend.getsockname()[1])
        service = self.tunnel(str(up), remote=(TCPAddress("127.0.0.1", down), up))

        def run() -> None:
            network = Encrypted(self.connect(service), self.context(True), True)
            network.handshake()
            accepted, _ = backend.accept()
            accepted.sendall(b"hello")
            self.assertEqual(network.read(5), b"hello")
            accepted.close()
            network.close()

        await deferToThread(run)

    async def test_aSilentPeerIsClosedByTheHandshakeLimit(self) -> None:
        """
        Who connects and says nothing is not kept for ever (rule 8).
        """
        service = self.tunnel("127.0.0.1:1", limits=Limits(handshake=0.2))

        def run() -> None:
            with self.connect(service) as sock:
                self.assertTrue(Plain(sock).atEnd())

        await deferToThread(run)
        await wait(lambda: bool(self.ends))
        self.assertEnded("timeout")

    async def test_aDrippingPeerIsClosedByTheNegotiationLimit(self) -> None:
        """
        Traffic does not extend the limit (rule 8).
        """
        service = self.tunnel("127.0.0.1:1", "smtp", limits=Limits(negotiation=0.3))

        def run() -> None:
            with self.connect(service) as sock:
                try:
                    for _ in range(400):
                        sock.sendall(b"N")
                        time.sleep(0.01)
                except OSError:
                    return
            self.fail("never closed")

        await deferToThread(run)
        await wait(lambda: bool(self.ends))
        self.assertEnded("timeout")

    async def test_garbageInsteadOfTLSIsRefusedWithAHint(self) -> None:
        """
        An HTTP request on a TLS port is named as what it is.
        """
        service = self.tunnel("127.0.0.1:1")

        def run() -> None:
            with self.connect(service) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                Plain(sock).read(100)

        await deferToThread(run)
        await wait(lambda: bool(self.ends))
        self.assertEnded("foreign-protocol")
        self.assertIn("http request", self.ends[0]["detail"])

    async def test_aClientWithoutTheCertificateDemandedReachesNothing(self) -> None:
        """
        With -R no anonymous client is served, and what it sends early is dropped (rule 2).
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.setblocking(False)
        self.addCleanup(backend.close)
        service = self.tunnel(
            f"127.0.0.1:{backend.getsockname()[1]}", remoteID=Selector.parse("client@example.org")
        )

        def run() -> None:
            network = Encrypted(self.connect(service), self.context(True), True)
            network.handshake()  # In TLS 1.3 we are done before the server has judged us.
            try:
                network.write(b"early data")
                network.read(1)
            except (SSL.Error, OSError):
                return
            finally:
                network.close()
            self.fail("served without a certificate")

        await deferToThread(run)
        await wait(lambda: bool(self.ends))
        self.assertIn(self.ends[0]["outcome"], ("tls", "identity"))
        self.assertRaises(BlockingIOError, backend.accept)

    async def test_aClientWithTheCertificateDemandedIsServedAndNamed(self) -> None:
        """
        The log says who it was.
        """
        context = self.context(True)
        directory = self.pool.path / str(CLIENT)
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))
        self.context = lambda isClient: context  # type: ignore[method-assign]

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"x")
            self.assertEqual(plain.read(1), b"x")
            plain.close()
            network.read(1)
            network.end()

        await self.through(script, remoteID=Selector.parse("@example.org"))
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.ends[0]["identity"], "client@example.org")

    async def test_theNumberOfConnectionsIsLimited(self) -> None:
        """
        At the limit no more are accepted; they wait, and are served when there is room.
        """
        service = self.tunnel("127.0.0.1:1", "smtp", limits=Limits(connections=2, unverified=2))
        socks = [await deferToThread(self.connect, service) for _ in range(4)]
        self.addCleanup(closeAll, socks)

        def run() -> None:
            for sock in socks[:2]:
                # A tunnel that has the time to answer would have greeted all who wait.
                dialogue(sock, *ASK[:3])
            self.assertEqual(select.select(socks[2:], [], [], 0)[0], [])
            for sock in socks[:2]:
                sock.close()
            for sock in socks[2:]:
                dialogue(sock, *ASK[:3])

        await deferToThread(run)
        self.assertEqual(len(pairsOf(service)), 2)

    async def test_UNIXSocketsServeOnBothSides(self) -> None:
        """
        A tunnel listens at a UNIX socket and forwards to one.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        # Trial's temporary names are too long for sun_path.
        here = os.path.relpath(directory)
        backend = socket.socket(socket.AF_UNIX)
        backend.bind(f"{here}/backend")
        backend.listen()
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        self.tunnel(
            "127.0.0.1:1",
            local=(UNIXAddress(f"{here}/front"),),
            remote=(UNIXAddress(f"{here}/backend"),),
        )

        class Unix(Encrypted):
            def __init__(self, sock: socket.socket, context: SSL.Context) -> None:
                self.sock = sock
                self.tls = SSL.Connection(context)
                self.tls.set_connect_state()

        def run() -> None:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(f"{here}/front")
            network = Unix(sock, self.context(True))
            network.handshake()
            plain = Plain(backend.accept()[0])
            network.write(b"there")
            self.assertEqual(plain.read(5), b"there")
            plain.write(b"back")
            plain.close()
            self.assertEqual(network.read(5), b"back")
            network.end()
            sock.close()

        await deferToThread(run)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_anyStreamEndpointCanListen(self) -> None:
        """
        A ProxyFactory works with Twisted's own endpoints, half-close and all.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        service = self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}")
        factory = ProxyFactory(service.tunnel, reactor)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(factory.deadlines.clear)
        self.addCleanup(port.stopListening)

        def run() -> None:
            sock = socket.create_connection(("127.0.0.1", port.getHost().port), PATIENCE)
            network = Encrypted(sock, self.context(True), True)
            network.handshake()
            plain = Plain(backend.accept()[0])
            network.write(b"question")
            network.end()
            self.assertEqual(plain.read(9), b"question")
            plain.write(b"answer")
            plain.close()
            self.assertEqual(network.read(7), b"answer")
            network.close()

        await deferToThread(run)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")
