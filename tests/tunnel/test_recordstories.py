"""
Tests for L{tlstunnel.tunnel.record} on real sockets: what is known at which step of a connection.
"""

from __future__ import annotations

import socket
from typing import Any

from cryptography import x509
from twisted.internet.threads import deferToThread

from tests.loopback import CLIENT, SERVER, Encrypted, Plain, readLine, smtpClient, smtpServer
from tests.tunnel.recorded import ANSWER, QUESTION, UNVERIFIED, ObservedTests, connection, converse
from tlstunnel.identity.names import Selector
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.record import Stage


class StoryTests(ObservedTests):
    """
    What observers are told of real connections.
    """

    async def tells(self, mode: Mode, dialect: str, preamble: Any, story: str) -> None:
        """
        A connection has this story, and is known at each step as it has to be.
        """
        self.mode = mode
        self.notes.noted.clear()

        def script(network: Encrypted, plain: Plain) -> None:
            if mode is Mode.CLIENT:
                if dialect == "smtp":
                    readLine(plain.sock)
                converse(plain, network)
            else:
                if dialect == "smtp":
                    plain.write(b"220 mx\r\n")
                converse(network, plain)

        await self.through(script, dialect, preamble)
        last = await self.ended()
        self.assertEqual(self.notes.story, ["began", *story.split(), "ended"])
        self.assertEqual((last["outcome"], last["error"]), ("clean", None))
        verified = dialled = False
        for what, known in self.notes.noted:
            verified = verified or what == "verified"
            self.assertEqual(known["isVerified"], verified, what)
            if not verified:
                self.assertEqual({name: known[name] for name in UNVERIFIED}, UNVERIFIED, what)
            expected = SERVER if verified and mode is Mode.CLIENT else None
            self.assertEqual(known["identity"], expected, what)
            # It is dialled by the time of the step behind.
            self.assertEqual(known["backend"] is not None, dialled and what != "connecting", what)
            dialled = dialled or what == "connecting"

    async def test_theServersStory(self) -> None:
        """
        Nobody is dialled before the client's TLS is up.
        """
        await self.tells(Mode.SERVER, "none", None, "handshaking verified connecting relaying")

    async def test_theServersStoryWithADialect(self) -> None:
        """
        The same, and what is said before and after.
        """

        story = "negotiating handshaking verified connecting greeting relaying"
        await self.tells(Mode.SERVER, "smtp", smtpClient, story)

    async def test_theClientsStory(self) -> None:
        """
        The server is dialled first.
        """
        await self.tells(Mode.CLIENT, "none", None, "connecting handshaking verified relaying")

    async def test_theClientsStoryWithADialect(self) -> None:
        """
        The app is greeted once the server is verified.
        """

        story = "connecting negotiating handshaking verified greeting relaying"
        await self.tells(Mode.CLIENT, "smtp", smtpServer, story)

    async def test_everyFactOfAClientWithACertificate(self) -> None:
        """
        As they are in the end, and the certificate as long as it lasts.
        """
        context = self.context(True)
        self.credentials(context, CLIENT)
        context.set_alpn_protos([b"one", b"two"])
        self.context = lambda isClient: context  # type: ignore[method-assign]
        selector = Selector.parse("@example.org")
        await self.through(converse, remoteID=selector, alpn=(b"two",), name="t")
        last = await self.ended()
        backend = last.pop("backend")
        self.assertEqual((backend.host, last.pop("peer").host), ("127.0.0.1", "127.0.0.1"))
        self.assertGreater(last.pop("handshaken"), 0.0)
        self.assertGreater(last.pop("seconds"), 0.0)
        self.assertTrue(last.pop("suite").startswith("TLS_"))
        self.assertEqual(
            last,
            {
                "tunnel": "t",
                "mode": Mode.SERVER,
                "dialect": "none",
                "stage": Stage.ENDED,
                "serverName": SERVER.domain,
                "alpn": b"two",
                "version": "TLSv1.3",
                "group": "X25519MLKEM768",
                "identity": CLIENT,
                "certificate": None,
                "isVerified": True,
                "negotiated": None,
                "toNetwork": len(ANSWER),
                "toPlain": len(QUESTION),
                "error": None,
                "outcome": "clean",
            },
        )
        shown = (self.pool.path / str(CLIENT) / "fullchain.pem").read_bytes()
        certificates = {
            known["certificate"] for _, known in self.notes.noted if known["isVerified"]
        }
        self.assertEqual(certificates, {x509.load_pem_x509_certificate(shown), None})

    async def test_whoeverIsVerifiedStaysSoInWhateverEnd(self) -> None:
        """
        Where there is no backend, it is known who wanted to reach it.
        """
        context = self.context(True)
        self.credentials(context, CLIENT)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        selector = Selector.parse("@example.org")
        service = self.tunnel(f"127.0.0.1:{port}", remoteID=selector)

        def run() -> None:
            network = Encrypted(connection(service), context, True, SERVER.domain.encode())
            network.handshake()
            self.assertTrue(network.atEnd())
            network.close()

        await deferToThread(run)
        last = await self.ended()
        self.assertEqual((last["outcome"], last["identity"]), ("connect", CLIENT))
        self.assertEqual((last["backend"], last["isVerified"]), (None, True))
