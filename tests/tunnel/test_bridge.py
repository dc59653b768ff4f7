"""
Tests for L{tlstunnel.tunnel.bridgepair}: TLS on both sides of a tunnel, on loopback.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.x509 import RFC822Name, SubjectAlternativeName
from OpenSSL import SSL
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import (
    CLIENT,
    PATIENCE,
    SERVER,
    Encrypted,
    Reset,
    TunnelTests,
    readLine,
    smtpClient,
    smtpServer,
    wait,
)
from tlstunnel.address import TCPAddress, parseAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.net.networks import Networks, parseNetwork
from tlstunnel.protocols.registry import find
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.tunnel.bridge import checkBridge
from tlstunnel.tunnel.description import DANE, Mode, Tunnel
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.servedname import ServedName

#: Who we are to clients; the server is somebody else.
FRONT = Identity(None, "front.example.net")

_START_TLS = bytes.fromhex("301d02010177188016312e332e362e312e342e312e313436362e3230303337")
_START_TLS_DONE = bytes.fromhex("300c02010178070a010004000400")
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")

Talk = Callable[[socket.socket], object]


def imapClient(sock: socket.socket) -> None:
    """
    What a client of IMAP says before TLS.
    """
    readLine(sock)
    sock.sendall(b"a STARTTLS\r\n")
    readLine(sock)


def imapServer(sock: socket.socket) -> None:
    """
    What a server says.
    """
    sock.sendall(b"* OK ready\r\n")
    tag = readLine(sock).split()[0]
    sock.sendall(tag + b" OK go\r\n")


def ldapClient(sock: socket.socket) -> None:
    """
    What a client of LDAP says before TLS.
    """
    sock.sendall(_START_TLS)
    assert sock.recv(2)[:1] == b"\x30"
    sock.recv(100)


def ldapServer(sock: socket.socket) -> None:
    """
    What a server says.
    """
    sock.recv(100)
    sock.sendall(_START_TLS_DONE)


def postgresqlClient(sock: socket.socket) -> None:
    """
    What a client of PostgreSQL says before TLS.
    """
    sock.sendall(_SSL_REQUEST)
    assert sock.recv(1) == b"S"


def postgresqlServer(sock: socket.socket) -> None:
    """
    What a server says.
    """
    sock.recv(8)
    sock.sendall(b"S")


def nothing(sock: socket.socket) -> None:
    """
    TLS comes first.
    """


#: What is said before TLS, by clients and by servers.
TALKS: dict[str, tuple[Talk, Talk]] = {
    "none": (nothing, nothing),
    "smtp": (smtpClient, smtpServer),
    "imap": (imapClient, imapServer),
    "ldap": (ldapClient, ldapServer),
    "postgresql": (postgresqlClient, postgresqlServer),
}

Script = Callable[[Encrypted, Encrypted], Any]


class BridgeTests(TunnelTests):
    """
    A client and a server that both speak TLS, and a bridge between them.
    """

    mode = Mode.BRIDGE

    def setUp(self) -> None:
        """
        One identity more.
        """
        super().setUp()
        createIdentity(self.pool, FRONT)

    def described(self, backend: str, dialect: str = "none", **settings: Any) -> Tunnel:
        """
        A bridge on a free port.

        @param dialect: C{IN-OUT}.
        @param settings: of the accepted side, and C{out} of the connected side.
        """
        before, _, behind = dialect.partition("-")
        out = settings.pop("out", {})
        common: dict[str, Any] = {
            "local": (TCPAddress("127.0.0.1", 0),),
            "remote": (parseAddress(backend),),
            "pool": self.pool,
            "limits": settings.pop("limits", Limits(close=5.0)),
        }
        connected = {"dialect": find(behind or before), "remoteID": SERVER, **common}
        accepted = {"dialect": find(before), "localID": FRONT, **common}
        return Tunnel(
            mode=Mode.BRIDGE,
            onward=Tunnel(mode=Mode.CLIENT, **(connected | out)),
            **(accepted | settings),
        )

    @contextmanager
    def listening(self) -> Iterator[tuple[socket.socket, str]]:
        """
        Where the server is, and what that is called.
        """
        with socket.create_server(("127.0.0.1", 0)) as sock:
            sock.settimeout(PATIENCE)
            yield sock, f"127.0.0.1:{sock.getsockname()[1]}"

    def client(self, sock: socket.socket, context: SSL.Context | None = None) -> Encrypted:
        """
        A client that has come to TLS.
        """
        network = Encrypted(sock, context or self.context(True), True, FRONT.domain.encode())
        network.handshake()
        return network

    async def bridged(
        self, dialect: str, script: Script, talks: tuple[Talk, Talk] | None = None, **settings: Any
    ) -> Any:
        """
        Run C{script} in a thread, with a client and a server that have come to TLS.
        """
        before, _, behind = dialect.partition("-")
        asks, answers = talks or (TALKS[before][0], TALKS[behind or before][1])
        contexts = settings.pop("contexts", None) or (self.context(True), self.context(False))
        with self.listening() as (server, where):
            service = self.tunnel(where, dialect, **settings)

            def run() -> Any:
                host, port = service.addresses[0].rsplit(":", 1)
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    asks(dialled)
                    client = self.client(dialled, contexts[0])
                    accepted, _ = server.accept()
                    with accepted:
                        accepted.settimeout(PATIENCE)
                        answers(accepted)
                        network = Encrypted(accepted, contexts[1], False)
                        network.handshake()
                        return script(client, network)

            return await deferToThread(run)

    async def ended(self, *reasons: str) -> Any:
        """
        What the tunnel logs of the one connection that there was.
        """
        await wait(lambda: bool(self.ends))
        (event,) = self.ends
        self.assertIn(event["outcome"], reasons or ("clean",))
        return event


def both(client: Encrypted, server: Encrypted) -> object:
    """
    A question and its answer, and a clean end on both sides.
    """
    client.write(b"question")
    asked = server.read(8)
    server.write(b"answer")
    answered = client.read(6)
    client.end()
    ended = server.read(1)
    server.end()
    return asked, answered, ended, client.read(1)


BOTH = (b"question", b"answer", b"", b"")


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


class CheckTests(SynchronousTestCase):
    """
    What can be no bridge.
    """

    def bridge(self, before: str, behind: str, **settings: Any) -> Tunnel:
        """
        One that is described, and not served.
        """
        anywhere = (TCPAddress("127.0.0.1", 1),)
        out = Tunnel(Mode.CLIENT, anywhere, anywhere, find(behind), remoteID=SERVER)
        out = replace(out, **settings.pop("out", {}))
        return Tunnel(
            Mode.BRIDGE, anywhere, anywhere, find(before), localID=FRONT, onward=out, **settings
        )

    def refusal(self, *ways: str, **settings: Any) -> str:
        """
        Why it is none.
        """
        with self.assertRaises(ConfigurationError) as raised:
            checkBridge(self.bridge(*ways, **settings))
        return str(raised.exception)

    def test_nothingIsTranslated(self) -> None:
        """
        Protocols that are alike are two, too.
        """
        for ways in (("smtp", "imap"), ("smtp", "lmtp"), ("xmpp-client", "xmpp-server")):
            self.assertIn("is another protocol than --starttls-out", self.refusal(*ways))

    def test_whatNeedsMoreThanOneConnectionIsRefused(self) -> None:
        """
        On either side.
        """
        for ways in (("ftp", "ftp"), ("ftp", "none"), ("none", "ftp")):
            self.assertIn("has data connections", self.refusal(*ways))

    def test_whatShowsTheServerBeforeTLSIsRefused(self) -> None:
        """
        Those are MySQL and NATS.
        """
        early = (("mysql", "mysql"), ("mysql", "none"), ("none", "mysql"), ("nats", "nats"))
        for ways in early:
            self.assertIn("before TLS", self.refusal(*ways))

    def test_aChosenProtocolCannotBePassedOnWithDANE(self) -> None:
        """
        Where nobody says which protocol it is.
        """
        settings: dict[str, Any] = {"alpn": (b"h2",), "out": {"trust": (DANE,)}}
        self.assertIn("--alpn", self.refusal("none", "none", **settings))

    def test_aNameWithAServerOfItsOwnSaysWhoThatIs(self) -> None:
        """
        An address says nobody.
        """
        served = ServedName("a.example.net", remote=(TCPAddress("192.0.2.1", 1),))
        self.assertIn(
            "--remote-id: is missing",
            self.refusal("none", "none", names=(served,), out={"remoteID": None}),
        )

    def test_nobodyIsToldWhoIsThere(self) -> None:
        """
        A bridge of a program that uses the library is looked at as well.
        """
        for disclosure in (Disclosure(words=("smtp",)), Disclosure(proxyOut="v2")):
            refusal = self.refusal("smtp", "smtp", disclosure=disclosure)
            self.assertIn("means nothing with --bridge", refusal)
        self.assertIn("--negotiate-only", self.refusal("smtp", "smtp", negotiatesOnly=True))

    def test_allElseIsABridge(self) -> None:
        """
        Every other dialect, on one side and on both.
        """
        others = "lmtp", "imap", "pop3", "nntp", "sieve", "ldap", "xmpp-client", "irc"
        for name in ("smtp", *others, "nut", "munin", "nbd", "vnc"):
            for ways in ((name, name), (name, "none"), ("none", name)):
                checkBridge(self.bridge(*ways))


class StartTests(BridgeTests):
    """
    What is said of a bridge that is served.
    """

    async def test_theLogSaysWhatBothSidesAre(self) -> None:
        """
        The ways to TLS, who may come, and who has to be there.
        """
        started: list[Any] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "start":
                started.append(event)

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]
        come = Selector.parse("@example.org")
        service = self.tunnel("127.0.0.1:1", "none-smtp", remoteID=come, out={"localID": CLIENT})
        await wait(lambda: bool(started))
        (event,) = started
        self.assertIn("implicit TLS in and smtp out, as front.example.net", formatEvent(event))
        self.assertEqual((event["mode"], event["dialect"]), ("bridge", "smtp"))
        self.assertEqual(event["expected"], str(SERVER))
        self.assertEqual(event["client_expected"], "@example.org")
        assert service.factory is not None
        prepared = service.factory.prepared
        self.assertEqual(set(prepared.certificates), {FRONT, CLIENT})

    async def test_whatIsRenewedIsSoOnBothSides(self) -> None:
        """
        A reload that finds anything missing, on either side, changes nothing.
        """
        service = self.tunnel("127.0.0.1:1", "none", out={"localID": CLIENT})
        factory = service.factory
        assert factory is not None
        before = factory.prepared
        factory.renew(before.tunnel)
        renewed = factory.prepared
        assert before.onward is not None and renewed.onward is not None
        self.assertIsNot(renewed.onward, before.onward)
        shutil.rmtree(self.pool.path / str(CLIENT))
        self.assertRaises(ConfigurationError, factory.renew, before.tunnel)
        self.assertIs(factory.prepared, renewed)
