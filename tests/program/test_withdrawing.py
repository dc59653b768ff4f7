"""
Tests for what a withdrawal brings about where all else stays as it is, in L{tlstunnel.program}.
"""

from __future__ import annotations

import socket

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from tests.loopback import PATIENCE, SERVER, Encrypted, TunnelTests, reactor, wait
from tests.ports import freePort
from tests.program.test_fleet import Source
from tests.tunnel.test_withdrawal import giveBack, takeAway
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.program.fleet import Fleet
from tlstunnel.program.tunnels import Tunnels

OTHER = Identity.parse("other.example.org")


class WithdrawingTests(TunnelTests):
    """
    Two tunnels, C{a} and C{b}.
    """

    def setUp(self) -> None:
        """
        Start them.
        """
        super().setUp()
        self.source = Source()
        self.said: list[str] = []

        def observe(event: LogEvent) -> None:
            self.said.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]
        createIdentity(self.pool, OTHER)
        self.place = TCPAddress("127.0.0.1", freePort())
        self.source.tunnels = [
            self.described("127.0.0.1:1", name="a", local=(self.place,), closesWithdrawn=True),
            self.described(
                "127.0.0.1:1",
                name="b",
                local=(TCPAddress("127.0.0.1", freePort()),),
                localID=OTHER,
            ),
        ]
        self.fleet = Fleet(self.source, self.source.read(), reactor, Tunnels(reactor))
        self.fleet.privilegedStartService()
        self.fleet.startService()
        self.addCleanup(self.fleet.stopService)

    async def dial(self) -> Encrypted:
        """
        Somebody who has connected to C{a}.
        """
        before = self.fleet.tally()["connection"]
        dialled = socket.create_connection((self.place.host, self.place.port), PATIENCE)
        self.addCleanup(dialled.close)
        await wait(lambda: self.fleet.tally()["connection"] > before)
        return Encrypted(dialled, self.context(True), True, SERVER.domain.encode())

    async def assertRefused(self, client: Encrypted | None = None) -> None:
        """
        Nobody comes to TLS.
        """
        client = client or await self.dial()
        with self.assertRaises(SSL.Error) as caught:
            await deferToThread(client.handshake)
        self.assertIn("unrecognized name", str(caught.exception))

    async def test_aReloadThatFailsKeepsNobodyWhoIsWithdrawn(self) -> None:
        """
        Neither what another tunnel lacks, nor a file that cannot be read, nor both.
        """
        good = self.pool.path / str(OTHER) / "fullchain.pem"
        other = good.read_bytes()
        for content, error in (
            (b"broken", None),
            (other, ConfigurationError("the file", "is odd", "")),
        ):
            await deferToThread((await self.dial()).handshake)
            certificate = takeAway(self.pool, SERVER)
            good.write_bytes(content)
            self.source.error = error
            self.assertNotEqual(await self.fleet.reload(), "")
            await wait(lambda: any(f"{SERVER} is withdrawn" in each for each in self.said))
            await self.assertRefused()
            giveBack(self.pool, SERVER, certificate)
            good.write_bytes(other)
            self.source.error = None
            self.assertEqual(await self.fleet.reload(), "")
            self.said.clear()

    async def test_whoComesFromATunnelThatIsGoneIsNotServedEither(self) -> None:
        """
        Nor by one whose identity is another one now: the connection was accepted before.
        """
        for tunnels in (self.source.tunnels[1:], self.source.tunnels):
            client = await self.dial()
            before = self.source.tunnels
            if len(tunnels) > 1:
                tunnels = [
                    self.described("127.0.0.1:1", name="a", local=(self.place,), localID=OTHER),
                    before[1],
                ]
            self.source.tunnels = tunnels
            self.assertEqual(await self.fleet.reload(), "")
            certificate = takeAway(self.pool, SERVER)
            self.assertEqual(await self.fleet.reload(), "")
            await self.assertRefused(client)
            giveBack(self.pool, SERVER, certificate)
            self.source.tunnels = before
            self.assertEqual(await self.fleet.reload(), "")

    async def test_aReloadThatTakesItsTimeKeepsNobody(self) -> None:
        """
        One that waits for others, as for a resolver that does not answer.
        """
        await deferToThread((await self.dial()).handshake)
        never: Deferred[None] = Deferred()

        def look(*_: object) -> Deferred[dict[str, object]]:
            looked: Deferred[dict[str, object]] = Deferred()
            never.addCallback(lambda _: looked.callback({}))
            return looked

        self.patch(self.fleet._watch, "look", look)
        first = self.fleet.reload()
        takeAway(self.pool, SERVER)
        second = self.fleet.reload()
        await wait(lambda: any(f"{SERVER} is withdrawn" in each for each in self.said))
        await self.assertRefused()
        never.callback(None)
        self.assertEqual([await first, await second], ["", ""])
