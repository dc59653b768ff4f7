"""
Limits by source, of a tunnel with real connections: addresses of 127.0.0.0/8 are different sources.
"""

from __future__ import annotations

import errno
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.loopback import (
    PATIENCE,
    SERVER,
    Encrypted,
    Plain,
    Reset,
    TunnelTests,
    reactor,
    readLine,
    smtpClient,
    wait,
)
from tlstunnel.address import Address, TCPAddress, UNIXAddress
from tlstunnel.net import stock
from tlstunnel.net.networks import Networks, parseNetwork
from tlstunnel.program.service import TunnelService
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.observers import Observer

# As Linux has it (linux/in6.h).
_IPV6_FREEBIND = 78

#: Seconds that another run of trial may take.
_PATIENCE_WITH_TRIAL = 120

#: A network in which all of 2001:db8::/32 is this host.
_ISOLATED = ("unshare", "--net", "sh", "-ec")
_NETWORK = "ip link set lo up; ip -6 route add local 2001:db8::/32 dev lo; "


def networks(*texts: str) -> Networks:
    """
    All of C{texts}.
    """
    return Networks.of(map(parseNetwork, texts))


class Refusals(Observer):
    """
    Notes who is refused, and how many connections had a record.
    """

    def __init__(self) -> None:
        self.refusals: list[tuple[str, str]] = []
        self.records = 0

    def began(self, record: object) -> None:
        """
        A connection was accepted.
        """
        self.records += 1

    def refused(self, peer: Address, reason: str) -> None:
        """
        One was not.
        """
        self.refusals.append((peer.host, reason))


def connected(family: int, target: Any, source: str = "") -> socket.socket:
    """
    A connection to C{target}, from C{source}.

    @raise ConnectionResetError: it was reset faster than it was there.
    """
    sock = socket.socket(family)
    sock.settimeout(PATIENCE)
    try:
        if family == socket.AF_INET6:
            # In a network of our own addresses are routed here, and not named.
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        if source:
            sock.bind((source, 0))
        sock.connect(target)
    except OSError:
        sock.close()
        raise
    return sock


def isRefused(dial: Callable[..., socket.socket], *args: Any) -> bool:
    """
    Whether the connection that C{dial} makes is reset before anything is heard.
    """
    try:
        with dial(*args) as sock:
            return Plain(sock).isReset()
    except ConnectionResetError:
        return True


class SourceTests(TunnelTests):
    """
    Base class: a tunnel whose refusals are noted.
    """

    def setUp(self) -> None:
        """
        Listen to what is logged.
        """
        super().setUp()
        self.observer = Refusals()
        self.lines: list[LogEvent] = []
        globalLogPublisher.addObserver(self.note)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self.note)  # type: ignore[arg-type]
        self.backend = socket.create_server(("127.0.0.1", 0))
        self.backend.settimeout(PATIENCE)
        self.addCleanup(self.backend.close)

    def note(self, event: LogEvent) -> None:
        """
        Something was logged.
        """
        if event.get("event") == "refused":
            self.lines.append(event)

    def limited(self, dialect: str = "smtp", **settings: Any) -> TunnelService:
        """
        A tunnel before the backend.
        """
        backend = f"127.0.0.1:{self.backend.getsockname()[1]}"
        described = self.described(backend, dialect, **settings)
        service = TunnelService(described, reactor, observers=(self.observer,))
        service.startService()

        def stop() -> Any:
            stopped = service.stopService()
            service.hurry()
            return stopped

        self.addCleanup(stop)
        return service

    def dial(self, service: TunnelService, source: str = "127.0.0.1", at: int = 0) -> socket.socket:
        """
        A connection from C{source}.
        """
        host, port = service.addresses[at].rsplit(":", 1)
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        sock = connected(family, (host.strip("[]"), int(port)), source)
        self.addCleanup(sock.close)
        return sock


class ListenerTests(SourceTests):
    """
    At our own ports.
    """

    def greeted(self, sock: socket.socket) -> bool:
        """
        Whether C{sock} gets the greeting of smtp.
        """
        return readLine(sock).startswith(b"220 ")

    async def inThread(self, run: Callable[[], Any]) -> Any:
        """
        What C{run} returns, in a thread.
        """
        return await deferToThread(run)

    async def test_whoIsDeniedGetsNothing(self) -> None:
        """
        No greeting, no record, one line of the log; whoever is not is served with STARTTLS and TLS.
        """
        service = self.limited(deny=networks("127.0.0.2"))

        def run() -> None:
            for _ in range(5):
                self.assertTrue(isRefused(self.dial, service, "127.0.0.2"))
            sock = self.dial(service)
            smtpClient(sock)
            network = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
            network.handshake()
            accepted, _ = self.backend.accept()
            accepted.sendall(b"220 backend\r\n")
            self.addCleanup(accepted.close)

        await self.inThread(run)
        self.assertEqual(self.observer.refusals, [("127.0.0.2", "denied")] * 5)
        self.assertEqual(self.observer.records, 1)
        (line,) = self.lines
        self.assertEqual((line["source"], line["outcome"]), ("127.0.0.2", "denied"))
        self.assertEqual(self.ends, [])

    async def test_withAnyAllowedOthersGetNothing(self) -> None:
        """
        Of IPv6 too; with TLS from the first byte.
        """
        service = self.limited(
            "none",
            allow=networks("127.0.0.0/30", "2001:db8::/32"),
            local=(TCPAddress("127.0.0.1", 0), TCPAddress("::1", 0)),
        )

        def run() -> None:
            self.assertTrue(isRefused(self.dial, service, "127.0.0.4"))
            self.assertTrue(isRefused(self.dial, service, "::1", 1))
            sock = self.dial(service, "127.0.0.3")
            Encrypted(sock, self.context(True), True, SERVER.domain.encode()).handshake()

        await self.inThread(run)
        self.assertEqual(self.observer.refusals, [("127.0.0.4", "denied"), ("::1", "denied")])

    async def test_IPv4AtASocketOfIPv6IsIPv4(self) -> None:
        """
        As at [::], which serves both.
        """
        service = self.limited(deny=networks("127.0.0.2"), local=(TCPAddress("::", 0),))
        target = "127.0.0.1", int(service.addresses[0].rsplit(":", 1)[1])

        def run() -> None:
            self.assertTrue(isRefused(connected, socket.AF_INET, target, "127.0.0.2"))
            with connected(socket.AF_INET, target, "127.0.0.3") as sock:
                self.assertTrue(self.greeted(sock))

        await self.inThread(run)

    async def test_aSourceHasSoManyConnections(self) -> None:
        """
        Verified ones count as well; another source has its own, and room is made by going.
        """
        service = self.limited("none", limits=Limits(perAddress=2))

        def verified(source: str) -> Encrypted:
            sock = self.dial(service, source)
            network = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
            network.handshake()
            return network

        one = await self.inThread(lambda: verified("127.0.0.1"))
        await self.inThread(lambda: self.dial(service))
        self.assertTrue(await self.inThread(lambda: isRefused(self.dial, service)))
        await self.inThread(lambda: verified("127.0.0.2"))
        one.close()
        await wait(lambda: len(service.factory.pairs) == 2)  # type: ignore[union-attr]
        await self.inThread(lambda: verified("127.0.0.1"))
        self.assertEqual(self.observer.refusals, [("127.0.0.1", "per-address")])

    async def test_aSourceComesSoOften(self) -> None:
        """
        And not faster; what has gone counts too.
        """
        service = self.limited(limits=Limits(ratePerAddress=0.001))

        def run() -> None:
            sock = self.dial(service)
            self.assertTrue(self.greeted(sock))
            sock.close()
            self.assertTrue(isRefused(self.dial, service))
            self.assertTrue(self.greeted(self.dial(service, "127.0.0.2")))

        await self.inThread(run)
        self.assertEqual(self.observer.refusals, [("127.0.0.1", "rate")])

    async def test_aNetworkIsOneSource(self) -> None:
        """
        As wide as the prefix says.
        """
        service = self.limited(limits=Limits(perAddress=1, ipv4Prefix=24))

        def run() -> None:
            self.assertTrue(self.greeted(self.dial(service, "127.0.0.1")))
            self.assertTrue(isRefused(self.dial, service, "127.0.0.200"))
            self.assertTrue(self.greeted(self.dial(service, "127.0.1.1")))

        await self.inThread(run)
        (line,) = self.lines
        self.assertEqual(line["source"], "127.0.0.0/24")

    async def test_aReloadCountsAtOnceAndForgetsNothing(self) -> None:
        """
        New lists are for new connections, those there are go on and are counted.
        """
        service = self.limited(limits=Limits(perAddress=1))
        factory = service.factory
        assert factory is not None
        sock = await self.inThread(lambda: self.dial(service, "127.0.0.2"))
        await self.inThread(lambda: self.greeted(sock))
        factory.renew(
            self.described(
                "127.0.0.1:1",
                "smtp",
                deny=networks("127.0.0.3"),
                limits=Limits(perAddress=1),
            )
        )

        def run() -> None:
            self.assertTrue(isRefused(self.dial, service, "127.0.0.2"))
            self.assertTrue(isRefused(self.dial, service, "127.0.0.3"))
            sock.sendall(b"STARTTLS\r\n")
            self.assertTrue(readLine(sock).startswith(b"220 "))

        await self.inThread(run)
        self.assertEqual(
            self.observer.refusals, [("127.0.0.2", "per-address"), ("127.0.0.3", "denied")]
        )
        factory.renew(self.described("127.0.0.1:1", "smtp"))
        self.assertTrue(await self.inThread(lambda: self.greeted(self.dial(service, "127.0.0.3"))))

    async def test_aReloadFillsNoBucket(self) -> None:
        """
        Who came too fast goes on to be too fast.
        """
        limits = Limits(ratePerAddress=0.001)
        service = self.limited(limits=limits)
        self.assertTrue(await self.inThread(lambda: self.greeted(self.dial(service))))
        assert service.factory is not None
        service.factory.renew(self.described("127.0.0.1:1", "smtp", limits=limits))
        self.assertTrue(await self.inThread(lambda: isRefused(self.dial, service)))

    async def test_aReloadThatBeginsToLimitCountsThoseThatAreThere(self) -> None:
        """
        Though they came when nobody counted.
        """
        service = self.limited()
        factory = service.factory
        assert factory is not None
        sock = await self.inThread(lambda: self.dial(service))
        self.assertTrue(await self.inThread(lambda: self.greeted(sock)))
        factory.renew(self.described("127.0.0.1:1", "smtp", limits=Limits(perAddress=1)))
        self.assertTrue(await self.inThread(lambda: isRefused(self.dial, service)))
        sock.close()
        await wait(lambda: not factory.pairs)
        self.assertTrue(await self.inThread(lambda: self.greeted(self.dial(service))))

    async def test_aFloodOfTheRefusedKeepsNobodyOut(self) -> None:
        """
        A good connection is served while they come; they leave neither descriptors nor pairs, nor
        sockets of the system that wait.
        """
        service = self.limited("none", deny=networks("127.0.0.2"))
        sockets = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

        def run() -> None:
            for each in range(300):
                self.assertTrue(isRefused(self.dial, service, "127.0.0.2"))
                if each == 100:
                    network = Encrypted(
                        self.dial(service), self.context(True), True, SERVER.domain.encode()
                    )
                    network.handshake()
                    accepted, _ = self.backend.accept()
                    plain = Plain(accepted)
                    self.addCleanup(plain.close)
                    self.good = network, plain
                elif each > 100:
                    network, plain = self.good
                    network.write(b"x")
                    self.assertEqual(plain.read(1), b"x")

        await self.inThread(run)
        self.assertEqual(self.observer.refusals, [("127.0.0.2", "denied")] * 300)
        self.assertEqual(self.observer.records, 1)
        self.assertEqual(len(self.lines), 1)
        port = int(service.addresses[0].rsplit(":", 1)[1])
        waiting = [
            row
            for row in Path("/proc/self/net/tcp").read_text().splitlines()[1:]
            if row.split()[1].endswith(f":{port:04X}") and row.split()[2].startswith("0200007F")
        ]
        self.assertEqual(waiting, [])
        # Those of the good connection: both ends of its legs.
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), sockets + 8)  # noqa: PTH208

    async def test_UNIXSocketsAreNotForTheLists(self) -> None:
        """
        They are one source.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        path = os.path.relpath(directory / "s")
        self.limited(
            deny=networks("0.0.0.0/0", "::/0"),
            local=(UNIXAddress(path),),
            limits=Limits(perAddress=1),
        )

        def dial() -> socket.socket:
            sock = connected(socket.AF_UNIX, path)
            self.addCleanup(sock.close)
            return sock

        def run() -> None:
            self.assertTrue(self.greeted(dial()))
            self.assertIn(Plain(dial()).read(1), (b"", Reset))

        await self.inThread(run)
        self.assertEqual(self.observer.refusals, [("", "per-address")])


class EndpointTests(SourceTests):
    """
    At the stock endpoints of Twisted.
    """

    async def listen(self, endpoint: Any, **settings: Any) -> tuple[ProxyFactory, Any]:
        """
        A factory, and the port that is its own.
        """
        backend = f"127.0.0.1:{self.backend.getsockname()[1]}"
        factory = ProxyFactory(
            self.described(backend, "smtp", **settings), reactor, (self.observer,)
        )
        port = await endpoint.listen(factory)
        self.addCleanup(factory.deadlines.clear)
        self.addCleanup(factory.stop)
        self.addCleanup(port.stopListening)
        return factory, port

    async def test_whoIsDeniedGetsNothing(self) -> None:
        """
        And has no record.
        """
        factory, port = await self.listen(
            TCP4ServerEndpoint(reactor, 0), deny=networks("127.0.0.2")
        )

        def dial(source: str) -> socket.socket:
            sock = connected(socket.AF_INET, ("127.0.0.1", port.getHost().port), source)
            self.addCleanup(sock.close)
            return sock

        def run() -> None:
            self.assertTrue(isRefused(dial, "127.0.0.2"))
            self.assertTrue(readLine(dial("127.0.0.3")).startswith(b"220 "))

        await deferToThread(run)
        self.assertEqual(self.observer.refusals, [("127.0.0.2", "denied")])
        self.assertEqual((self.observer.records, len(factory.pairs)), (1, 1))

    async def test_whoFindsNoPlaceIsNotCounted(self) -> None:
        """
        At such endpoints those for whom there is no place are turned away: they leave nothing.
        """
        factory, port = await self.listen(
            TCP4ServerEndpoint(reactor, 0), limits=Limits(connections=1, perAddress=2)
        )

        def run() -> None:
            where = ("127.0.0.1", port.getHost().port)
            with socket.create_connection(where, PATIENCE) as sock:
                readLine(sock)
                for _ in range(3):
                    self.assertTrue(isRefused(connected, socket.AF_INET, where))

        await deferToThread(run)
        await wait(lambda: not factory.pairs)
        self.assertEqual(self.observer.refusals, [])
        assert factory._sources is not None
        self.assertEqual(factory._sources._open, {})

    async def test_whoIsGoneAtOnceIsNotCounted(self) -> None:
        """
        Where its socket can be used no more.
        """

        def tune(*_: object) -> None:
            raise OSError(errno.EINVAL, "it is gone")

        self.patch(stock, "tune", tune)
        factory, port = await self.listen(
            TCP4ServerEndpoint(reactor, 0), limits=Limits(perAddress=2)
        )
        where = ("127.0.0.1", port.getHost().port)
        for _ in range(3):
            self.assertTrue(await deferToThread(isRefused, connected, socket.AF_INET, where))
        self.assertEqual(self.observer.refusals, [])
        assert factory._sources is not None
        self.assertEqual(factory._sources._open, {})

    async def test_UNIXSocketsAreOneSource(self) -> None:
        """
        There too.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        path = os.path.relpath(directory / "s")
        await self.listen(UNIXServerEndpoint(reactor, path), limits=Limits(perAddress=1))

        def dial() -> socket.socket:
            sock = connected(socket.AF_UNIX, path)
            self.addCleanup(sock.close)
            return sock

        def run() -> None:
            self.assertTrue(readLine(dial()).startswith(b"220 "))
            self.assertIn(Plain(dial()).read(1), (b"", Reset))

        await deferToThread(run)
        self.assertEqual(self.observer.refusals, [("", "per-address")])


class PrefixTests(SynchronousTestCase):
    """
    Where there are many addresses of IPv6.
    """

    def test_sourcesOfIPv6(self) -> None:
        """
        See L{tests.prefixes}.
        """
        try:
            subprocess.run([*_ISOLATED, _NETWORK], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SkipTest("there can be no network of our own here (unshare(1))") from error
        directory = Path(self.mktemp()).resolve()
        trial = f"-m twisted.trial --temp-directory {shlex.quote(str(directory))} tests.prefixes"
        done = subprocess.run(
            [*_ISOLATED, f"{_NETWORK} exec {shlex.quote(sys.executable)} {trial}"],
            cwd=Path(__file__).parents[1],
            check=False,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_WITH_TRIAL,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("PASSED (successes=3)", done.stdout)
