"""
Tests for L{tlstunnel.tunnel.bridgepair}: who is verified on which side of a bridge, and
which server a client comes to.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.x509 import RFC822Name, SubjectAlternativeName
from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.loopback import CLIENT, PATIENCE, SERVER, Encrypted, Reset, smtpClient, wait
from tests.tunnel.bridgestage import BOTH, FRONT, BridgeTests, Talk, both
from tlstunnel.address import TCPAddress, parseAddress
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.tunnel.servedname import ServedName


class WhoTests(BridgeTests):
    """
    Each side is verified, and the client first.
    """

    def contextOf(self, identity: Identity, pool: Pool | None = None) -> SSL.Context:
        """
        That of a client with a certificate.
        """
        context = self.context(True)
        directory = (pool or self.pool).path / str(identity)
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))
        return context

    async def refused(self, dialect: str, ofClient: Talk, **settings: Any) -> tuple[Any, bool]:
        """
        What comes of a client, and whether anybody has connected to the server.
        """
        with self.listening() as (server, where):
            server.settimeout(0.3)
            service = self.tunnel(where, dialect, **settings)

            def run() -> tuple[Any, bool]:
                host, port = service.addresses[0].rsplit(":", 1)
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    came: Any
                    try:
                        came = ofClient(dialled)
                    except (OSError, SSL.Error) as error:
                        came = type(error)
                try:
                    accepted, _ = server.accept()
                except TimeoutError:
                    return came, False
                accepted.close()
                return came, True

            return await deferToThread(run)

    async def test_aCertificateIsDemandedAndBothAreTold(self) -> None:
        """
        The log has who is at either side.
        """
        contexts = self.contextOf(CLIENT), self.context(False)
        self.assertEqual(
            await self.bridged(
                "none", both, remoteID=Selector.parse("@example.org"), contexts=contexts
            ),
            BOTH,
        )
        event = await self.ended()
        self.assertEqual(event["client_identity"], str(CLIENT))
        self.assertEqual(event["identity"], str(SERVER))
        self.assertEqual(event["sni"], FRONT.domain)
        self.assertIn(f"client identity {CLIENT}, TLSv1.3 ", event["text"])
        self.assertIn(f"server identity {SERVER}, TLSv1.3 ", event["text"])

    async def test_nobodyIsConnectedToBeforeTheClientIsVerified(self) -> None:
        """
        Neither for a client without a certificate, nor for one that is somebody else, nor before
        the handshake.
        """

        def asks(sock: socket.socket) -> object:
            tls = self.client(sock)
            tls.write(b"question")
            return tls.read(1)

        def asSomebody(sock: socket.socket) -> object:
            tls = self.client(sock, self.contextOf(CLIENT))
            return tls.read(1)

        def hesitates(sock: socket.socket) -> object:
            time.sleep(0.3)
            return None

        cases: Sequence[tuple[Talk, str]] = (
            (asks, "tls"),
            (asSomebody, "identity"),
            (hesitates, "tls"),
        )
        for ofClient, reason in cases:
            self.ends.clear()
            came, isDialled = await self.refused(
                "none", ofClient, remoteID=Selector.parse("@example.net")
            )
            self.assertNotEqual(came, b"question")
            self.assertFalse(isDialled)
            event = await self.ended(reason)
            self.assertNotIn("client_identity", event)
            self.assertEqual(event["backend"], None)
            self.assertIn("the client", event["detail"])

    async def test_nothingOfTheClientIsSentToAServerThatIsSomebodyElse(self) -> None:
        """
        The client is verified, and told nothing of a server.
        """
        with self.listening() as (listening, where):
            other = Identity(None, "other.example.org")
            service = self.tunnel(where, "none", out={"remoteID": other})

            def run() -> tuple[object, object]:
                host, port = service.addresses[0].rsplit(":", 1)
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    client = self.client(dialled)
                    client.write(b"secret")
                    accepted, _ = listening.accept()
                    with accepted:
                        accepted.settimeout(PATIENCE)
                        server = Encrypted(accepted, self.context(False), False)
                        heard: object
                        try:
                            server.handshake()
                            heard = server.read(1)
                        except (OSError, SSL.Error) as error:
                            heard = type(error)
                    return heard, client.read(1)

            heard, told = await deferToThread(run)
        self.assertNotEqual(heard, b"s")
        self.assertIn(told, (b"", Reset))
        event = await self.ended("identity")
        self.assertIn("the server", event["detail"])
        self.assertIn("--remote-id", event["hint"])
        self.assertEqual(event["identity"], None)
        self.assertEqual(event["client_version"], "TLSv1.3")

    async def test_eachSideHasAnchorsOfItsOwn(self) -> None:
        """
        A client is not believed by those of the server, and the other way round.
        """
        pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(pool, CLIENT)
        theirs = (str(pool.path / "ca" / "cert.pem"),)
        come = Selector.parse("@example.org")
        contexts = self.contextOf(CLIENT, pool), self.context(False)
        self.assertEqual(
            await self.bridged("none", both, remoteID=come, trust=theirs, contexts=contexts), BOTH
        )
        await self.ended()
        for trust, whose in ((theirs, self.pool), ((), pool)):
            self.ends.clear()
            context = self.contextOf(CLIENT, whose)

            def ofClient(sock: socket.socket, context: SSL.Context = context) -> object:
                return self.client(sock, context).read(1)

            _, isDialled = await self.refused("none", ofClient, remoteID=come, trust=trust)
            self.assertFalse(isDialled)
            event = await self.ended("identity")
            self.assertIn("--client-trust", event["hint"])

    async def test_theServerSeesWhomItIsTold(self) -> None:
        """
        We show it a certificate of ours, and not the one that clients see.
        """
        context = self.context(False)
        seen: list[str] = []

        def look(_: object, certificate: Any, __: int, depth: int, isGood: int) -> bool:
            if depth == 0:
                names = certificate.to_cryptography().extensions.get_extension_for_class(
                    SubjectAlternativeName
                )
                seen.extend(names.value.get_values_for_type(RFC822Name))
            return bool(isGood)

        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, look)
        contexts = self.context(True), context
        out = {"localID": CLIENT}
        self.assertEqual(await self.bridged("none", both, out=out, contexts=contexts), BOTH)
        self.assertEqual(seen, [str(CLIENT)])

    async def test_bothDemandTheirLowestVersion(self) -> None:
        """
        TLS 1.2 is refused on the side that wants 1.3.
        """
        self.version = "1.2"
        old = self.context(True)
        _, isDialled = await self.refused(
            "none", lambda sock: self.client(sock, old).read(1), minimum="1.3"
        )
        self.assertFalse(isDialled)
        event = await self.ended("tls")
        self.assertIn("--client-minimum-tls", event["hint"])


class ChoiceTests(BridgeTests):
    """
    What a client chooses inside its handshake.
    """

    async def test_theServerHearsOfTheProtocolThatTheClientHasChosen(self) -> None:
        """
        Of that, and of no other; and it has to take it.
        """

        def contexts(ofServer: bytes | None, *ofClient: bytes) -> tuple[SSL.Context, SSL.Context]:
            client, server = self.context(True), self.context(False)
            if ofClient:
                client.set_alpn_protos(list(ofClient))

            def choose(_: object, offered: list[bytes]) -> bytes:
                heard.append(offered)
                return ofServer or offered[0]

            if ofServer is not None:
                server.set_alpn_select_callback(choose)
            return client, server

        heard: list[list[bytes]] = []
        alpn = (b"h2", b"http/1.1")
        settings: dict[str, Any] = {"alpn": alpn, "out": {"alpn": alpn}}
        for asked in ((b"http/1.1",), (b"h2", b"http/1.1")):
            heard.clear()
            self.ends.clear()
            both_ = await self.bridged("none", both, contexts=contexts(b"", *asked), **settings)
            self.assertEqual(both_, BOTH)
            self.assertEqual(heard, [[asked[0]]])
            event = await self.ended()
            self.assertEqual((event["client_alpn"], event["alpn"]), (asked[0].decode(),) * 2)
        heard.clear()
        self.ends.clear()
        self.assertEqual(await self.bridged("none", both, contexts=contexts(b""), **settings), BOTH)
        self.assertEqual(heard, [])
        self.ends.clear()
        with self.assertRaises((OSError, SSL.Error)):
            await self.bridged("none", both, contexts=contexts(None, b"h2"), **settings)
        await self.ended("tls")

    async def test_aNameHasAServerOfItsOwn(self) -> None:
        """
        The name that a client asks for chooses where it goes, and who must be there.
        """
        for name in ("a.example.net", "b.example.net"):
            createIdentity(self.pool, Identity(None, name))
        with self.listening() as (own, where), self.listening() as (_, elsewhere):
            host, port = where.rsplit(":", 1)
            served = ServedName("a.example.net", remote=(TCPAddress(host, int(port)),))
            service = self.tunnel(elsewhere, "none", names=(served,))

            def run() -> object:
                host, port = service.addresses[0].rsplit(":", 1)
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    client = Encrypted(dialled, self.context(True), True, b"a.example.net")
                    client.handshake()
                    accepted, _ = own.accept()
                    with accepted:
                        accepted.settimeout(PATIENCE)
                        server = Encrypted(accepted, self.context(False), False)
                        server.handshake()
                        return both(client, server)

            self.assertEqual(await deferToThread(run), BOTH)
        event = await self.ended()
        self.assertEqual((event["sni"], event["identity"]), ("a.example.net", str(SERVER)))

    async def test_anotherServerIsTriedWhereTheFirstDoesNotGreet(self) -> None:
        """
        As long as nothing of the client's was sent (rule 15).
        """
        with self.listening() as (first, one), self.listening() as (second, two):
            remotes = (parseAddress(one), parseAddress(two))
            service = self.tunnel(one, "smtp-none", remote=remotes, out={"remote": remotes})

            def serve(listening: socket.socket, greeting: bytes) -> Encrypted:
                accepted, _ = listening.accept()
                accepted.settimeout(PATIENCE)
                server = Encrypted(accepted, self.context(False), False)
                server.handshake()
                server.write(greeting)
                return server

            def run() -> object:
                host, port = service.addresses[0].rsplit(":", 1)
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    smtpClient(dialled)
                    client = self.client(dialled)
                    serve(first, b"554 no\r\n").sock.close()
                    server = serve(second, b"220 mx\r\n")
                    with server.sock:
                        client.write(b"QUIT\r\n")
                        asked = server.read(6)
                        server.write(b"221 bye\r\n")
                        server.end()
                        answered = client.read(9)
                        client.end()
                        return asked, answered

            self.assertEqual(await deferToThread(run), (b"QUIT\r\n", b"221 bye\r\n"))
        event = await self.ended()
        self.assertEqual(event["backend"], two)


class ResumptionTests(BridgeTests):
    """
    Each side has a setting of its own.
    """

    version = "1.2"

    async def test_sessionsAreResumedWithServersAndNotByClients(self) -> None:
        """
        As with tunnels in one mode; and as it is said, for each side.
        """
        for settings, resumed in (({}, True), ({"out": {"resumption": False}}, False)):
            context = self.context(False)
            context.set_session_id(b"x")
            with self.listening() as (listening, where):
                service = self.tunnel(where, "none", **settings)

                def run(
                    service: Any = service,
                    listening: socket.socket = listening,
                    context: SSL.Context = context,
                ) -> None:
                    host, port = service.addresses[0].rsplit(":", 1)
                    for _ in range(2):
                        with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                            client = self.client(dialled)
                            accepted, _ = listening.accept()
                            with accepted:
                                accepted.settimeout(PATIENCE)
                                server = Encrypted(accepted, context, False)
                                server.handshake()
                                both(client, server)
                        time.sleep(0.2)

                self.ends.clear()
                await deferToThread(run)
                await wait(lambda: len(self.ends) == 2)
            self.assertEqual([each["resumed"] for each in self.ends], [False, resumed])
            self.assertEqual([each["client_resumed"] for each in self.ends], [False, False])
