"""
Tests for L{tlstunnel.tunnel.bridgepair}: TLS on both sides of a tunnel, on loopback.
"""

from __future__ import annotations

import socket
import threading
import time

from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE, Encrypted, Reset
from tests.tunnel.bridgestage import (
    BOTH,
    BridgeTests,
    Script,
    both,
    ldapClient,
    ldapServer,
    nothing,
)
from tlstunnel.net.networks import Networks, parseNetwork


class PassingTests(BridgeTests):
    """
    What gets through.
    """

    async def test_aClientReachesTheServerWhicheverWayEachComesToTLS(self) -> None:
        """
        TLS from the first byte in and out, in both directions of the upgrade, and with both.
        """
        for dialect in ("none", "ldap-none", "none-ldap", "ldap", "smtp", "imap"):
            self.ends.clear()
            self.assertEqual(await self.bridged(dialect, both), BOTH, dialect)
            await self.ended()

    async def test_aClientWithoutUpgradeIsGreetedByTheTunnel(self) -> None:
        """
        The server has greeted in clear, of which nothing is passed on (rule 1).
        """

        def script(client: Encrypted, server: Encrypted) -> object:
            return client.read(30), both(client, server)

        for dialect, greeting in (
            ("none-smtp", b"220 server.example.org ESMTP\r\n"),
            ("none-imap", b"* OK server.example.org ready\r\n"),
        ):
            greeted, done = await self.bridged(dialect, script)
            self.assertEqual(greeted, greeting[:30])
            self.assertEqual(done[0], BOTH[0])

    async def test_aClientWithUpgradeDoesNotHearASecondGreeting(self) -> None:
        """
        What the server says first inside TLS is swallowed, and its offers of STARTTLS are hidden.
        """

        def script(client: Encrypted, server: Encrypted) -> object:
            server.write(b"220-mx\r\n220 mx.example.org ESMTP\r\n")
            client.write(b"EHLO x\r\n")
            asked = server.read(8)
            server.write(b"250-mx\r\n250 STARTTLS\r\n")
            return asked, client.read(8)

        self.assertEqual(await self.bridged("smtp-none", script), (b"EHLO x\r\n", b"250 mx\r\n"))

    async def test_whatAClientSaysEarlyReachesTheServerOnce(self) -> None:
        """
        It is held until the server is verified, and goes on in its order.
        """

        def asks(sock: socket.socket) -> None:
            ldapClient(sock)

        def script(client: Encrypted, server: Encrypted) -> object:
            return server.read(10)

        with self.listening() as (listening, where):
            service = self.tunnel(where, "ldap")

            def run() -> object:
                host, port = service.addresses[0].rsplit(":", 1)
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    asks(dialled)
                    client = self.client(dialled)
                    client.write(b"early")
                    accepted, _ = listening.accept()
                    with accepted:
                        accepted.settimeout(PATIENCE)
                        heard = b""
                        ldapServer(accepted)
                        server = Encrypted(accepted, self.context(False), False)
                        server.handshake()
                        client.write(b" late")
                        return heard, script(client, server)

            self.assertEqual(await deferToThread(run), (b"", b"early late"))

    async def test_whatIsPassedIsWhole(self) -> None:
        """
        Megabytes in one direction and in the other, against a slow reader.
        """
        size = 4_000_000
        data = bytes(range(256)) * (size // 256)

        def carry(writer: Encrypted, reader: Encrypted) -> object:
            heard: list[object] = []

            def read() -> None:
                time.sleep(0.5)
                heard.append(reader.read(len(data)))
                reader.end()

            # Both block.
            thread = threading.Thread(target=read)
            thread.start()
            writer.write(data)
            writer.end()
            thread.join()
            return heard[0] == data, writer.read(1)

        for each in (carry, lambda client, server: carry(server, client)):
            self.ends.clear()
            self.assertEqual(await self.bridged("none", each), (True, b""))
            event = await self.ended()
            self.assertEqual(event["to_network"] + event["to_plain"], len(data))

    async def test_oneDirectionMayEndBeforeTheOther(self) -> None:
        """
        On either side.
        """

        def clientFirst(client: Encrypted, server: Encrypted) -> object:
            client.write(b"all")
            client.end()
            heard = server.read(4)
            server.write(b"late")
            server.end()
            return heard, client.read(5)

        def serverFirst(client: Encrypted, server: Encrypted) -> object:
            client.write(b"x")
            server.read(1)
            server.write(b"all")
            server.end()
            heard = client.read(4)
            client.write(b"late")
            client.end()
            return heard, server.read(5)

        for script in (clientFirst, serverFirst):
            self.ends.clear()
            self.assertEqual(await self.bridged("none", script), (b"all", b"late"))
            await self.ended()


class BalancerTests(BridgeTests):
    """
    Something before the bridge.
    """

    async def test_aHeaderSaysOnWhoseBehalfAConnectionComes(self) -> None:
        """
        That of the PROXY protocol, before TLS.
        """

        def balancer(sock: socket.socket) -> None:
            sock.sendall(b"PROXY TCP4 192.0.2.9 192.0.2.1 5000 465\r\n")

        proxied = Networks.of([parseNetwork("127.0.0.0/8")])
        talks = (balancer, nothing)
        passed = await self.bridged("none", both, talks, proxyFrom=proxied)
        self.assertEqual(passed, BOTH)
        event = await self.ended()
        self.assertEqual(event["peer"], "192.0.2.9:5000")


class OldPassingTests(PassingTests):
    """
    The same with TLS 1.2 on both sides.
    """

    version = "1.2"

    async def test_theVersionsOfBothSidesNeedNotBeTheSame(self) -> None:
        """
        Each is told in the log.
        """
        old = self.context(True)
        self.version = "1.3"
        contexts = old, self.context(False)
        self.assertEqual(await self.bridged("none", both, contexts=contexts), BOTH)
        event = await self.ended()
        self.assertEqual((event["client_version"], event["version"]), ("TLSv1.2", "TLSv1.3"))


class CutTests(BridgeTests):
    """
    An end that is none is not passed on as one.
    """

    async def test_whatIsCutOnOneSideIsCutOnTheOther(self) -> None:
        """
        A FIN without close_notify, on either.
        """

        def byClient(client: Encrypted, server: Encrypted) -> object:
            client.write(b"half")
            server.read(4)
            client.truncate()
            return server.read(1)

        def byServer(client: Encrypted, server: Encrypted) -> object:
            client.write(b"x")
            server.read(1)
            server.write(b"half")
            client.read(4)
            server.truncate()
            return client.read(1)

        for script, who in ((byClient, "the client"), (byServer, "the server")):
            self.ends.clear()
            self.assertIs(await self.bridged("none", script), Reset)
            event = await self.ended("truncated")
            self.assertIn(who, event["detail"])

    async def test_aResetOnOneSideIsOneOnTheOther(self) -> None:
        """
        By the client, and by the server.
        """

        def resets(first: int) -> Script:
            def script(*both: Encrypted) -> object:
                both[0].write(b"x")
                both[1].read(1)
                one, other = both[first], both[1 - first]
                one.reset()
                return other.read(1)

            return script

        for first in (0, 1):
            self.ends.clear()
            self.assertIs(await self.bridged("none", resets(first)), Reset)
            # Sometimes OpenSSL can only tell that there was no close_notify.
            await self.ended("reset", "truncated")
