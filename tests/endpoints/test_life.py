"""
Tests for what endpoints do in the long run: certificates that are renewed, and reactors that stop.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from tests.endpoints.programs import ENVIRONMENT, PATIENCE
from tests.endpoints.stage import SERVER, EndpointTests, Made
from tlstunnel.endpoints.connections import FRESH_SECONDS
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity

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
        self.endpoint._all[0]._read -= FRESH_SECONDS
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
        self.endpoint._all[0]._read -= FRESH_SECONDS
        self.assertEqual(await self.serial(port), before)

    async def test_aClientTakesUpItsNewTrust(self) -> None:
        """
        Likewise.
        """
        port = await self.server(Made())
        endpoint = self.client(port)
        near: Any = await endpoint.connect(Made())
        assert endpoint._connections is not None
        prepared = endpoint._connections.prepared
        endpoint._connections._read -= FRESH_SECONDS
        await endpoint.connect(Made())
        self.assertIsNot(endpoint._connections.prepared, prepared)
        near.transport.loseConnection()
