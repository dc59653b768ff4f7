"""
Tests for L{tlstunnel.program.tunnels}: several tunnels in this process, renewed all at once or not
at all, with real sockets.
"""

from __future__ import annotations

import gc
import socket
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread

from tests.keyfiles import noteExaminations, withRSA
from tests.loopback import PATIENCE, SERVER, Encrypted, Plain, TunnelTests, reactor, wait
from tlstunnel.address import TCPAddress
from tlstunnel.identity.names import Identity
from tlstunnel.net import spreading
from tlstunnel.net.claim import Claim
from tlstunnel.net.listen import Bound, bindAll
from tlstunnel.net.port import ListeningPort
from tlstunnel.net.spreading import REST_SECONDS
from tlstunnel.program.announcements import Announcements
from tlstunnel.program.plan import Plan, Planned, Refused
from tlstunnel.program.service import TunnelService
from tlstunnel.program.tunnels import Tunnels
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.servedname import ServedName


class TunnelsTests(TunnelTests):
    """
    L{Tunnels}.
    """

    def setUp(self) -> None:
        """
        Two backends, two sockets, and nothing served yet.
        """
        super().setUp()
        self.backends = [self.listen(), self.listen()]
        self.bound = bindAll(Claim([TCPAddress("127.0.0.1", 0)] * 2))
        for each in self.bound:
            self.addCleanup(each.close)
        self.tunnels = Tunnels(reactor)
        self.tunnels.startService()

        def stop() -> Any:
            stopped = self.tunnels.stopService()
            self.tunnels.hurry()
            return stopped

        self.addCleanup(stop)

    def listen(self) -> socket.socket:
        """
        A backend.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        return backend

    def named(self, name: str, backend: int = 0, **settings: Any) -> Tunnel:
        """
        A tunnel before a backend.
        """
        port = self.backends[backend].getsockname()[1]
        return self.described(f"127.0.0.1:{port}", name=name, **settings)

    async def serve(self, *tunnels: tuple[Tunnel, Bound], drain: float = 0) -> None:
        """
        Serve C{tunnels} from now on.
        """
        planned = tuple(Planned(tunnel, (bound,)) for tunnel, bound in tunnels)
        await self.tunnels.prepare(Plan(planned, drain))
        await self.tunnels.commit()

    def connect(self, bound: Bound, backend: int = 0) -> tuple[Encrypted, Plain]:
        """
        Connect through a tunnel, to a backend; to be called in a thread.
        """
        sock = socket.create_connection(bound.sock.getsockname(), PATIENCE)
        network = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
        network.handshake()
        accepted, _ = self.backends[backend].accept()
        accepted.settimeout(PATIENCE)
        plain = Plain(accepted)
        self.addCleanup(network.close)
        self.addCleanup(plain.close)
        return network, plain

    async def goesOn(self, pair: tuple[Encrypted, Plain]) -> None:
        """
        A connection works.
        """

        def work() -> None:
            network, plain = pair
            network.write(b"there")
            self.assertEqual(plain.read(5), b"there")
            plain.write(b"back")
            self.assertEqual(network.read(4), b"back")

        await deferToThread(work)

    async def test_connectionsGoOnAsTheyBeganAndNewOnesFollowTheNewState(self) -> None:
        """
        With another backend.
        """
        first, _ = self.bound
        await self.serve((self.named("a"), first))
        before = await deferToThread(self.connect, first)
        await self.serve((self.named("a", 1), first))
        after = await deferToThread(self.connect, first, 1)
        await self.goesOn(before)
        await self.goesOn(after)

    async def test_aNewStateIsTakenUpATunnelATurn(self) -> None:
        """
        A thousand of them hold up nobody; each accepts all the time, and the status waits.
        """
        self.patch(spreading, "WORK_SECONDS", 0.0)
        first, second = self.bound
        await self.serve((self.named("a"), first), (self.named("b"), second))
        after = self.named("a", 1), self.named("b", 1)
        planned = tuple(map(Planned, after, ((first,), (second,))))
        await self.tunnels.prepare(Plan(planned, isCounted=True))
        self.tunnels.commit()
        looking = Deferred.fromCoroutine(self.tunnels.look())
        while self.remotes != [1, 0]:
            self.assertEqual(self.remotes, [0, 0])
            await deferLater(reactor, 0)
        self.assertEqual(self.tunnels.services["b"].bound, [second])
        self.assertFalse(looking.called)
        seen = await looking
        self.assertEqual(self.remotes, [1, 1])
        port = self.backends[1].getsockname()[1]
        remote = [f"127.0.0.1:{port}"]
        self.assertEqual([each["remote"] for each in seen["tunnels"]], [remote, remote])

    @property
    def remotes(self) -> list[int]:
        """
        To which backend each tunnel leads.
        """
        ports = [each.getsockname()[1] for each in self.backends]
        described = [each.described for each in self.tunnels.services.values()]
        remotes = [each.remote[0] for each in described if isinstance(each, Tunnel)]
        return [ports.index(each.port) for each in remotes if isinstance(each, TCPAddress)]

    async def test_whatIsTakenUpDuringALookIsShownAsAWhole(self) -> None:
        """
        It begins anew.
        """
        first, second = self.bound
        before = [self.named("a"), self.named("b")]
        for isNew in (False, True):
            planned = tuple(map(Planned, before, ((first,), (second,))))
            await self.tunnels.prepare(Plan(planned, isCounted=True))
            if isNew:
                self.patch(spreading, "WORK_SECONDS", 0.0)
                looking = Deferred.fromCoroutine(self.tunnels.look())
            await self.tunnels.commit()
            before = [self.named("a", 1), self.named("c", 1)]
        seen = await looking
        port = self.backends[1].getsockname()[1]
        found = {each["name"]: each["remote"] for each in seen["tunnels"]}
        self.assertEqual(found, {name: [f"127.0.0.1:{port}"] for name in "ac"})
        self.assertEqual({each["state"] for each in seen["tunnels"]}, {"up"})

    async def test_anEndDuringItLeavesNoHalf(self) -> None:
        """
        What is left is taken up then, so that all of it ends.
        """
        self.patch(spreading, "WORK_SECONDS", 0.0)
        first, second = self.bound
        await self.serve((self.named("a"), first))
        planned = Planned(self.named("a", 1), (first,)), Planned(self.named("b", 1), (second,))
        await self.tunnels.prepare(Plan(planned))
        taken = self.tunnels.commit()
        self.assertFalse(taken.called)
        await self.tunnels.stopService()
        self.assertTrue(taken.called)
        self.assertEqual(self.remotes, [1, 1])
        self.assertEqual([each.bound for each in self.tunnels.services.values()], [[], []])

    async def test_oneThatFailsLeavesNoHalf(self) -> None:
        """
        It should not be; the others are served as they are described then.
        """
        first, second = self.bound
        await self.serve((self.named("a"), first), (self.named("b"), second))
        broken = self.tunnels.services["a"]

        def fail(*given: object) -> None:
            raise ZeroDivisionError

        for name in ("use", "acceptLast"):
            patched = self.patch(broken, name, fail)
            await self.serve((self.named("a", 1), first), (self.named("b", 1), second))
            patched.restore()
            self.assertEqual(self.remotes, [0, 1])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            await self.serve((self.named("a"), first), (self.named("b"), second))

    async def test_aSocketMovesToAnotherTunnelWithWhoeverWaits(self) -> None:
        """
        Both ways at once, and what waits in the queue is served by the new one.
        """
        first, second = self.bound
        await self.serve((self.named("a"), first), (self.named("b", 1), second))
        await self.serve((self.named("b", 1), first), (self.named("a"), second))
        await self.goesOn(await deferToThread(self.connect, first, 1))
        await self.goesOn(await deferToThread(self.connect, second, 0))

    async def test_whoGivesSocketsToTwoTunnelsKeepsTheOneThatItTakes(self) -> None:
        """
        One of the two comes before it, and the other one behind it.
        """
        first, second = self.bound
        (third,) = bindAll(Claim([TCPAddress("127.0.0.1", 0)]))
        giver = self.named("giver")
        await self.tunnels.prepare(Plan((Planned(giver, (first, second)),)))
        await self.tunnels.commit()
        await self.serve(
            (self.named("before"), first), (giver, third), (self.named("behind"), second)
        )
        for each in (first, second, third):
            await self.goesOn(await deferToThread(self.connect, each))

    async def test_whoHasConnectedToWhatIsGivenUpIsServed(self) -> None:
        """
        Also if nobody has accepted it yet: it would be reset with the socket.
        """
        first, second = self.bound
        await self.serve((self.named("a"), first))
        await self.tunnels.prepare(Plan((Planned(self.named("a", 1), (second,)),)))
        # Not in a thread: no turn of the reactor is between this and the commit.
        sock = socket.create_connection(first.sock.getsockname(), PATIENCE)
        self.addCleanup(sock.close)
        await self.tunnels.commit()
        first.close()
        network = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
        await deferToThread(network.handshake)
        accepted, _ = await deferToThread(self.backends[0].accept)
        self.addCleanup(accepted.close)

    async def test_whatIsGivenUpIsClosedInTheTurnOfItsTunnel(self) -> None:
        """
        Who connects later would be reset in the end, and may find us in another form of the
        address; only what somebody else has made stays open.
        """
        self.patch(spreading, "WORK_SECONDS", 0.0)
        first, second = self.bound
        inherited = Bound(self.listen(), isInherited=True)
        inherited.sock.setblocking(False)
        before = Planned(self.named("a"), (first, inherited)), Planned(self.named("b"), (second,))
        await self.tunnels.prepare(Plan(before))
        await self.tunnels.commit()
        (third,) = bindAll(Claim([TCPAddress("127.0.0.1", 0)]))
        after = Planned(self.named("a", 1), (third,)), Planned(self.named("b", 1), (second,))
        await self.tunnels.prepare(Plan(after))
        taken = self.tunnels.commit()
        while self.remotes != [1, 0]:
            self.assertEqual(self.remotes, [0, 0])
            await deferLater(reactor, 0)
        self.assertFalse(taken.called)
        self.assertEqual(first.sock.fileno(), -1)
        self.assertNotEqual(inherited.sock.fileno(), -1)
        await taken

    async def test_whoHasLetGoOfASocketDoesNotListenThereAgain(self) -> None:
        """
        Also if there is room again for one more connection before its own turn comes.
        """
        first, _ = self.bound
        await self.serve((self.named("a"), first))
        service = self.tunnels.services["a"]
        assert isinstance(service, TunnelService)
        assert service.factory is not None
        service.letGo()
        service.factory.listen()
        ports = [each for each in reactor.getReaders() if isinstance(each, ListeningPort)]
        self.assertNotIn(first, [each.bound for each in ports])

    async def test_aTunnelThatIsGoneDrains(self) -> None:
        """
        Its connections go on, also silent ones; nothing more is accepted.
        """
        first, second = self.bound
        await self.serve((self.named("a"), first), (self.named("b"), second))
        pair = await deferToThread(self.connect, first)
        await self.serve((self.named("b"), second))
        self.assertEqual(self.tunnels.tally(), {"tunnel": 1, "connection": 1})
        # Longer than a tunnel that stops would let it be silent.
        await deferLater(reactor, 0.5)
        await self.goesOn(pair)
        pair[0].end()
        pair[1].close()
        await wait(lambda: self.tunnels.tally()["connection"] == 0)

    async def test_notForever(self) -> None:
        """
        What is left after the limit is ended in order.
        """
        first, second = self.bound
        await self.serve((self.named("a"), first), (self.named("b"), second), drain=0.2)
        network, _ = await deferToThread(self.connect, first)
        await self.serve((self.named("b"), second), drain=0.2)
        self.assertTrue(await deferToThread(network.atEnd))
        self.assertEnded("stopped")

    async def test_theEndEndsThoseToo(self) -> None:
        """
        As far as they are silent.
        """
        first, second = self.bound
        await self.serve((self.named("a"), first), (self.named("b"), second))
        network, _ = await deferToThread(self.connect, first)
        await self.serve((self.named("b"), second))
        stopped = self.tunnels.stopService()
        self.tunnels.hurry()
        self.assertTrue(await deferToThread(network.atEnd))
        await stopped

    async def test_whatMovesEndsAtTheLimit(self) -> None:
        """
        When the process is to end.
        """
        first, _ = self.bound
        await self.serve((self.named("a"), first), drain=0.3)
        network, plain = await deferToThread(self.connect, first)

        def moveUntilTheEnd() -> None:
            said: object = b"x"
            while said == b"x":
                network.write(b"x")
                said = plain.read(1)

        stopped = self.tunnels.stopService()
        await deferToThread(moveUntilTheEnd)
        await stopped
        self.assertEnded("stopped")

    async def test_oneThatCannotBeServedChangesNothing(self) -> None:
        """
        All that are wrong are named.
        """
        first, second = self.bound
        await self.serve((self.named("a"), first))
        nobody = Identity.parse("nobody.example.org")
        wrong = [self.named(name, localID=nobody) for name in ("b", "c")]
        refused: Any = await self.assertFailure(
            self.tunnels.prepare(
                Plan(
                    (
                        Planned(self.named("a", 1), (first,)),
                        *(Planned(each, (second,)) for each in wrong),
                    )
                )
            ),
            Refused,
        )
        self.assertEqual([name for name, _ in refused.refusals], ["b", "c"])
        self.tunnels.abort()
        await self.goesOn(await deferToThread(self.connect, first, 0))
        self.assertRaises(Refused, self.tunnels.prepareNow, Plan((Planned(wrong[0], ()),)))

    async def test_aKeyThatIsReadFirstIsExaminedInAThread(self) -> None:
        """
        A reload holds up nobody by that; the next one knows.
        """
        examined = noteExaminations(self)
        other = Identity.parse("other.example.org")
        for who in (SERVER, other):
            withRSA(self.pool, who)
        tunnel = self.named("a", names=(ServedName("other.example.org"),))
        for _ in range(2):
            await self.serve((tunnel, self.bound[0]))
            self.assertEqual(len(examined), 2)
        self.assertNotIn(threading.main_thread(), examined)
        await self.goesOn(await deferToThread(self.connect, self.bound[0], 0))

    async def test_whatTakesLongLeavesConnectionsTheirTime(self) -> None:
        """
        Between two steps, each a turn of its own, there is a rest as long as the step, up to a
        limit.
        """
        clock = Clock()
        tunnels = Tunnels(clock)
        began: list[float] = []

        def steps() -> Iterator[None]:
            for seconds in (0.0, 0.01, 5.0, 1.0):
                began.append(clock.seconds())
                clock.rightNow += seconds
                yield

        done = Deferred.fromCoroutine(tunnels._oneByOne(steps()))
        while not done.called:
            (call,) = clock.getDelayedCalls()
            clock.advance(call.getTime() - clock.seconds())
        self.assertEqual(began, [0.0, 0.0, 0.02, 5.02 + REST_SECONDS])

    async def test_whatIsToBeSaidIsSaidOnce(self) -> None:
        """
        Also where one reload follows the other: of a tunnel that has changed meanwhile only what
        holds now.
        """
        await self.tunnels.whenUp()
        said: list[str] = []

        def remember(announcements: Announcements, ports: object) -> None:
            tunnel = announcements._factory.tunnel
            said.append(f"{tunnel.name} {tunnel.remote[0]}")

        self.patch(Announcements, "announce", remember)
        first, second = self.bound
        a, b = self.named("a"), self.named("b")
        for _ in range(3):
            planned = (Planned(a, (first,)), Planned(b, (second,)))
            self.tunnels.prepareNow(Plan(planned))
            taken = self.tunnels.commit()
            b = self.named("b", 1)
        await taken
        await wait(lambda: self.tunnels._telling is None)
        where = ["{}:{}".format(*each.getsockname()) for each in self.backends]
        self.assertEqual(said, [f"a {where[0]}", f"b {where[1]}"])

    async def test_whatIsReplacedIsGoneAtOnce(self) -> None:
        """
        The garbage collector, which looks at old things hardly ever, is not needed for it.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        first, second = self.bound
        await self.serve((self.named("a"), first), (self.named("b"), second))
        services = [self.tunnels.services[name] for name in ("a", "b")]
        factories = [each.factory for each in services if isinstance(each, TunnelService)]
        assert factories[0] is not None and factories[1] is not None
        prepared = weakref.ref(factories[0].prepared)
        gone: list[Any] = [weakref.ref(services[1]), weakref.ref(factories[1])]
        del services, factories
        await self.serve((self.named("a", quiet=True), first))
        await deferLater(reactor, 0)
        self.assertIsNone(prepared())
        self.assertEqual([each() for each in gone], [None, None])


class SpreadTunnelsTests(TunnelsTests):
    """
    The same where each tunnel takes a turn of its own.
    """

    def setUp(self) -> None:
        """
        There is no time for more.
        """
        super().setUp()
        self.patch(spreading, "WORK_SECONDS", 0.0)
