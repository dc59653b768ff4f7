"""
Tests for L{ProxyFactory} in programs of others: on stock endpoints, beside each other, and with
observers.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import UNIXAddress
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.stdio import StandardIO
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.protocols.policies import TimeoutFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.loopback import PATIENCE, SERVER, Encrypted, Plain, TunnelTests, reactor, wait
from tlstunnel.address import Address
from tlstunnel.errors import ConfigurationError
from tlstunnel.interfaces import IObserver
from tlstunnel.net.networks import Networks, parseNetwork
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.observers import Observer
from tlstunnel.tunnel.record import Record


class StockTests(TunnelTests):
    """
    Base class of tests with stock endpoints.

    @ivar errors: what was logged as an error.
    """

    def setUp(self) -> None:
        """
        A backend that nobody has connected to.
        """
        super().setUp()
        self.backend = socket.create_server(("127.0.0.1", 0))
        self.backend.setblocking(False)
        self.addCleanup(self.backend.close)
        self.errors: list[LogEvent] = []

        def observe(event: LogEvent) -> None:
            if event.get("log_level") is LogLevel.error:
                self.errors.append(event)

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def factory(
        self, dialect: str = "none", observers: Sequence[IObserver] | None = None, **settings: Any
    ) -> ProxyFactory:
        """
        A factory for a tunnel before the backend.
        """
        backend = f"127.0.0.1:{self.backend.getsockname()[1]}"
        factory = ProxyFactory(self.described(backend, dialect, **settings), reactor, observers)
        self.addCleanup(factory.deadlines.clear)
        self.addCleanup(factory.linger.closeAll)
        self.addCleanup(factory.stop)
        return factory

    async def listen(self, description: str, factory: Any) -> IListeningPort:
        """
        Listen, until the test has ended.
        """
        port: IListeningPort = await serverFromString(reactor, description).listen(factory)
        self.addCleanup(port.stopListening)
        return port

    def converse(self, port: IListeningPort) -> None:
        """
        One connection to the backend, to be made in a thread.
        """
        host: Any = port.getHost()
        sock = socket.create_connection((host.host, host.port), PATIENCE)
        network = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
        network.handshake()
        self.backend.settimeout(PATIENCE)
        plain = Plain(self.backend.accept()[0])
        network.write(b"question")
        self.assertEqual(plain.read(8), b"question")
        plain.close()
        self.assertTrue(network.atEnd())
        network.end()
        network.close()


class MissingTests(StockTests):
    """
    Descriptions that are not whole.
    """

    def test_whatIsMissingIsSaidAtOnce(self) -> None:
        """
        Nobody finds out at the first connection that no identity was given.
        """
        for mode, key in (Mode.CLIENT, "remote-id"), (Mode.SERVER, "local-id"):
            error = self.assertRaises(
                ConfigurationError, self.factory, mode=mode, localID=None, remoteID=None
            )
            self.assertEqual(error.key, key)

    def test_whatTheDialectDoesNotTakeIsSaidAtOnce(self) -> None:
        """
        Options and their values are those of the command line.
        """
        for option in ("prots=50000-50009", "ports=50009-50000"):
            error = self.assertRaises(
                ConfigurationError, self.factory, dialect="ftp", options=frozenset((option,))
            )
            self.assertEqual(error.subject, f"`dialect-option` {option}")


class RefusedTests(StockTests):
    """
    Transports that are more than a socket: what they do to the bytes must not be passed by.
    """

    def hello(self) -> bytes:
        """
        What a client of TLS says first.
        """
        client = SSL.Connection(self.context(True))
        client.set_connect_state()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        return client.bio_read(65536)

    async def refuses(self, endpoint: str, said: bytes, wrap: Any = None) -> None:
        """
        Connections come to nothing, whatever is said on them, and the log has why, once.
        """
        for mode in Mode:
            factory = self.factory(mode=mode, localID=SERVER, remoteID=SERVER)
            port = await self.listen(endpoint, factory if wrap is None else wrap(factory))
            host: Any = port.getHost()

            def run(host: Any = host) -> None:
                for _ in range(3):
                    # The reset may be there before we are.
                    with contextlib.suppress(ConnectionError):
                        sock = socket.create_connection((host.host, host.port), PATIENCE)
                        with sock:
                            sock.sendall(said)
                            self.assertTrue(Plain(sock).isReset())

            await deferToThread(run)
            self.assertEqual(factory.pairs, set())
            self.assertRaises(BlockingIOError, self.backend.accept)
            self.assertEqual(self.ends, [])
            error, self.errors = self.errors, []
            self.assertEqual(len(error), 1)
            self.assertIn("plain TCP or UNIX sockets only", error[0]["log_format"])
            self.assertEqual(self.flushLoggedErrors(), [])

    async def test_theHeaderOfPROXYIsNotTakenForAConnection(self) -> None:
        """
        C{haproxy:tcp:...} is refused.
        """
        said = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + self.hello()
        await self.refuses("haproxy:tcp:0:interface=127.0.0.1", said)

    async def test_thereIsNoTLSInsideTLS(self) -> None:
        """
        C{ssl:...} is refused.
        """
        directory = self.pool.path / str(SERVER)
        await self.refuses(
            f"ssl:0:interface=127.0.0.1:privateKey={directory / 'privkey.pem'}"
            f":certKey={directory / 'fullchain.pem'}",
            self.hello(),
        )

    async def test_wrappedFactoriesAreRefused(self) -> None:
        """
        Those with TLS, and others.
        """
        directory = self.pool.path / str(SERVER)
        pem = (directory / "privkey.pem").read_bytes() + (directory / "fullchain.pem").read_bytes()
        options = PrivateCertificate.loadPEM(pem).options()

        def encrypted(factory: ProxyFactory) -> TLSMemoryBIOFactory:
            return TLSMemoryBIOFactory(options, False, factory)

        for wrap in encrypted, TimeoutFactory:
            await self.refuses("tcp:0:interface=127.0.0.1", self.hello(), wrap)

    async def test_whatIsNoSocketIsRefused(self) -> None:
        """
        Standard input and output, such as of C{stdio:}, which cannot even be reset.
        """
        stdin, stdout = os.pipe()
        self.addCleanup(os.close, stdin)
        self.addCleanup(os.close, stdout)
        factory = self.factory()
        transport: Any = StandardIO(factory.buildProtocol(None), stdin, stdout, reactor)  # type: ignore[call-arg]
        await wait(lambda: transport.disconnected)
        self.assertEqual((len(self.errors), factory.pairs), (1, set()))


class GoneTests(StockTests):
    """
    Clients that are gone before anybody has looked.
    """

    def descriptors(self) -> int:
        """
        How many this process has open.
        """
        return len(list(Path("/dev/fd").iterdir()))

    async def leavesNothing(self, description: str, dialect: str) -> None:
        """
        Let hundreds of clients come and go before the reactor turns.
        """
        factory = self.factory(dialect)
        port = await self.listen(f"{description}:backlog=500", factory)
        host: Any = port.getHost()

        def connect() -> Plain:
            isUNIX = isinstance(host, UNIXAddress)
            sock = socket.socket(socket.AF_UNIX if isUNIX else socket.AF_INET)
            sock.settimeout(PATIENCE)
            sock.connect(host.name if isUNIX else (host.host, host.port))
            return Plain(sock)

        def last() -> None:
            # Who comes last is accepted last.
            client = connect()
            client.write(b"GET / HTTP/1.0\r\n\r\n")
            client.read(1000)
            client.close()

        # The reactor has descriptors of its own once it runs.
        await deferToThread(int)
        before = self.descriptors()
        # What is only forgotten, and not closed, is not to be closed by chance.
        gc.disable()
        self.addCleanup(gc.enable)
        for number in range(300):
            client = connect()
            if number % 2:
                client.write(b"\x16\x03\x01")
            if number % 3:
                client.reset()
            else:
                client.close()
        await deferToThread(last)
        await wait(lambda: not factory.pairs and self.descriptors() == before)
        self.assertEqual(self.ends[-1]["outcome"], "foreign-protocol")
        self.assertEqual(self.errors, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_overTCPTheyLeaveNothing(self) -> None:
        """
        No descriptor and no traceback, whether they would have spoken first or we.
        """
        for dialect in "none", "smtp":
            await self.leavesNothing("tcp:0:interface=127.0.0.1", dialect)

    async def test_overUNIXSocketsTheyLeaveNothing(self) -> None:
        """
        The same.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        # Trial's temporary names are too long for sun_path.
        here = os.path.relpath(directory)
        for dialect in "none", "smtp":
            await self.leavesNothing(f"unix:{here}/{dialect}", dialect)


class CutTests(StockTests):
    """
    Apps on UNIX sockets of stock endpoints, whose connections are cut in the network.
    """

    mode = Mode.CLIENT

    async def cut(self, speaks: bool) -> tuple[Plain, ProxyFactory]:
        """
        An app whose connection was cut when it had got half of what there is.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        # Trial's temporary names are too long for sun_path.
        path = os.path.relpath(directory / "app")
        factory = self.factory()
        await self.listen(f"unix:{path}", factory)
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.settimeout(PATIENCE)
        self.backend.settimeout(PATIENCE)

        def converse() -> Plain:
            sock.connect(path)
            app = Plain(sock)
            accepted, _ = self.backend.accept()
            network = Encrypted(accepted, self.context(False), False)
            network.handshake()
            if speaks:
                app.write(b"x")
                self.assertEqual(network.read(1), b"x")
            network.write(b"half")
            self.assertEqual(app.read(4), b"half")
            network.truncate()
            self.addCleanup(network.close)
            return app

        app = await deferToThread(converse)
        await wait(lambda: bool(self.ends))
        self.assertEnded("truncated")
        return app, factory

    async def test_anAppThatHasSpokenIsReset(self) -> None:
        """
        The transport closes its socket with something unread.
        """
        app, factory = await self.cut(True)
        self.assertTrue(await deferToThread(app.isReset))
        self.assertEqual(len(factory.unixLegs.hold), 0)

    async def test_anAppThatHasNotIsHeldUntilTheFactoryStops(self) -> None:
        """
        Or until it speaks; the transport closes then.
        """
        app, factory = await self.cut(False)
        self.assertEqual(len(factory.unixLegs.hold), 1)
        app.write(b"x")
        self.assertTrue(await deferToThread(app.isReset))
        self.assertEqual(len(factory.unixLegs.hold), 0)
        self.ends.clear()
        app, factory = await self.cut(False)
        await factory.stop()
        self.assertTrue(await deferToThread(app.atEnd))
        self.assertEqual(len(factory.unixLegs.hold), 0)


class ServedTests(StockTests):
    """
    Transports that are sockets.
    """

    async def test_inheritedSocketsServe(self) -> None:
        """
        As those that systemd hands down.
        """
        inherited = socket.create_server(("127.0.0.1", 0))
        inherited.setblocking(False)
        endpoint = AdoptedStreamServerEndpoint(reactor, inherited.detach(), socket.AF_INET)
        factory = self.factory()
        port = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        await deferToThread(self.converse, port)
        await wait(lambda: not factory.pairs)
        self.assertEnded("clean")

    async def test_whoeverIsTooManyIsReset(self) -> None:
        """
        A stock port cannot be told to let them wait.
        """
        factory = self.factory(limits=Limits(connections=1))
        port = await self.listen("tcp:0:interface=127.0.0.1", factory)
        host: Any = port.getHost()
        socks = []
        for _ in range(2):
            # The reset may be there before we are.
            with contextlib.suppress(ConnectionResetError):
                socks.append(socket.create_connection((host.host, host.port), PATIENCE))
                self.addCleanup(socks[-1].close)
        await wait(lambda: bool(self.ends))
        self.assertEnded("limit")
        self.assertEqual(len(factory.pairs), 1)


class ObserverTests(StockTests):
    """
    Who is told of connections.
    """

    async def test_oneThatRaisesHarmsNothing(self) -> None:
        """
        It is logged, each time; the connection goes on, and so do other observers.
        """

        class Raising(Observer):
            def began(self, record: Record) -> None:
                raise ZeroDivisionError

            verified = advanced = ended = began

        told: list[str] = []

        class Listening(Observer):
            def began(self, record: Record) -> None:
                told.append("began")

            def verified(self, record: Record) -> None:
                told.append("verified")

            def advanced(self, record: Record) -> None:
                told.append(record.stage.value)

            def ended(self, record: Record) -> None:
                told.append(record.outcome)

        factory = self.factory(observers=(Raising(), Listening()))
        port = await self.listen("tcp:0:interface=127.0.0.1", factory)
        await deferToThread(self.converse, port)
        await wait(lambda: not factory.pairs)
        self.assertEqual(
            told, ["began", "handshaking", "verified", "connecting", "relaying", "clean"]
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), len(told))

    async def test_whoIsRefusedHasNoRecord(self) -> None:
        """
        Observers are told who it was, and why; one that raises harms nobody here either.
        """

        class Raising(Observer):
            def refused(self, peer: Address, reason: str) -> None:
                raise ZeroDivisionError

        told: list[object] = []

        class Listening(Observer):
            def began(self, record: Record) -> None:
                told.append(record)

            def refused(self, peer: Address, reason: str) -> None:
                told.append((peer.host, reason))

        factory = self.factory(
            observers=(Raising(), Listening()), deny=Networks.of([parseNetwork("127.0.0.1")])
        )
        port = await self.listen("tcp:0:interface=127.0.0.1", factory)

        host: Any = port.getHost()

        def dial() -> None:
            with contextlib.suppress(ConnectionResetError):
                socket.create_connection(("127.0.0.1", host.port), PATIENCE).close()

        await deferToThread(dial)
        await wait(lambda: bool(told))
        self.assertEqual(told, [("127.0.0.1", "denied")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_theLogIsOneByDefault(self) -> None:
        """
        Unless others are named.
        """
        for observers, lines in (None, 1), ((), 0), ((ConnectionLog(), ConnectionLog()), 2):
            self.ends.clear()
            factory = self.factory(observers=observers)
            port = await self.listen("tcp:0:interface=127.0.0.1", factory)
            await deferToThread(self.converse, port)
            await wait(lambda factory=factory: not factory.pairs)  # type: ignore[misc]
            self.assertEqual(len(self.ends), lines)


class StopTests(StockTests):
    """
    L{ProxyFactory.stop}.
    """

    async def test_itWaitsForAll(self) -> None:
        """
        Those that are only connected, too; and it can be called again.
        """
        factory = self.factory()
        port = await self.listen("tcp:0:interface=127.0.0.1", factory)
        host: Any = port.getHost()
        socks = [socket.create_connection((host.host, host.port)) for _ in range(3)]
        for sock in socks:
            self.addCleanup(sock.close)
        await wait(lambda: len(factory.pairs) == 3)
        stopped = factory.stop(), factory.stop()
        self.assertNoResult(stopped[0])
        for each in stopped:
            await each
        self.assertEqual(factory.pairs, set())
        self.assertEqual([event["outcome"] for event in self.ends], ["stopped"] * 3)
        await factory.stop()

    async def test_anotherGoesOn(self) -> None:
        """
        Each factory has its own connections.
        """
        factories = self.factory(), self.factory()
        for factory in factories:
            port = await self.listen("tcp:0:interface=127.0.0.1", factory)
            host: Any = port.getHost()
            self.addCleanup(socket.create_connection((host.host, host.port)).close)
        await wait(lambda: all(factory.pairs for factory in factories))
        await factories[0].stop()
        self.assertEqual([len(factory.pairs) for factory in factories], [0, 1])
