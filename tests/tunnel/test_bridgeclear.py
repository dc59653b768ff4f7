"""
Tests for L{tlstunnel.tunnel.bridgepair}: what is said in clear before TLS, on either side.
"""

from __future__ import annotations

import socket

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE, Encrypted, Reset, readLine, smtpClient
from tests.tunnel.bridgestage import BridgeTests


class ClearTests(BridgeTests):
    """
    What is said before TLS stays there, on both sides.
    """

    async def test_whatStandsBehindTheUpgradeIsAnAttackOnEitherSide(self) -> None:
        """
        Rule 3: the connection ends with a reset, and nothing is dialled for such a client.
        """

        def injects(sock: socket.socket) -> None:
            readLine(sock)
            sock.sendall(b"STARTTLS\r\nMAIL FROM:<x>\r\n")
            assert sock.recv(1) == b""

        with self.listening() as (server, where):
            service = self.tunnel(where, "smtp")
            server.settimeout(0.3)

            def run() -> bool:
                host, port = service.addresses[0].rsplit(":", 1)
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    try:
                        injects(dialled)
                    except ConnectionError:
                        pass
                try:
                    server.accept()
                except TimeoutError:
                    return False
                return True

            self.assertFalse(await deferToThread(run))
        event = await self.ended("plaintext-after-starttls")
        self.assertIn("the client", event["detail"])

        self.ends.clear()

        def injected(sock: socket.socket) -> None:
            sock.sendall(b"220 mx\r\n")
            readLine(sock)
            sock.sendall(b"250 mx\r\n")
            readLine(sock)
            sock.sendall(b"220 go\r\n250 SMTPUTF8\r\n")

        def script(client: Encrypted, server: Encrypted) -> object:
            raise AssertionError("no TLS begins behind that")

        with self.assertRaises((OSError, SSL.Error, ConnectionError)):
            await self.bridged("smtp", script, talks=(smtpClient, injected))
        event = await self.ended("plaintext-after-starttls")
        self.assertIn("the server", event["detail"])

    async def test_aServerThatSpeaksFirstWasSpliced(self) -> None:
        """
        Rule 10, where both sides upgrade: nothing of its greeting reaches the client.
        """

        def script(client: Encrypted, server: Encrypted) -> object:
            server.write(b"220 mx.example.org ESMTP\r\n")
            return client.read(1)

        self.assertIn(await self.bridged("smtp", script), (b"", Reset))
        await self.ended("server-spoke-first")

    async def test_aMessageThatNeedsNoTLSIsNotPassedOn(self) -> None:
        """
        Where an option of PostgreSQL lets a backend have one, a server on the network gets none.
        """

        def cancels(sock: socket.socket) -> None:
            sock.sendall(bytes.fromhex("0000001004d2162e0000000100000002"))
            sock.recv(1)

        with self.listening() as (server, where):
            server.settimeout(0.3)
            service = self.tunnel(where, "postgresql", options=frozenset(["cancel-in-clear"]))

            def run() -> bool:
                host, port = service.addresses[0].rsplit(":", 1)
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    cancels(dialled)
                try:
                    server.accept()
                except TimeoutError:
                    return False
                return True

            self.assertFalse(await deferToThread(run))
        await self.ended("refused")

    async def test_aServerThatRefusesTheUpgradeEndsBoth(self) -> None:
        """
        The client hears nothing of it (rule 12), the log does, with the option.
        """

        def refuses(sock: socket.socket) -> None:
            sock.sendall(b"220 mx\r\n")
            readLine(sock)
            sock.sendall(b"250 mx\r\n")
            readLine(sock)
            sock.sendall(b"502 no\r\n")

        heard: list[object] = []
        with self.listening() as (listening, where):
            service = self.tunnel(where, "none-smtp")

            def run() -> None:
                host, port = service.addresses[0].rsplit(":", 1)
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    client = self.client(dialled)
                    accepted, _ = listening.accept()
                    with accepted:
                        accepted.settimeout(PATIENCE)
                        refuses(accepted)
                        heard.append(client.read(1))

            await deferToThread(run)
        self.assertIn(heard[0], (b"", Reset))
        event = await self.ended("refused")
        self.assertIn("without --starttls-out", event["hint"])
        self.assertEqual((event["dialect"], event["version"]), ("smtp", None))
