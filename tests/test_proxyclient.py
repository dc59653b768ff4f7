"""
Tests for L{tlstunnel.proxy} in client mode: what happens before the relay, and how it fails.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import CLIENT, PATIENCE, Encrypted, Plain, TunnelTests, wait
from tlstunnel.errors import IdentityRefused, Reset, TimedOut
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.setting import Setting
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.description import Mode


class ClientModeTests(TunnelTests):
    """
    Mode -c.
    """

    mode = Mode.CLIENT

    async def fails(self, serve: Any, dialect: str = "none", **settings: Any) -> bytes:
        """
        Connect an app to a tunnel whose remote server is C{serve}, called with its raw socket.

        @return: what the app received, up to the end of file.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        service = self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}", dialect, **settings)
        host, port = service.addresses[0].rsplit(":", 1)

        def server() -> None:
            with backend.accept()[0] as sock:
                sock.settimeout(PATIENCE)
                serve(sock)

        def run() -> bytes:
            sock = socket.create_connection((host, int(port)), PATIENCE)
            with sock:
                sock.sendall(b"secret of the app\r\n")
                received = Plain(sock).read(1 << 20)
            assert isinstance(received, bytes)
            return received

        serving = deferToThread(server)
        received = await deferToThread(run)
        await serving
        await wait(lambda: bool(self.ends))
        return bytes(received)

    def handshake(self, sock: socket.socket) -> None:
        """
        A TLS server with the certificate of L{SERVER}, which must hear nothing.
        """
        network = Encrypted(sock, self.context(False), False)
        try:
            network.handshake()
            heard = network.read(1)
        except SSL.Error:
            return
        assert not isinstance(heard, bytes) or heard == b"", f"the app's secret got out: {heard!r}"

    async def test_aServerWithAnotherNameHearsNothingOfTheApp(self) -> None:
        """
        The app gets the end of file, and the log says whom we met.
        """
        received = await self.fails(self.handshake, remoteID=Identity(None, "other.example.org"))
        self.assertEqual(received, b"")
        self.assertEnded("identity")
        self.assertIn("server.example.org", self.ends[0]["detail"])

    async def test_aServerOfAnotherCAHearsNothingOfTheApp(self) -> None:
        """
        An unknown issuer is not believed.
        """
        other = Pool(Path(self.mktemp()), asked=False)
        createIdentity(other, CLIENT)
        received = await self.fails(self.handshake, pool=other)
        self.assertEqual(received, b"")
        self.assertEnded("identity")

    async def test_aServerWithoutTLSHearsNothingOfTheApp(self) -> None:
        """
        There is no plaintext continuation (rule 4), and none of its words reach the app (rule 1).
        """

        def serve(sock: socket.socket) -> None:
            sock.sendall(b"220 plain old server\r\n")
            heard = Plain(sock).read(1 << 16)
            assert b"secret" not in (heard if isinstance(heard, bytes) else b"")

        self.assertEqual(await self.fails(serve), b"")
        self.assertEnded("foreign-protocol")

    async def test_aRefusedUpgradeHasNoPlaintextContinuation(self) -> None:
        """
        The app gets the end of file and none of the server's words (rules 1 and 4).
        """

        def serve(sock: socket.socket) -> None:
            sock.sendall(b"220 mx ESMTP\r\n")
            Plain(sock).read(len(b"EHLO "))
            sock.sendall(b"250 mx\r\n")
            sock.sendall(b"454 not now\r\n")
            heard = Plain(sock).read(1 << 16)
            assert b"secret" not in (heard if isinstance(heard, bytes) else b"")

        self.assertEqual(await self.fails(serve, "smtp"), b"")
        self.assertEnded("temporary")

    async def test_plaintextBehindTheGoAheadFailsInTLS(self) -> None:
        """
        In the next segment it is no plaintext any more: OpenSSL gets it, and the app does not
        (rule 3).
        """

        def serve(sock: socket.socket) -> None:
            sock.sendall(b"220 mx ESMTP\r\n")
            while b"EHLO" not in sock.recv(1000):
                pass
            sock.sendall(b"250 mx\r\n")
            while b"STARTTLS" not in sock.recv(1000):
                pass
            sock.sendall(b"220 go\r\n")
            # A ClientHello: it has looked into its buffer.
            sock.recv(1)
            sock.sendall(b"250 injected\r\n")
            heard = Plain(sock).read(1 << 16)
            assert b"secret" not in (heard if isinstance(heard, bytes) else b"")

        self.assertEqual(await self.fails(serve, "smtp"), b"")
        self.assertEnded("foreign-protocol")

    async def test_aGreetingInsideTLSIsASplice(self) -> None:
        """
        A server that greets inside TLS where it must be silent is cut off, and nothing of it
        reaches the app (rule 10).
        """

        def serve(sock: socket.socket) -> None:
            sock.sendall(b"220 mx ESMTP\r\n")
            while b"EHLO" not in sock.recv(1000):
                pass
            sock.sendall(b"250 mx\r\n")
            while b"STARTTLS" not in sock.recv(1000):
                pass
            sock.sendall(b"220 go\r\n")
            network = Encrypted(sock, self.context(False), False)
            network.handshake()
            network.write(b"220 spliced ESMTP\r\n")
            heard = network.read(100)
            assert not isinstance(heard, bytes), heard

        self.assertEqual(await self.fails(serve, "smtp"), b"")
        self.assertEnded("server-spoke-first")

    async def test_noAddressAnsweringEndsTheAppsConnection(self) -> None:
        """
        A refused connection is one line in the log; the next app is served the same.
        """
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        service = self.tunnel(f"127.0.0.1:{port}")
        host, own = service.addresses[0].rsplit(":", 1)

        def run() -> None:
            for _ in range(2):
                with socket.create_connection((host, int(own)), PATIENCE) as sock:
                    self.assertTrue(Plain(sock).atEnd())

        await deferToThread(run)
        await wait(lambda: len(self.ends) == 2)
        self.assertEqual({event["outcome"] for event in self.ends}, {"connect"})

    async def test_anAppThatWantsTLSItselfIsCutOff(self) -> None:
        """
        TLS inside TLS is a mistake of configuration, and named as one (rule 13).
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"\x16\x03\x01\x02\x00\x01")
            self.assertTrue(plain.isReset())

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("foreign-protocol")

    async def test_whatTheAppSaysEarlyArrivesOnceAndInOrder(self) -> None:
        """
        It is held until the server is verified (rule 2).
        """
        early = os.urandom(200000)

        def script(network: Encrypted, plain: Plain) -> None:
            self.assertEqual(network.read(len(early)), early)

        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        service = self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}")
        host, port = service.addresses[0].rsplit(":", 1)

        def run() -> None:
            app = socket.create_connection((host, int(port)), PATIENCE)
            app.settimeout(0.3)
            sent = 0
            accepted, _ = backend.accept()
            accepted.settimeout(PATIENCE)
            try:
                while sent < len(early):
                    sent += app.send(early[sent:])
            except TimeoutError:
                pass
            app.settimeout(PATIENCE)
            network = Encrypted(accepted, self.context(False), False)
            network.handshake()
            app.sendall(early[sent:])
            script(network, Plain(app))
            app.close()
            network.close()

        await deferToThread(run)


class DiallingTests(SynchronousTestCase):
    """
    Connecting has a limit in all, whatever is tried.
    """

    def test_connectingEndsInBothModes(self) -> None:
        """
        Who waits for the connection is let down.
        """
        for mode in ("client", "server"):
            driver = Driver(implicit, mode, dialling=1000)
            if mode == "server":
                driver.handshake()
            driver.clock.advance(19.9)
            self.assertIsNone(driver.error)
            driver.clock.advance(0.2)
            self.assertIsInstance(driver.error, TimedOut)
            self.assertTrue(driver.pair.accepted.isClosed)

    def test_nobodyIsDialledWhomNobodyExpects(self) -> None:
        """
        Without an identity to verify there is no connection (rule 4).
        """
        driver = Driver(implicit, "client", Setting(remoteID=None))
        self.assertIsInstance(driver.error, IdentityRefused)
        self.assertIsNone(driver.network.speaker)

    def test_whoGoesAwayMeanwhileIsNotWaitedFor(self) -> None:
        """
        The connection that was under way is given up.
        """
        for mode, leg in (("client", "plain"), ("server", "network")):
            driver = Driver(implicit, mode, dialling=10)
            if mode == "server":
                driver.handshake()
            getattr(driver, leg).reset()
            self.assertIsInstance(driver.error, Reset)
            driver.clock.advance(20)
            self.assertFalse(driver.backendDialled)
            self.assertIsNone(driver.pair.dialled)
