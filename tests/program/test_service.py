"""
Tests for L{tlstunnel.program.service}: tunnels as services, alone, beside each other, and in a
program that is not ours.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import PATIENCE, SERVER, Encrypted, TunnelTests, wait
from tests.users import closed
from tlstunnel.address import TCPAddress, UNIXAddress, parseListening
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import LIFETIME, authorityOf, createIdentity, keep
from tlstunnel.identity.names import Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.net.access import SocketAccess
from tlstunnel.program import announcements
from tlstunnel.program.service import TunnelService
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.limits import Limits


def belongingsOfTheProcess() -> dict[str, Any]:
    """
    What a process has once.
    """
    return {
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
        "thresholds": gc.get_threshold(),
        "frozen": gc.get_freeze_count(),
        "hook": sys.excepthook,
        "directory": os.getcwd(),  # noqa: PTH109
        "user": os.getresuid(),
    }


class ServiceTests(TunnelTests):
    """
    L{TunnelService}, with real sockets.
    """

    def setUp(self) -> None:
        """
        A backend, and what is logged.
        """
        super().setUp()
        self.backend = self.listen()
        self.said: list[str] = []

        def observe(event: LogEvent) -> None:
            self.said.append(str(event.get("log_format")))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def listen(self) -> socket.socket:
        """
        Another backend.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        return backend

    def start(self, **settings: Any) -> TunnelService:
        """
        Start a tunnel before the backend.
        """
        return self.tunnel(f"127.0.0.1:{self.backend.getsockname()[1]}", **settings)

    def connect(self, service: TunnelService) -> Encrypted:
        """
        One connection that is verified; to be called in a thread.
        """
        host, port = service.addresses[0].rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), PATIENCE)
        network = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
        network.handshake()
        return network

    def serialOf(self, service: TunnelService) -> int:
        """
        Which certificate a client sees; to be called in a thread.
        """
        network = self.connect(service)
        certificate = network.tls.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        network.close()
        self.backend.accept()[0].close()
        return certificate.serial_number

    async def test_whatTheProcessHasStaysAsItIs(self) -> None:
        """
        In a program that is not ours a tunnel takes nothing: no signals, no limits, no hooks.
        """
        # The reactor takes SIGCHLD as it starts.
        await deferToThread(list)
        before = belongingsOfTheProcess()
        service = self.start()
        await deferToThread(self.serialOf, service)
        service.reload()
        self.assertEqual(belongingsOfTheProcess(), before)
        await service.stopService()
        self.assertEqual(belongingsOfTheProcess(), before)

    async def test_eachReloadsForItself(self) -> None:
        """
        Of two tunnels with the same identity one takes a new certificate up.
        """
        one, other = self.start(), self.start()
        before = await deferToThread(self.serialOf, one)
        createIdentity(self.pool, SERVER, replace=True)
        one.reload()
        self.assertNotEqual(await deferToThread(self.serialOf, one), before)
        self.assertEqual(await deferToThread(self.serialOf, other), before)

    async def test_eachStopsForItself(self) -> None:
        """
        The other one goes on to serve, those connected and new ones.
        """
        one, other = self.start(), self.start()
        network = await deferToThread(self.connect, other)
        plain, _ = await deferToThread(self.backend.accept)
        self.addCleanup(plain.close)
        self.addCleanup(network.close)
        address = one.addresses[0]
        await one.stopService()
        self.assertRaises(
            ConnectionRefusedError,
            socket.create_connection,
            ("127.0.0.1", int(address.rpartition(":")[2])),
        )

        def goesOn() -> None:
            network.write(b"still here")
            self.assertEqual(plain.recv(100), b"still here")
            self.serialOf(other)

        await deferToThread(goesOn)

    async def test_whatAReloadRenewsIsWhatEverybodySees(self) -> None:
        """
        There is one description of the tunnel.
        """
        service = self.start()
        assert service.factory is not None
        before = service.tunnel
        service.reload()
        self.assertIs(service.tunnel, service.factory.tunnel)
        self.assertIs(service.tunnel, service.factory.prepared.tunnel)
        self.assertIsNot(service.tunnel, before)
        self.assertIn("reloaded identities and trust", self.said)

    async def test_aFailedReloadChangesNothing(self) -> None:
        """
        It says so, and everybody still sees the same.
        """
        service = self.start()
        assert service.factory is not None
        before = service.tunnel, service.factory.prepared
        (self.pool.directoryOf(SERVER) / "privkey.pem").chmod(0o644)
        self.assertIn("privkey.pem", self.successResultOf(service.reload()))
        self.assertIs(service.tunnel, before[0])
        self.assertIs(service.factory.prepared, before[1])
        self.assertIn("not reloaded, the old state stays: {detail}", self.said)
        await deferToThread(self.serialOf, service)

    async def test_newConnectionsFollowARenewedTunnel(self) -> None:
        """
        To another remote address, and within other limits.
        """
        service = self.start()
        assert service.factory is not None
        another = self.listen()
        remote = TCPAddress(*another.getsockname())
        limits = Limits(close=5.0, connections=1)
        service.factory.renew(replace(service.tunnel, remote=(remote,), limits=limits))
        network = await deferToThread(self.connect, service)
        self.addCleanup(network.close)
        plain, _ = await deferToThread(another.accept)
        self.addCleanup(plain.close)
        await wait(lambda: any("as many connections" in each for each in self.said))

    async def test_itCanBeStartedAgain(self) -> None:
        """
        It listens as before, with what is there by then.
        """
        service = self.start()
        before = await deferToThread(self.serialOf, service)
        await service.stopService()
        self.assertEqual(service.addresses, [])
        createIdentity(self.pool, SERVER, replace=True)
        service.startService()
        self.assertNotEqual(await deferToThread(self.serialOf, service), before)

    async def test_whatCannotBeBoundIsNotHalfBound(self) -> None:
        """
        The error says why; nothing else listens, and it can be tried again.
        """
        service = self.start()
        taken = service.addresses[0]
        occupied = parseListening(taken)
        local = (*service.tunnel.local, occupied)
        other = TunnelService(replace(service.tunnel, local=local), service._reactor)
        error = self.assertRaises(ConfigurationError, other.privilegedStartService)
        self.assertIn(f"--local {taken}: Address already in use", str(error))
        self.assertEqual(other.addresses, [])
        await service.stopService()
        other.privilegedStartService()
        self.assertEqual(len(other.addresses), 2)
        await other.stopService()

    async def test_whatCannotBeBoundLeavesNoDescriptor(self) -> None:
        """
        However often it is tried.
        """
        service = self.start()
        remote = (UNIXAddress("/tmp/backend"),)
        local = (parseListening(service.addresses[0]),)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = len(list(Path("/dev/fd").iterdir()))
        for _ in range(3):
            other = TunnelService(
                replace(service.tunnel, local=local, remote=remote), service._reactor
            )
            self.assertRaises(ConfigurationError, other.privilegedStartService)
        self.assertEqual(len(list(Path("/dev/fd").iterdir())), before)

    async def test_whatCannotBeSearchedAtAReloadChangesNothing(self) -> None:
        """
        The log says so, in one line.
        """
        service = self.start()
        before = await deferToThread(self.serialOf, service)
        createIdentity(self.pool, SERVER, replace=True)
        with closed(self.pool.path):
            self.assertIn("cannot be read", self.successResultOf(service.reload()))
        self.assertIn("not reloaded, the old state stays: {detail}", self.said)
        self.assertEqual(await deferToThread(self.serialOf, service), before)

    async def test_aUNIXSocketIsForWhomItIsSaidToBe(self) -> None:
        """
        Whatever the umask.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        path = directory / "s"
        local = (parseListening(f"unix:{os.path.relpath(path)}"),)
        self.start(local=local, access=SocketAccess(mode=0o604))
        self.assertEqual(path.stat().st_mode & 0o777, 0o604)

    async def test_whatNeverStartedNeedsNoEnd(self) -> None:
        """
        Neither a reload, nor to be stopped.
        """
        service = TunnelService(self.start().tunnel, None)
        service.reload()
        service.hurry()
        self.successResultOf(service.stopService())


class DatesTests(SynchronousTestCase):
    """
    What is said of how long our certificate is good, and of whose word counts.
    """

    def setUp(self) -> None:
        """
        A pool whose certificate is good for 31 days and an hour, and a day to begin with.
        """
        self.pool = Pool(Path(self.mktemp()), asked=False)
        self.today = datetime.now(UTC)
        begun = self.today - LIFETIME + timedelta(days=31, hours=1)
        made = authorityOf(self.pool).issue(SERVER, begun)
        keep(self.pool, made)
        self.reactor = MemoryReactorClock()
        self.reactor.advance(self.today.timestamp())
        self.said: list[str] = []

        def observe(event: LogEvent) -> None:
            self.said.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def start(self, **settings: Any) -> TunnelService:
        """
        Start a tunnel.
        """
        defaults: dict[str, Any] = {
            "mode": Mode.SERVER,
            "local": (parseListening("127.0.0.1:0"),),
            "remote": (TCPAddress("127.0.0.1", 1),),
            "dialect": find("none"),
            "localID": SERVER,
            "pool": self.pool,
        }
        service = TunnelService(Tunnel(**(defaults | settings)), self.reactor)
        service.startService()
        self.addCleanup(service.stopService)
        for hook, arguments, words in self.reactor.whenRunningHooks:
            hook(*arguments, **words)
        return service

    def warnings(self) -> list[str]:
        """
        What was said of the certificate since the last time.
        """
        said = [each for each in self.said if "the certificate" in each]
        self.said.clear()
        return said

    def test_onceADay(self) -> None:
        """
        30, 7 and 1 days before its end, and every day after that; at a reload in any case.
        """
        service = self.start()
        self.assertEqual(self.warnings(), [])
        spoken = []
        for day in range(1, 35):
            self.reactor.advance(86400)
            spoken += [day] * len(self.warnings())
        self.assertEqual(spoken, [2, 25, 31, 32, 33, 34])
        service.reload()
        (sentence,) = self.warnings()
        self.assertIn(f"{SERVER}/fullchain.pem: the certificate expired on", sentence)

    def test_alsoOnTheDayAfterAFault(self) -> None:
        """
        Which is no reason to say nothing ever again.
        """
        self.start()

        def fail(*about: object) -> None:
            raise ZeroDivisionError

        broken = self.patch(announcements, "noticesOf", fail)
        self.assertRaises(ZeroDivisionError, self.reactor.advance, 86400)
        broken.restore()
        self.reactor.advance(86400)
        self.assertEqual(len(self.warnings()), 1)

    def test_atTheStart(self) -> None:
        """
        Whatever time is left.
        """
        self.reactor.advance(5 * 86400)
        self.start()
        (sentence,) = self.warnings()
        self.assertIn("expires in 26 days", sentence)

    def test_notYetValid(self) -> None:
        """
        As where a clock is wrong.
        """
        self.reactor.rightNow -= 400 * 86400
        self.start()
        (sentence,) = self.warnings()
        self.assertIn("is not valid before", sentence)

    def test_whoseWordCounts(self) -> None:
        """
        The line that says that a tunnel is up names the anchors in force.
        """
        ca = f"{self.pool.path}/ca/cert.pem (the pool's own CA)"
        both = f"{ca}, the system's store"
        client = {"mode": Mode.CLIENT, "localID": None}
        for settings, says in (
            ({**client, "remoteID": SERVER}, f"expecting {SERVER} by the anchors of {both}"),
            (
                {**client, "remoteID": SERVER, "trust": ("system",)},
                "by the anchors of --trust system",
            ),
            ({"remoteID": Selector.parse("@.")}, f"expecting @. by the anchors of {ca}"),
            ({}, "serving all clients"),
        ):
            self.start(**settings)
            (line,) = (each for each in self.said if "tunnel up" in each)
            self.assertTrue(line.endswith(says), line)
            self.reactor.whenRunningHooks.clear()
            self.said.clear()

    def test_anchorsThatArePassedOver(self) -> None:
        """
        Each has a line, at the start and at a reload.
        """
        trust = self.pool.path / "anchors.pem"
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        trust.write_bytes(broken + (self.pool.path / "ca" / "cert.pem").read_bytes())
        service = self.start(remoteID=Selector.parse("@."), trust=(str(trust),))
        service.reload()
        said = [each for each in self.said if "passed over" in each]
        self.assertEqual(len(said), 2)
        self.assertTrue(said[0].startswith(f"{trust}: certificate 1 is passed over"))
