"""
Tests for programs that do what they should not: it harms nobody else, and nothing is left of it.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.task import deferLater

from tests.endpoints import test_life
from tests.endpoints.stage import CLIENT, SERVER, EndpointTests, HalfTalker, Made, Talker, reactor
from tests.loopback import wait
from tlstunnel.address import TCPAddress
from tlstunnel.endpoints.client import ClientConnections, InnerClientPair, TunnelClientEndpoint
from tlstunnel.errors import ConnectFailed, IdentityRefused, LimitReached
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.limits import Limits


class ProtocolTests(EndpointTests):
    """
    Protocols.
    """

    async def test_aProtocolThatWasPutInItsPlaceHearsTheRest(self) -> None:
        """
        From the next piece on; the end, too.
        """
        for kind in (Talker, HalfTalker):
            heir = kind()

            class Heir(Talker):
                def dataReceived(self, data: bytes) -> None:
                    super().dataReceived(data)
                    transport: Any = self.transport
                    transport.protocol = heir  # noqa: B023
                    heir.makeConnection(transport)  # noqa: B023

            near, far = await self.both(Heir)
            far.transport.write(b"x" * 300000)
            far.transport.loseConnection()
            await heir.lost
            self.assertEqual(len(near.heard) + len(heir.heard), 300000)
            self.assertGreater(len(heir.heard), 0)
            self.assertIsNone(near.reason)
            self.assertEqual("read lost" in heir.calls, kind is HalfTalker)

    async def test_whateverAProtocolRaisesIsItsEnd(self) -> None:
        """
        Also what is no C{Exception}: it is lost with that, as with Twisted's own transports.
        """
        for kind in (SystemExit, asyncio.CancelledError, GeneratorExit):

            class Raiser(Talker):
                def dataReceived(self, data: bytes) -> None:
                    raise kind("no")  # noqa: B023

            near, far = await self.both(Talker, Raiser)
            near.transport.write(b"hello")
            await far.lost
            assert far.reason.check(kind)
            await near.lost
            self.assertEqual(len(self.flushLoggedErrors(kind)), 1)

    async def test_nothingWaitsForTheGarbageCollector(self) -> None:
        """
        Of protocols that raise, nor of peers that are gone while they are spoken to.
        """

        class Raiser(Talker):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        class Chatterer(Talker):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.go()

            def go(self) -> None:
                if self.reason is None:
                    transport: Any = self.transport
                    transport.write(b"x" * 10000)
                    reactor.callLater(0, self.go)

        count = test_life.MemoryTests.count
        for kind in (Raiser, Chatterer):
            servers = Made(kind)
            endpoint = self.client(await self.server(servers))
            gc.collect()
            gc.disable()
            self.addCleanup(gc.enable)
            before = count(self)  # type: ignore[arg-type]
            for _ in range(10):
                near: Any = await endpoint.connect(Made())
                near.transport.write(b"x")
                await deferLater(reactor, 0.01)
                near.transport.abortConnection()
                await near.lost
                del near
                self.flushLoggedErrors(ZeroDivisionError)
            await wait(lambda: not self.endpoint.connections[0].pairs)
            servers.made.clear()
            await deferLater(reactor, 0.05)
            self.flushLoggedErrors(ZeroDivisionError)
            self.assertEqual(count(self) - before, 0, kind)  # type: ignore[arg-type]
            gc.enable()


class FactoryTests(EndpointTests):
    """
    Factories, and those who connect.
    """

    async def test_aFactoryThatDoesNotStopHoldsUpNothing(self) -> None:
        """
        Whoever waits for its connection is told, and nothing is left in the reactor.
        """
        port = await self.server(Made())
        for remoteID in (SERVER, CLIENT):
            factory = Made()
            factory.stopFactory = lambda: 1 / 0  # type: ignore[assignment,method-assign]
            endpoint = self.client(port, remoteID=remoteID)
            connecting: Any = endpoint.connect(factory)
            if remoteID is CLIENT:
                await self.assertFailure(connecting, IdentityRefused)
            else:
                near = await connecting
                near.transport.loseConnection()
                await near.lost
            await deferLater(reactor, 0.01)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            assert endpoint.connections is not None
            self.assertFalse(endpoint.connections.isBusy)
            self.assertIsNone(endpoint.connections._trigger)

    async def test_whatFailsAtItsBeginningTakesNoPlace(self) -> None:
        """
        By a fault of ours, which the program hears of.
        """
        factory = Made()
        endpoint = self.client(await self.server(Made()), limits=Limits(connections=1))

        def fail(*arguments: object) -> None:
            raise ZeroDivisionError

        broken = self.patch(InnerClientPair, "__init__", fail)
        await self.assertFailure(endpoint.connect(factory), ZeroDivisionError)
        self.assertFalse(factory.running)
        broken.restore()
        await endpoint.connect(factory)

    async def test_whoTriesAgainAtOnceLetsTheReactorGoOn(self) -> None:
        """
        Also where it is known at once that nobody listens, or that there are too many; and may be
        cancelled in between.
        """
        port = await self.server(Made())
        full = self.client(port, limits=Limits(connections=1))
        near: Any = await full.connect(Made())
        await self.port.stopListening()
        endpoint = self.client(port)

        async def tryAgain(endpoint: TunnelClientEndpoint) -> int:
            done: list[None] = []
            reactor.callLater(0.05, done.append, None)
            tries = 0
            while not done and tries < 10000:
                tries += 1
                try:
                    await endpoint.connect(Made())
                except (ConnectFailed, LimitReached):
                    continue
            return tries

        for each in (endpoint, full):
            self.assertLess(await ensureDeferred(tryAgain(each)), 10000)
        near.transport.loseConnection()
        connecting = endpoint.connect(Made())
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await deferLater(reactor, 0)

    async def test_whoConnectsWhileTheReactorStopsDoesNotHoldItUp(self) -> None:
        """
        Each connection that is ended then may lead to another one, which nobody ends.
        """
        port = await self.server(Made())
        added: list[Any] = []

        class Stopping:
            """
            The reactor, but for what it does when it stops.
            """

            def __getattr__(self, name: str) -> Any:
                return getattr(reactor, name)

            def addSystemEventTrigger(self, *what: Any) -> Any:
                added.append(what[2])
                return what

            def removeSystemEventTrigger(self, what: Any) -> None:
                added.remove(what[2])

        tunnel = Tunnel(
            Mode.CLIENT,
            (),
            (TCPAddress("127.0.0.1", port),),
            find("none"),
            remoteID=SERVER,
            pool=self.pool,
            quiet=True,
        )
        connections = ClientConnections(tunnel, Stopping())
        again: list[Any] = []
        connecting = connections.connect(Made(), None)
        connecting.addErrback(lambda _: again.append(connections.connect(Made(), None)))
        added.pop()()
        self.assertEqual(len(again), 1)
        self.assertEqual(added, [])
        near: Any = await again[0]
        near.transport.loseConnection()
        await near.lost
        await connections.stop()


class StringTests(EndpointTests):
    """
    Those who write strings.
    """

    def test_noKeyIsOneOfOurs(self) -> None:
        """
        Whatever our functions call what they are given.
        """
        for key in ("reactor", "self", "words", "given", "form"):
            for parse, string in (
                (clientFromString, "tlstunnel:a.test:1"),
                (serverFromString, "starttls:none:tcp\\:0"),
            ):
                error = self.assertRaises(ValueError, parse, reactor, f"{string}:{key}=x")
                self.assertIn(f"no key {key}=", str(error))
