"""
Tests for what endpoints do in the long run: certificates that are renewed, and reactors that stop.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from tests.endpoints.programs import ENVIRONMENT, PATIENCE
from tests.endpoints.stage import CLIENT, SERVER, EndpointTests, Made, reactor
from tests.loopback import wait
from tlstunnel.endpoints.client import Connecting
from tlstunnel.endpoints.connections import FRESH_SECONDS
from tlstunnel.endpoints.leg import InnerLeg
from tlstunnel.endpoints.transport import Transport
from tlstunnel.errors import ConfigurationError, IdentityRefused
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.relay import Relay

_STOPS = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.protocol import Factory, Protocol

class Talker(Protocol):
    def connectionMade(self):
        self.transport.write(b"x" * 65536)
    def connectionLost(self, reason):
        print(self.factory.who, "lost", type(reason.value.__cause__).__name__)

def factory(who):
    made = Factory.forProtocol(Talker)
    made.who, made.noisy = who, False
    return made

async def main():
    pool = f"pool={sys.argv[1]}"
    port = await serverFromString(
        reactor, "starttls:none:tcp\\\\:0\\\\:interface=127.0.0.1:local=server.example.org:" + pool
    ).listen(factory("server"))
    string = f"tlstunnel:127.0.0.1:{port.getHost().port}:remote=server.example.org:{pool}"
    for _ in range(2):
        await clientFromString(reactor, string).connect(factory("client"))
    reactor.callLater(0.2, reactor.stop)

reactor.callWhenRunning(lambda: ensureDeferred(main()))
reactor.run()
print("stopped")
"""


class StopTests(EndpointTests):
    """
    A reactor that stops.
    """

    def test_protocolsHearOfIt(self) -> None:
        """
        All of them, before it has stopped.
        """
        done = subprocess.run(
            [sys.executable, "-c", _STOPS, str(self.pool.path)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.stderr, "")
        lines = done.stdout.splitlines()
        self.assertEqual(lines.pop(), "stopped")
        self.assertEqual(
            sorted(lines), ["client lost Stopped"] * 2 + ["server lost Stopped"] * 2, done.stdout
        )


class MemoryTests(EndpointTests):
    """
    What is left of connections.
    """

    def count(self) -> int:
        """
        How many there are of what each connection has.
        """
        kinds = (Transport, InnerLeg, Connecting, Pair, Relay)
        return sum(isinstance(each, kinds) for each in gc.get_objects())

    async def test_nothingWaitsForTheGarbageCollector(self) -> None:
        """
        Of those that were served, refused, cut or cancelled.
        """
        servers = Made()
        port = await self.server(servers)
        endpoint = self.client(port)
        stranger = self.client(port, remoteID=CLIENT)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = self.count()
        for number in range(10):
            near: Any = await endpoint.connect(Made())
            if number % 2:
                near.transport.loseConnection()
            else:
                near.transport.abortConnection()
            await near.lost
            del near
            await self.assertFailure(stranger.connect(Made()), IdentityRefused)
            connecting = endpoint.connect(Made())
            connecting.cancel()
            await self.assertFailure(connecting, CancelledError)
            del connecting
        await wait(lambda: not self.endpoint.connections[0].pairs)
        servers.made.clear()
        await deferLater(reactor, 0.05)
        self.assertEqual(self.count() - before, 0)


class RenewalTests(EndpointTests):
    """
    Certificates that do not last as long as the program.
    """

    async def serial(self, port: int) -> int:
        """
        The number of the certificate that a server shows.
        """
        near: Any = await self.client(port).connect(Made())
        number: int = near.transport.getPeerCertificate().get_serial_number()
        near.transport.loseConnection()
        await near.lost
        return number

    async def test_aServerTakesUpItsNewCertificate(self) -> None:
        """
        After an hour by itself, or when it is told to.
        """
        port = await self.server(Made())
        before = await self.serial(port)
        createIdentity(self.pool, SERVER, replace=True)
        self.assertEqual(await self.serial(port), before)
        self.endpoint.connections[0].lastRead -= FRESH_SECONDS
        after = await self.serial(port)
        self.assertNotEqual(after, before)
        createIdentity(self.pool, SERVER, replace=True)
        self.endpoint.renew()
        self.assertNotIn(await self.serial(port), (before, after))

    async def test_whatCannotBeReadAgainStays(self) -> None:
        """
        And it is said.
        """
        port = await self.server(Made())
        before = await self.serial(port)
        (self.pool.path / str(SERVER) / "privkey.pem").unlink()
        self.assertRaises(ConfigurationError, self.endpoint.renew)
        self.endpoint.connections[0].lastRead -= FRESH_SECONDS
        self.assertEqual(await self.serial(port), before)

    async def test_aClientTakesUpItsNewTrust(self) -> None:
        """
        Likewise.
        """
        port = await self.server(Made())
        endpoint = self.client(port)
        near: Any = await endpoint.connect(Made())
        assert endpoint.connections is not None
        prepared = endpoint.connections.prepared
        endpoint.connections.lastRead -= FRESH_SECONDS
        await endpoint.connect(Made())
        self.assertIsNot(endpoint.connections.prepared, prepared)
        near.transport.loseConnection()
