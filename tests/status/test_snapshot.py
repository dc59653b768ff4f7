"""
Tests for L{tlstunnel.status.snapshot}, of tunnels with real connections.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
from datetime import UTC, datetime, timedelta
from time import time
from unittest.mock import Mock, patch

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import SERVER, Encrypted, Plain, wait
from tests.revoked import makeList, pem
from tests.status.stage import StatusTests, Tunnels, dial
from tests.status.test_counts import recordOf
from tlstunnel.errors import Refused
from tlstunnel.identity.issuer import LIFETIME, authorityOf, keep
from tlstunnel.identity.names import Selector
from tlstunnel.net.networks import Networks, parseNetwork
from tlstunnel.program.service import TunnelService
from tlstunnel.status.facts import Snapshot
from tlstunnel.status.ledger import Ledger
from tlstunnel.status.snapshot import CONNECTIONS_SHOWN, shownOf, take
from tlstunnel.tunnel.limits import Limits


class TakeTests(StatusTests):
    """
    L{take}.
    """

    def setUp(self) -> None:
        """
        A backend.
        """
        super().setUp()
        self.backend = self.listen()

    def take(self) -> Snapshot:
        """
        Look at this process.
        """
        return take(self.ledger, self.tunnels, 3)

    async def open(self, service: TunnelService, isKnown: bool = False) -> tuple[Encrypted, Plain]:
        """
        A connection through a tunnel.
        """

        def both() -> tuple[Encrypted, Plain]:
            client = self.connect(service, isKnown=isKnown)
            return client, Plain(self.backend.accept()[0])

        client, server = await deferToThread(both)
        self.addCleanup(client.close)
        self.addCleanup(server.close)
        return client, server

    async def test_hasAllThatIsKnownOfAConnection(self) -> None:
        """
        Who it is, what TLS it has, and where it goes.
        """
        service = self.before(self.backend, remoteID=Selector.parse("@example.org"))
        client, _ = await self.open(service, isKnown=True)
        (found,) = self.take()["connections"]
        host, port = client.sock.getsockname()
        self.assertEqual(found["peer"], f"{host}:{port}")
        self.assertEqual(found["backend"], f"127.0.0.1:{self.backend.getsockname()[1]}")
        self.assertEqual(found["identity"], "client@example.org")
        self.assertEqual(found["version"], "TLSv1.3")
        self.assertEqual(found["sni"], SERVER.domain)
        self.assertEqual(found["stage"], "relaying")
        self.assertEqual(found["worker"], 3)
        self.assertTrue(found["suite"] and found["group"])
        self.assertTrue(0 <= found["age"] < 60)

    async def test_bytesAreThoseUpToNow(self) -> None:
        """
        Of connections that are open; and nothing is lost from the sum when they end.
        """
        client, server = await self.open(self.before(self.backend))

        def talk() -> None:
            client.write(b"x" * 3000)
            server.read(3000)
            server.write(b"y" * 5000)
            client.read(5000)

        await deferToThread(talk)
        snapshot = self.take()
        for facts in (snapshot["tunnels"][0], snapshot["connections"][0]):
            self.assertEqual((facts["to_network"], facts["to_plain"]), (5000, 3000))

        def end() -> None:
            for each in (client, server):
                each.end()
                each.close()

        await deferToThread(end)
        await wait(lambda: bool(self.ends))
        snapshot = self.take()
        self.assertEqual(snapshot["connections"], [])
        facts = snapshot["tunnels"][0]
        self.assertEqual((facts["to_network"], facts["to_plain"]), (5000, 3000))
        self.assertEqual(facts["outcomes"], {"clean": 1})
        self.assertEqual(facts["open"], 0)

    async def test_whoIsRefusedIsCountedAlsoAfterAReload(self) -> None:
        """
        For where it comes from.
        """
        everybody = Networks.of(map(parseNetwork, ("0.0.0.0/0", "::/0")))
        service = self.before(self.backend, deny=everybody)

        def refused() -> None:
            with contextlib.suppress(ConnectionResetError):
                dial(service).close()

        for count in 1, 2:
            await deferToThread(refused)
            await wait(lambda: self.take()["tunnels"][0]["refused"]["denied"] >= count)  # noqa: B023
            (facts,) = self.take()["tunnels"]
            self.assertEqual(facts["refused"], {"denied": count, "per-address": 0, "rate": 0})
            self.assertEqual((facts["connections"], facts["outcomes"]), (0, {"clean": 0}))
            self.assertEqual(self.successResultOf(service.reload()), "")

    async def test_aHandshakeCountsOnceWhileItsConnectionIsOpenAndAfterwards(self) -> None:
        """
        It took as long in both.
        """
        client, server = await self.open(self.before(self.backend))
        opened = self.take()["tunnels"][0]["handshake"]
        self.assertEqual(sum(opened["counts"]), 1)
        self.assertGreater(opened["seconds"], 0.0)

        def end() -> None:
            for each in (client, server):
                each.end()
                each.close()

        await deferToThread(end)
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.take()["tunnels"][0]["handshake"], opened)

    async def test_aFailureHasItsDetailAndItsHint(self) -> None:
        """
        As the log has them.
        """
        service = self.before(self.backend)

        def speakHTTP() -> None:
            with dial(service) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                sock.recv(1000)

        await deferToThread(speakHTTP)
        await wait(lambda: bool(self.ends))
        (found,) = self.take()["failures"]
        (logged,) = self.ends
        self.assertEqual(found["outcome"], logged["outcome"])
        self.assertEqual(found["detail"], logged["detail"])
        self.assertEqual(found["hint"], logged["hint"])
        self.assertTrue(found["hint"])
        self.assertEqual(found["stage"], "handshaking")

    async def test_whatAPeerSaysIsQuotedAndBounded(self) -> None:
        """
        Bytes that are no text, and many of them.
        """
        service = self.before(self.backend, dialect="smtp")

        def speak() -> None:
            with dial(service) as sock:
                sock.recv(1000)
                sock.sendall(b"\xff\x00\x1b[2J<script>" * 40 + b"\r\n" + b"A" * 100_000)
                try:
                    while sock.recv(1000):
                        pass
                except ConnectionError:
                    pass

        await deferToThread(speak)
        await wait(lambda: bool(self.ends))
        (found,) = self.take()["failures"]
        self.assertTrue(found["detail"].isprintable() and found["detail"].isascii())
        self.assertLessEqual(len(found["detail"]), 500)

    async def test_theNameThatAPeerAsksForIsQuotedAndBounded(self) -> None:
        """
        Whatever bytes there are in it.
        """
        service = self.before(self.backend, anyName=True)
        name = b"\x1b[2J\xff<b>" + b"a" * 240
        client = await deferToThread(self.connect, service, name)
        self.addCleanup(client.close)
        (found,) = self.take()["connections"]
        assert found["sni"] is not None
        self.assertTrue(found["sni"].startswith('"\\x1b[2J\\xff<b>aaa'), found["sni"])
        self.assertLessEqual(found["sni"].count("a"), 200)

    async def test_aTunnelHasWhatItIs(self) -> None:
        """
        With the port that the system chose, and whom it expects.
        """
        service = self.before(
            self.backend, name="mail", dialect="smtp", remoteID=Selector.parse("@example.org")
        )
        (found,) = self.take()["tunnels"]
        self.assertEqual(found["name"], "mail")
        self.assertEqual((found["mode"], found["dialect"]), ("server", "smtp"))
        self.assertEqual(found["local"], service.addresses)
        self.assertEqual(found["expected"], "@example.org")
        self.assertEqual(found["state"], "up")

    async def test_aTunnelThatStopsDrains(self) -> None:
        """
        As long as it has connections; then it is down.
        """
        service = self.before(self.backend)
        await self.open(service)
        stopped = service.stopService()
        self.assertEqual(self.take()["tunnels"][0]["state"], "draining")
        service.hurry()
        await stopped
        self.assertEqual(self.take()["tunnels"][0]["state"], "down")

    async def test_aTunnelIsFullAtItsLimit(self) -> None:
        """
        And up again below it.
        """
        service = self.before(self.backend, limits=Limits(connections=1, unverified=1))
        client, _ = await self.open(service)
        self.assertEqual(self.take()["tunnels"][0]["state"], "full")
        client.sock.shutdown(socket.SHUT_RDWR)
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.take()["tunnels"][0]["state"], "up")

    async def test_anIdentityIsThatOfNewConnections(self) -> None:
        """
        A certificate that is taken up is seen.
        """
        service = self.before(self.backend)
        begun = datetime.now(UTC) - LIFETIME + timedelta(days=5)
        (before,) = self.take()["tunnels"][0]["identities"]
        self.assertFalse(before["is_due"])
        keep(self.pool, authorityOf(self.pool).issue(SERVER, begun), replace=True)
        service.reload()
        (after,) = self.take()["tunnels"][0]["identities"]
        self.assertEqual(after["identity"], str(SERVER))
        self.assertTrue(after["is_due"])
        self.assertLess(after["not_after"], before["not_after"])

    async def test_listsAreThoseOfNewConnections(self) -> None:
        """
        With their ends; those of a tunnel that anybody may use count for nobody.
        """
        (self.pool.path / "trust").mkdir(exist_ok=True)
        (self.pool.path / "trust" / "any.crl").write_bytes(pem(makeList()))
        self.before(self.backend)
        self.assertEqual(self.take()["tunnels"][0]["revocation_lists"], [])
        self.before(self.backend, name="closed", remoteID=Selector.parse("@."))
        (closed,) = [each for each in self.take()["tunnels"] if each["name"] == "closed"]
        (found,) = closed["revocation_lists"]
        self.assertEqual(found["issuer"], '"CN=Root"')
        self.assertGreater(found["next_update"], time())

    async def test_nothingSecretIsInIt(self) -> None:
        """
        No key, and no path of one.
        """
        await self.open(self.before(self.backend))
        text = json.dumps(self.take())
        self.assertNotIn("PRIVATE", text)
        self.assertNotIn(str(self.pool.path), text)

    def test_theProcessIsThisOne(self) -> None:
        """
        With what the system tells of it.
        """
        self.tunnels.lost = 7
        # What other tests have left is not to be closed in between.
        gc.collect()
        facts = self.take()["process"]
        self.assertEqual(facts["log_lines_dropped"], 7)
        self.assertGreater(facts["cpu_seconds"], 0)
        self.assertGreater(facts["resident_bytes"] or 0, 1_000_000)
        self.assertEqual(facts["open_files"], len(os.listdir("/proc/self/fd")) - 1)  # noqa: PTH208

    def test_anOlderSystemCountsDescriptorsToo(self) -> None:
        """
        There a directory has no size, and is listed.
        """
        gc.collect()
        known = self.take()["process"]["open_files"]
        with patch("tlstunnel.status.snapshot.os.stat", return_value=Mock(st_size=0)):
            self.assertEqual(self.take()["process"]["open_files"], known)


class ShownTests(SynchronousTestCase):
    """
    L{shownOf}, of more connections than are shown.
    """

    def test_theNewestAndTheOldestAreShown(self) -> None:
        """
        Of all tunnels together, the newest first.
        """
        clock = Clock()
        ledger = Ledger(clock)
        records = []
        for number in range(3 * CONNECTIONS_SHOWN):
            clock.advance(1)
            records.append(recordOf(ledger.observer("ab"[number % 2]), clock))
        half = CONNECTIONS_SHOWN // 2
        expected = [*reversed(records[-half:]), *reversed(records[:half])]
        self.assertEqual(shownOf(ledger), expected)

    def test_fewAreAllShown(self) -> None:
        """
        Each of them once.
        """
        clock = Clock()
        ledger = Ledger(clock)
        records = [recordOf(ledger.observer("a"), clock) for _ in range(150)]
        self.assertEqual(len(shownOf(ledger)), 150)
        self.assertEqual(set(shownOf(ledger)), set(records))

    def test_theDetailOfAFailureIsBounded(self) -> None:
        """
        However much there is to be said.
        """
        clock = Clock()
        ledger = Ledger(clock)
        recordOf(ledger.observer("a"), clock).end(Refused("x" * 5000))
        (failure,) = take(ledger, Tunnels())["failures"]
        self.assertEqual(len(failure["detail"]), 500)

    def test_whatIsForgottenIsNotShown(self) -> None:
        """
        A tunnel that nobody serves, and that has no connection.
        """
        ledger = Ledger(Clock())
        ledger.observer("gone")
        self.assertEqual(take(ledger, Tunnels())["tunnels"], [])
        self.assertEqual(ledger.entries, {})
