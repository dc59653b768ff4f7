"""
Tests for L{tlstunnel.proxy}: what happens to a connection before the relay, and how it fails.
"""

from __future__ import annotations

import gc
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
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import (
    CLIENT,
    PATIENCE,
    Encrypted,
    Plain,
    TunnelTests,
    reactor,
    wait,
)
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import IdentityRefused, Reset, TimedOut
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.net.leg import Leg
from tlstunnel.program.service import TunnelService
from tlstunnel.protocols.base import Role
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.setting import (
    Setting,
)
from tlstunnel.protocols.xmlstream import Tags
from tlstunnel.proxy import ProxyFactory
from tlstunnel.testing.memory import Driver
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import (
    Mode,
)
from tlstunnel.tunnel.limits import (
    Limits,
)
from tlstunnel.tunnel.pair import Pair


def dialogue(sock: socket.socket, *steps: tuple[str, bytes]) -> None:
    """
    Hear (C{"hear"}) and say (C{"say"}) on a raw socket; what is heard must be exactly that.
    """
    for what, data in steps:
        if what == "say":
            sock.sendall(data)
        else:
            heard = Plain(sock).read(len(data))
            assert heard == data, f"expected {data!r}, heard {heard!r}"


def pairsOf(service: TunnelService) -> set[Pair]:
    """
    The connections of a tunnel.
    """
    assert service.factory is not None
    return service.factory.pairs


def closeAll(socks: list[socket.socket]) -> None:
    """
    Close all C{socks}.
    """
    for sock in socks:
        sock.close()


#: What precedes TLS for an SMTP client of a server tunnel.
ASK = (
    ("hear", b"220 server.example.org ESMTP\r\n"),
    ("say", b"EHLO client\r\n"),
    ("hear", b"250-server.example.org\r\n250 STARTTLS\r\n"),
    ("say", b"STARTTLS\r\n"),
    ("hear", b"220 2.0.0 Ready to start TLS\r\n"),
)


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


class LeakTests(TunnelTests):
    """
    What connections that die leave behind: nothing.
    """

    timeout = 300

    def descriptors(self) -> int:
        """
        How many descriptors this process has open.
        """
        gc.collect()
        return len(list(Path("/dev/fd").iterdir()))

    async def leavesNothing(self, dialect: str, mode: Mode, states: int) -> None:
        """
        Let 1,000 connections die, each in one of C{states} states, from both ends.
        """
        self.mode = mode
        backend = socket.create_server(("127.0.0.1", 0), backlog=100)
        backend.settimeout(0.05)
        self.addCleanup(backend.close)
        service = self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}", dialect)
        host, port = service.addresses[0].rsplit(":", 1)
        context = self.context(mode is Mode.SERVER)
        await deferToThread(self.descriptors)
        before = self.descriptors()

        def one(number: int) -> None:
            socks = [socket.create_connection((host, int(port)), PATIENCE)]
            state, reset = number % states, number // states % 2
            try:
                if mode is Mode.CLIENT:
                    accepted = backend.accept()[0]
                    accepted.settimeout(PATIENCE)
                    socks.append(accepted)
                network = Encrypted(socks[-1], context, mode is Mode.SERVER)
                if state >= 1:
                    # Half of a ClientHello, or of a ServerHello.
                    socks[-1].sendall(b"\x16\x03\x01\x00")
                if state >= 2:
                    socks[-1].close()
                    socks[-1] = socket.create_connection((host, int(port)), PATIENCE)
                    if mode is Mode.CLIENT:
                        socks.append(backend.accept()[0])
                    socks[-1].settimeout(PATIENCE)
                    network = Encrypted(socks[-1], context, mode is Mode.SERVER)
                    network.handshake()
                if state >= 3:
                    network.write(b"x" * 1000)
                if state >= 4:
                    network.end()
            except OSError:
                pass
            for sock in socks[:: -1 if number % 3 else 1]:
                Plain(sock).reset() if reset else sock.close()
            try:
                while mode is Mode.SERVER and state >= 2:
                    backend.accept()[0].close()
                    break
            except OSError:
                pass

        def run() -> None:
            for number in range(1000):
                one(number)

        await deferToThread(run)
        await wait(lambda: not pairsOf(service))
        # Some may linger for a moment, as their peers in the backend's queue never close.
        await wait(lambda: self.descriptors() == before)

    async def leavesNoCircles(self, mode: Mode, dialect: str, said: bytes, reset: bool) -> None:
        """
        Let the peer on the network leg say C{said} and go, before there is any TLS.
        """
        self.mode = mode
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        service = self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}", dialect)
        host, port = service.addresses[0].rsplit(":", 1)

        number = 5

        def run() -> None:
            for _ in range(number):
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    peer = dialled if mode is Mode.SERVER else backend.accept()[0]
                    peer.sendall(said)
                    Plain(peer).reset() if reset else peer.close()

        def living() -> int:
            kinds = (Leg, Pair, Role, Conversation, Session, Tags)
            return sum(isinstance(each, kinds) for each in gc.get_objects())

        async def nothingStays(before: int) -> None:
            await deferToThread(run)
            await wait(lambda: len(self.ends) == number and not pairsOf(service))
            # A circle is of several objects for each connection.
            await wait(lambda: living() < before + number)

        for _ in range(2):
            # The first time, modules and caches are filled.
            gc.collect()
            before = living()
            gc.disable()
            try:
                await nothingStays(before)
            finally:
                gc.enable()
            self.ends.clear()

    async def test_failuresLeaveNothingForTheGarbageCollector(self) -> None:
        """
        What served a connection that failed is gone with it, else strangers could fill the memory:
        an exception keeps all that was going on where it was raised.
        """
        for mode in (Mode.CLIENT, Mode.SERVER):
            for dialect in ("none", "smtp", "ldap", "xmpp-client"):
                for said in (b"", b"GET / HTTP/1.0\r\n\r\n", b"<?xml version='1.0'?>"):
                    for reset in (False, True):
                        if mode is Mode.SERVER or dialect != "xmpp-client":
                            await self.leavesNoCircles(mode, dialect, said, reset)

    async def test_silenceLeavesNothingForTheGarbageCollector(self) -> None:
        """
        The filters that wait for the app to speak know the role, which must not know them for ever.
        """
        self.mode = Mode.CLIENT

        def upgrade(network: socket.socket) -> None:
            network.recv(100)
            network.sendall(bytes.fromhex("300c02010178070a010004000400"))

        def script(network: Encrypted, plain: Plain) -> None:
            network.end()
            self.assertTrue(plain.atEnd())
            plain.close()
            self.assertTrue(network.atEnd())

        for _ in range(2):
            gc.collect()
            before = sum(isinstance(each, Role) for each in gc.get_objects())
            gc.disable()
            try:
                await self.through(script, "ldap", upgrade)
                await wait(lambda: bool(self.ends))
                after = sum(isinstance(each, Role) for each in gc.get_objects())
            finally:
                gc.enable()
            self.ends.clear()
        self.assertEqual(after, before)

    def test_serverModeLeavesNothing(self) -> Any:
        """
        Implicit TLS, server mode.
        """
        return self.leavesNothing("none", Mode.SERVER, 5)

    def test_clientModeLeavesNothing(self) -> Any:
        """
        Implicit TLS, client mode.
        """
        return self.leavesNothing("none", Mode.CLIENT, 5)

    def test_aNegotiationThatDiesLeavesNothing(self) -> Any:
        """
        SMTP in server mode, where TLS bytes in clear are a foreign protocol.
        """
        return self.leavesNothing("smtp", Mode.SERVER, 2)
