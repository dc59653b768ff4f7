"""
Tests for L{tlstunnel.poolservice.service} and L{tlstunnel.poolservice.inventory}: the service with
its sockets; what is spoken at them is tested elsewhere.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import PATIENCE, SERVER
from tests.poolservice.stage import HandOverTests, Program, reactor
from tlstunnel.address import Address, InheritedAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import LIFETIME, createIdentity
from tlstunnel.identity.pool import NOWHERE, Pool
from tlstunnel.local.quotas import Quotas
from tlstunnel.net.access import SocketAccess
from tlstunnel.poolservice.description import NAME, PoolDescription
from tlstunnel.poolservice.handovers import HandOvers
from tlstunnel.poolservice.inventory import Inventory
from tlstunnel.poolservice.refusals import Leaving
from tlstunnel.poolservice.service import PoolService
from tlstunnel.tunnel import quiet


class Door:
    """
    Lets programs in, and does nothing with them.
    """

    every: list[Door] = []

    def __init__(self, handOvers: HandOvers, quotas: Quotas) -> None:
        self.quotas = quotas
        self.socks: list[socket.socket] = []
        self.came: Deferred[None] = Deferred()
        Door.every.append(self)

    def accepted(self, sock: socket.socket, peer: Address) -> None:
        """One is there."""
        self.socks.append(sock)
        came, self.came = self.came, Deferred()
        came.callback(None)

    def close(self) -> None:
        """Close them."""
        for each in self.socks:
            each.close()


DOORS: dict[int, tuple[str, Any]] = {
    socket.SOCK_SEQPACKET: ("programs", Door),
    socket.SOCK_STREAM: ("others", Door),
}


class ServiceTests(HandOverTests):
    """
    L{PoolService}.
    """

    def setUp(self) -> None:
        """A folder for the sockets, and what is logged."""
        super().setUp()
        # The paths of sockets have to be short.
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.said: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("tunnel") == NAME:
                self.said.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]
        self.patch(Door, "every", [])

    def path(self, name: str) -> UNIXAddress:
        """A socket."""
        return UNIXAddress(str(self.folder / name))

    def described(self, **settings: Any) -> PoolDescription:
        """A service with both sockets."""
        return PoolDescription(
            self.pool,
            (self.path("native"),),
            (self.path("v2"),),
            SocketAccess(mode=0o666),
            **settings,
        )

    def service(self, described: PoolDescription | None = None) -> PoolService:
        """One that is started."""
        service = PoolService(described or self.described(), reactor, doors=DOORS)
        service.startService()

        def stop() -> Any:
            stopped = service.stopService()
            service.hurry()
            return stopped

        self.addCleanup(stop)
        return service

    def connect(self, name: str, kind: int) -> socket.socket:
        """A program."""
        program = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(program.close)
        program.settimeout(PATIENCE)
        program.connect(str(self.folder / name))
        return program

    async def test_eachProtocolHasASocketForEverybody(self) -> None:
        """
        What is accepted goes to whoever speaks it, in the form of the socket.
        """
        self.service()
        native, v2 = Door.every
        for door, name, kind in (
            (native, "native", socket.SOCK_SEQPACKET),
            (v2, "v2", socket.SOCK_STREAM),
        ):
            self.assertEqual((self.folder / name).stat().st_mode & 0o777, 0o666)
            came = door.came
            self.connect(name, kind)
            await came.addTimeout(PATIENCE, reactor)
            (sock,) = door.socks
            self.assertEqual(sock.type, kind)
            self.assertFalse(sock.getblocking())

    def test_ifOneSocketCannotBeHadThereIsNone(self) -> None:
        """
        The error names the setting.
        """
        (self.folder / "v2").write_text("")
        service = PoolService(self.described(), reactor, doors=DOORS)
        error = self.assertRaises(ConfigurationError, service.startService)
        self.assertIn(f"--v2-socket {self.folder}/v2: Address already in use", str(error))
        self.assertFalse((self.folder / "native").exists())

    def test_twoOfThemRunBesideEachOther(self) -> None:
        """
        With sockets of their own.
        """
        first = self.service()
        second = self.service(replace(self.described(), local=(self.path("other"),), v2=()))
        self.assertEqual(first.addresses, [f"{self.folder}/native", f"{self.folder}/v2"])
        self.assertEqual(second.addresses, [f"{self.folder}/other"])

    async def test_aNewStateComesInTwoSteps(self) -> None:
        """
        What is prepared changes nothing yet; what is used does, and the sockets stay.
        """
        service = self.service()
        bound = [port.bound for port in service._ports]
        prepared = service.prepare(self.described(perUser=3))
        self.assertEqual(service.described.perUser, 100)
        service.use(prepared, bound)
        self.assertEqual(service.described.perUser, 3)
        self.assertEqual({door.quotas.perUser for door in Door.every}, {3})
        self.assertEqual(len({id(door.quotas) for door in Door.every}), 1)
        came = Door.every[0].came
        self.connect("native", socket.SOCK_SEQPACKET)
        await came.addTimeout(PATIENCE, reactor)

    def test_whatCannotBePreparedChangesNothing(self) -> None:
        """
        As where the pool is gone.
        """
        service = self.service()
        gone = replace(self.described(), pool=Pool(Path("/nonexistent")))
        self.assertRaises(ConfigurationError, service.prepare, gone)
        self.assertEqual(service.described.pool, self.pool)

    async def test_stoppedNothingIsLeft(self) -> None:
        """
        Neither the sockets, nor programs that have handed over nothing.
        """
        service = self.service()
        came = Door.every[0].came
        program = self.connect("native", socket.SOCK_SEQPACKET)
        await came.addTimeout(PATIENCE, reactor)
        await service.stopService()
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertEqual(program.recv(1), b"")

    async def begun(self, service: PoolService) -> tuple[Program, socket.socket]:
        """
        A connection that was handed over, with its relay up.
        """
        assert service.handOvers is not None
        ours, theirs = self.pair()
        program = Program(service.handOvers)
        context = self.context(False)

        def serve() -> None:
            from OpenSSL import SSL

            theirs.settimeout(None)
            self.peer = SSL.Connection(context, theirs)
            self.peer.set_accept_state()
            self.peer.do_handshake()

        handshake = deferToThread(serve)
        service.handOvers.begin(program, self.wanted(True, isNobody=True), ours)
        await handshake
        await program.met
        await deferLater(reactor, 0.05)
        return program, theirs

    async def test_whileItDrainsNothingNewIsTaken(self) -> None:
        """
        What there is goes on, and it waits for that.
        """
        service = self.service()
        program, theirs = await self.begun(service)
        drained = service.drain(0)
        self.assertFalse(drained.called)
        assert service.handOvers is not None
        ours, _ = self.pair()
        self.addCleanup(ours.close)
        wanted = self.wanted(True, isNobody=True)
        self.assertRaises(
            Leaving, service.handOvers.begin, Program(service.handOvers), wanted, ours
        )
        program.sock.send(b"still there")
        self.assertEqual(await deferToThread(self.peer.recv, 100), b"still there")
        program.sock.close()
        theirs.close()
        await drained.addTimeout(PATIENCE, reactor)

    async def test_whatDoesNotMoveIsClosedAtAStop(self) -> None:
        """
        After a while, as with tunnels.
        """
        self.patch(quiet, "QUIET_SECONDS", 0.1)
        service = self.service()
        program, _ = await self.begun(service)
        await service.stopService().addTimeout(PATIENCE, reactor)
        self.assertEqual(service.connections, 0)
        error = await program.over
        self.assertEqual(error and error.reason, "stopped")

    async def test_hurriedItClosesAllAtOnce(self) -> None:
        """
        A second signal does that.
        """
        service = self.service()
        await self.begun(service)
        self.assertEqual(service.connections, 1)
        stopped = service.stopService()
        service.hurry()
        await stopped.addTimeout(PATIENCE, reactor)

    async def test_theLogSaysWhereItListensAndWhatIsWrong(self) -> None:
        """
        With the pool, once it is up.
        """
        (self.pool.path / str(SERVER) / "privkey.pem").chmod(0o644)
        service = self.service()
        await service.whenUp()
        await deferLater(reactor, 0)
        said = "\n".join(self.said)
        self.assertIn(f"{SERVER} cannot be used: ", said)
        self.assertIn(f"pool service up: {self.folder}/native for programs, pool ", said)
        self.assertIn("with 1 identity", said)
        self.assertIn(f"pool service up: {self.folder}/v2 for others", said)

    def test_certificatesThatExpireAreSaidOnceADay(self) -> None:
        """
        Of what was said at the start not again.
        """
        clock = MemoryReactorClock()
        clock.advance((datetime.now(UTC) + LIFETIME - timedelta(days=29)).timestamp())
        service = PoolService(self.described(), clock, doors=DOORS)
        service.privilegedStartService()
        service.accept()
        self.addCleanup(service.stopService)
        service.announce()
        expiring = [each for each in self.said if "expires in 28 days" in each]
        self.assertEqual(len(expiring), 2)
        del self.said[:]
        clock.advance(86400)
        self.assertEqual(self.said, [])
        for _ in range(21):
            clock.advance(86400)
        self.assertTrue(any("expires in 6 days" in each for each in self.said))

    def test_theyAreSaidOnTheDayAfterAFaultToo(self) -> None:
        """
        Which is no reason to say nothing ever again.
        """
        clock = MemoryReactorClock()
        clock.advance((datetime.now(UTC) + LIFETIME - timedelta(days=40)).timestamp())
        service = PoolService(self.described(), clock, doors=DOORS)
        service.privilegedStartService()
        service.accept()
        self.addCleanup(service.stopService)
        service.announce()

        def fail(*when: object) -> None:
            raise ZeroDivisionError

        broken = self.patch(service.inventory, "warnings", fail)
        self.assertRaises(ZeroDivisionError, clock.advance, 86400)
        broken.restore()
        for _ in range(20):
            clock.advance(86400)
        self.assertTrue(any("expires in" in each for each in self.said))


class InventoryTests(SynchronousTestCase):
    """
    L{Inventory}.
    """

    def read(self, pool: Pool) -> Inventory:
        """Read it."""
        inventory = Inventory(PoolDescription(pool))
        for _ in inventory.steps():
            pass
        return inventory

    def made(self) -> Pool:
        """A pool with one identity."""
        pool = Pool(Path(self.mktemp()).resolve())
        createIdentity(pool, SERVER)
        return pool

    def test_thereHasToBeAPool(self) -> None:
        """
        Also where nobody has named one.
        """
        for asked in (True, False):
            missing = Pool(Path("/nonexistent"), asked)
            error = self.assertRaises(ConfigurationError, self.read, missing)
            self.assertIn("--pool: there is no directory /nonexistent; run 'tlstunnel", str(error))
        error = self.assertRaises(ConfigurationError, self.read, Pool(NOWHERE, False))
        self.assertIn("--pool: is needed", str(error))

    def test_aPoolThatEverybodyCanChangeIsNone(self) -> None:
        """
        Whoever does so is whom he likes; of a group there is a notice.
        """
        pool = self.made()
        pool.path.chmod(0o777)
        error = self.assertRaises(ConfigurationError, self.read, pool)
        self.assertIn("can be changed by everybody", str(error))
        pool.path.chmod(0o770)
        (notice,) = self.read(pool).notices
        self.assertIn("can be changed by its group", notice)

    def test_whatCannotBeUsedKeepsNobodyElseFromIt(self) -> None:
        """
        It is said.
        """
        pool = self.made()
        (pool.path / "broken.example").mkdir()
        (pool.path / "broken.example" / "fullchain.pem").write_text("x")
        inventory = self.read(pool)
        self.assertEqual(list(inventory.certificates), [SERVER])
        (notice,) = inventory.notices
        self.assertTrue(notice.startswith("broken.example cannot be used: "), notice)

    def test_aPlaceThatOthersCanTakeIsSaid(self) -> None:
        """
        Programs hand their connections to whoever listens there.
        """
        folder = Path(self.mktemp()).resolve()
        folder.mkdir(mode=0o755)
        described = PoolDescription(
            self.made(),
            (UNIXAddress(f"{folder}/a"),),
            (UNIXAddress(f"{folder}/b"), InheritedAddress("pool"), UNIXAddress("/not/there")),
        )

        def notices() -> list[str]:
            inventory = Inventory(described)
            list(inventory.steps())
            return inventory.notices

        self.assertEqual(notices(), [])
        folder.chmod(0o1777)
        place = f"everybody can write to {folder}, and so listen there in our place; "
        found = notices()
        self.assertEqual([place in each for each in found], [True, True])
        self.assertTrue(found[1].startswith(f"{folder}/b: "))

    def test_doubtsAboutRulesAreSaid(self) -> None:
        """
        Before anybody needs them.
        """
        pool = self.made()
        (pool.path / "disclose").mkdir()
        (pool.path / "disclose" / ".example.org.txt").write_text("nobody@example.org\n")
        (notice,) = self.read(pool).notices
        self.assertIn("nobody@example.org is not in the pool", notice)
