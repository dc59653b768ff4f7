"""
Tests for L{tlstunnel.tunnel.record}: what is known of a connection, from when on, and of whom
nothing is believed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import der
from tests.loopback import (
    CLIENT,
    PATIENCE,
    SERVER,
    Encrypted,
    Plain,
    TunnelTests,
    reactor,
    readLine,
    smtpClient,
    smtpServer,
    wait,
)
from tlstunnel import errors
from tlstunnel.address import TCPAddress
from tlstunnel.errors import Refused, TunnelError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.proxy import ProxyFactory
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.observers import Observer, Observers
from tlstunnel.tunnel.record import CLEAN, Record, Stage

#: The content of an object identifier: prime256v1 (RFC 5480).
P_256 = bytes.fromhex("2a8648ce3d030107")


QUESTION, ANSWER = b"EHLO client.example.org\r\n", b"250 mx\r\n"


class Notes(Observer):
    """
    Notes what it is told, and what the record has at that moment.

    @ivar noted: pairs of what happened, a stage where the connection has come to one, and all that
        was known.
    """

    def __init__(self) -> None:
        self.noted: list[tuple[str, dict[str, Any]]] = []

    def _note(self, what: str, record: Record) -> None:
        known = {name: getattr(record, name) for name in KNOWN}
        self.noted.append((what, known))

    def began(self, record: Record) -> None:
        """Note it."""
        self._note("began", record)

    def verified(self, record: Record) -> None:
        """Note it."""
        self._note("verified", record)

    def advanced(self, record: Record) -> None:
        """Note it."""
        self._note(record.stage.value, record)

    def ended(self, record: Record) -> None:
        """Note it."""
        self._note("ended", record)

    @property
    def story(self) -> list[str]:
        """
        What happened, in order.
        """
        return [what for what, _ in self.noted]


#: All that a record has.
KNOWN = (
    *("tunnel", "mode", "dialect", "peer", "backend", "stage", "serverName", "alpn", "version"),
    *("suite", "group", "identity", "certificate", "isVerified", "negotiated", "handshaken"),
    *("toNetwork", "toPlain", "seconds", "error", "outcome"),
)

#: What is known of a peer once it is verified, and what there is before, or instead.
UNVERIFIED = {
    "serverName": "",
    "alpn": b"",
    "version": "",
    "suite": "",
    "group": "",
    "identity": None,
    "certificate": None,
    "isVerified": False,
    "handshaken": None,
    "toNetwork": 0,
    "toPlain": 0,
}


class RecordTests(SynchronousTestCase):
    """
    L{Record}, on a test clock.
    """

    def setUp(self) -> None:
        """
        A connection that has just begun.
        """
        self.clock = Clock()
        self.clock.advance(1000)
        self.notes = Notes()
        self.peer = TCPAddress("192.0.2.1", 40000)
        self.record = Record(
            self.clock, Observers([self.notes]), "name", Mode.SERVER, "smtp", self.peer
        )
        self.leg = MemoryLeg()
        self.leg.session = session = Session(None)
        session.version, session.suite, session.group = "TLSv1.3", "suite", "group"
        session.alpn, session.serverName = b"alpn", "sni"
        session.identity = CLIENT
        self.leg.peerCertificate = object()
        self.leg.peerChain = [object()]

    def knows(self, **expected: Any) -> None:
        """
        The record has this.
        """
        self.assertEqual({name: getattr(self.record, name) for name in expected}, expected)

    def test_atFirstOnlyThePeerIsKnown(self) -> None:
        """
        And the tunnel that it came to.
        """
        [(what, known)] = self.notes.noted
        self.assertEqual(what, "began")
        self.assertEqual(
            known,
            {
                **UNVERIFIED,
                "tunnel": "name",
                "mode": Mode.SERVER,
                "dialect": "smtp",
                "peer": self.peer,
                "backend": None,
                "stage": Stage.ACCEPTED,
                "negotiated": None,
                "seconds": 0.0,
                "error": None,
                "outcome": "",
            },
        )
        self.knows(began=1000.0)

    def test_aVerifiedPeerIsKnownWithAllOfItsTLS(self) -> None:
        """
        From then on, until the end; its certificate as long as it is connected.
        """
        self.record.advance(Stage.HANDSHAKING)
        self.knows(**UNVERIFIED)
        self.record.verify(self.leg)
        verified = {
            "version": "TLSv1.3",
            "suite": "suite",
            "group": "group",
            "alpn": b"alpn",
            "serverName": "sni",
            "identity": CLIENT,
            "isVerified": True,
        }
        chain = self.leg.peerChain
        self.knows(**verified, certificate=self.leg.peerCertificate, chain=chain)
        self.record.end(None)
        self.knows(**verified, certificate=None, chain=())

    def test_whoNeedNotBeAnybodyIsNobody(self) -> None:
        """
        Whatever certificate it has shown.
        """
        self.leg.session.identity = None
        self.record.verify(self.leg)
        self.knows(isVerified=True, identity=None, certificate=None, chain=())

    def test_bytesAreThoseOfTheNetworkLeg(self) -> None:
        """
        As they are at any time, and as they were at the end.
        """
        self.record.verify(self.leg)
        for sent, received in (1, 0), (1000, 30), (5000, 4000):
            self.leg.sent, self.leg.received = sent, received
            self.knows(toNetwork=sent, toPlain=received)
        self.record.end(None)
        self.leg.sent = self.leg.received = 0
        self.knows(toNetwork=5000, toPlain=4000)

    def test_timesAreThoseOfTheSteps(self) -> None:
        """
        Each on its own.
        """
        for stage, seconds in (
            (Stage.CONNECTING, 2),
            (Stage.NEGOTIATING, 3),
            (Stage.HANDSHAKING, 5),
        ):
            self.record.advance(stage)
            self.clock.advance(seconds)
        self.knows(negotiated=3.0, handshaken=None, seconds=0.0)
        self.record.verify(self.leg)
        self.clock.advance(7)
        self.record.advance(Stage.RELAYING)
        self.clock.advance(11)
        self.record.end(None)
        self.knows(negotiated=3.0, handshaken=5.0, seconds=28.0, began=1000.0)

    def test_whatFailsHasNoTime(self) -> None:
        """
        What a connection that failed has waited for is no time of a negotiation or handshake.
        """
        self.record.advance(Stage.NEGOTIATING)
        self.clock.advance(3)
        self.record.end(Refused())
        self.knows(negotiated=None, handshaken=None, seconds=3.0)

    def test_theOutcomeIsTheNameOfTheError(self) -> None:
        """
        Of each that there is.
        """
        for error in vars(errors).values():
            if isinstance(error, type) and issubclass(error, TunnelError):
                self.setUp()
                ended = error("detail", b"said")
                self.record.end(ended)
                self.knows(outcome=error.reason, error=ended, stage=Stage.ENDED)

    def test_theOutcomeOfACleanEndIsClean(self) -> None:
        """
        Which is the name of no error.
        """
        self.record.end(None)
        self.knows(outcome="clean", error=None)
        self.assertEqual(CLEAN, "clean")

    def test_eachStepIsTold(self) -> None:
        """
        Once, in the order in which it happens, with what is known then.
        """
        self.record.advance(Stage.NEGOTIATING)
        self.record.advance(Stage.HANDSHAKING)
        self.record.verify(self.leg)
        self.record.advance(Stage.RELAYING)
        self.record.end(None)
        self.assertEqual(
            self.notes.story,
            ["began", "negotiating", "handshaking", "verified", "relaying", "ended"],
        )
        self.assertEqual(
            [known["isVerified"] for _, known in self.notes.noted],
            [False, False, False, True, True, True],
        )
        self.assertEqual(
            [known["outcome"] for _, known in self.notes.noted], ["", "", "", "", "", "clean"]
        )


class ObservedTests(TunnelTests):
    """
    Base class of tests with an observer at a tunnel.

    @ivar notes: the observer.
    """

    def setUp(self) -> None:
        """
        Nothing is noted yet.
        """
        super().setUp()
        self.notes = Notes()

    def tunnel(self, backend: str, dialect: str = "none", **settings: Any) -> Any:
        """
        Start a tunnel that is observed.
        """
        tunnel = self.described(backend, dialect, **settings)
        factory = ProxyFactory(tunnel, reactor, (self.notes,))
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(factory.deadlines.clear)
        self.addCleanup(factory.linger.closeAll)
        self.addCleanup(factory.stop)
        self.addCleanup(port.stopListening)
        return SimpleNamespace(addresses=[f"127.0.0.1:{port.getHost().port}"])

    async def ended(self) -> dict[str, Any]:
        """
        Wait for the end of the connection.

        @return: what was known then.
        """
        await wait(lambda: self.notes.story[-1:] == ["ended"])
        return self.notes.noted[-1][1]

    def credentials(self, context: Any, identity: Identity) -> None:
        """
        Let a peer have an identity of the pool.
        """
        directory = self.pool.path / str(identity)
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))


def converse(client: Plain, server: Plain) -> None:
    """
    A question, an answer that is shorter, and a clean end.
    """
    client.write(QUESTION)
    server.read(len(QUESTION))
    server.write(ANSWER)
    client.read(len(ANSWER))
    for one, other in (server, client), (client, server):
        one.end()
        other.read(1)


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


def connection(service: Any) -> socket.socket:
    """
    A connection to a tunnel.
    """
    host, port = service.addresses[0].rsplit(":", 1)
    return socket.create_connection((host, int(port)), PATIENCE)


def forgedKey(certificate: Path, file: Path) -> str:
    """
    Write a key that says that it belongs to a certificate, and does not: its public half is the
    one that everybody knows, the secret half is another one (RFC 5915).
    """
    public = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    secret = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    encoded = der(
        0x30,
        der(0x02, b"\x01"),
        der(0x04, secret.to_bytes(32, "big")),
        der(0xA0, der(0x06, P_256)),
        der(0xA1, der(0x03, b"\0" + point)),
    )
    file.write_text(ssl.DER_cert_to_PEM_cert(encoded).replace("CERTIFICATE", "EC PRIVATE KEY"))
    return str(file)


class RefusedTests(ObservedTests):
    """
    However a peer is refused, there is no identity in its record, at no time.
    """

    def assertNobody(self, why: str) -> None:
        """
        The one connection that there was ended like C{why}, and its peer is nobody.
        """
        self.assertEqual(self.notes.story.count("began"), 1)
        self.assertEqual(self.notes.story[-2:], ["handshaking", "ended"])
        for what, known in self.notes.noted:
            self.assertEqual({name: known[name] for name in UNVERIFIED}, UNVERIFIED, what)
        self.assertRegex(str(self.notes.noted[-1][1]["error"]), why)

    async def refusesClient(
        self, why: str, speak: Callable[[socket.socket], object], **settings: Any
    ) -> None:
        """
        A server tunnel refuses whom C{speak} plays in a thread.
        """
        self.mode = Mode.SERVER
        self.notes.noted.clear()
        settings.setdefault("remoteID", Selector.parse("@example.org"))
        service = self.tunnel("127.0.0.1:1", **settings)

        def run() -> None:
            with connection(service) as sock, contextlib.suppress(SSL.Error, OSError):
                speak(sock)
                sock.recv(1000)

        await deferToThread(run)
        await self.ended()
        self.assertNobody(why)

    async def refusesServer(
        self, why: str, speak: Callable[[socket.socket], object], **settings: Any
    ) -> None:
        """
        A client tunnel refuses whom C{speak} plays in a thread.
        """
        self.mode = Mode.CLIENT
        self.notes.noted.clear()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.settimeout(PATIENCE)
            service = self.tunnel(f"127.0.0.1:{listening.getsockname()[1]}", **settings)

            def run() -> None:
                with connection(service), listening.accept()[0] as sock:
                    sock.settimeout(PATIENCE)
                    with contextlib.suppress(SSL.Error, OSError):
                        speak(sock)
                        sock.recv(1000)

            await deferToThread(run)
        await self.ended()
        self.assertNobody(why)

    def client(
        self, identity: Identity | None = CLIENT, pool: Pool | None = None, **options: Any
    ) -> Callable[[socket.socket], object]:
        """
        Who does a handshake as a client, with an identity of a pool.
        """
        context = self.context(True)
        if identity is not None:
            own, self.pool = self.pool, pool or self.pool
            self.credentials(context, identity)
            self.pool = own
        if "alpn" in options:
            context.set_alpn_protos([options["alpn"]])
        name = options.get("name", SERVER.domain).encode()
        return lambda sock: Encrypted(sock, context, True, name).handshake()

    def stranger(self) -> Pool:
        """
        A pool whose authority nobody knows.
        """
        pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(pool, CLIENT)
        createIdentity(pool, SERVER)
        return pool

    async def test_clientsWithACertificateThatWillNotDo(self) -> None:
        """
        None, that of somebody else, and one of a stranger.
        """
        await self.refusesClient("^tls: .*certificate", self.client(None))
        await self.refusesClient("^identity: .* is for ", self.client(SERVER))
        await self.refusesClient("^identity: .*unknown", self.client(CLIENT, self.stranger()))

    async def test_clientsWithAGoodCertificateAndNothingElse(self) -> None:
        """
        They are refused for their application protocol, or the name that they ask for.
        """
        await self.refusesClient("no app", self.client(), alpn=(b"imap",), requireALPN=True)
        await self.refusesClient("only other", self.client(alpn=b"smtp"), alpn=(b"imap",))
        await self.refusesClient("not ours", self.client(name="other.example.org"))

    def shower(
        self, identity: Identity, version: ssl.TLSVersion, isServer: bool
    ) -> Callable[[socket.socket], object]:
        """
        Who shows the certificate of C{identity}, which is no secret, without having its key.
        """
        directory = self.pool.path / str(identity)
        certificate = directory / "fullchain.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if isServer else ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.pool.path / "ca" / "cert.pem")
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(certificate, forgedKey(certificate, directory / "forged.pem"))

        def speak(sock: socket.socket) -> None:
            name = None if isServer else SERVER.domain
            with context.wrap_socket(sock, isServer, server_hostname=name) as wrapped:
                wrapped.recv(1)

        return speak

    async def test_clientsThatShowACertificateOfAnother(self) -> None:
        """
        Anybody can; without its key that proves nothing.
        """
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            await self.refusesClient("signature", self.shower(CLIENT, version, isServer=False))

    async def test_serversThatShowACertificateOfAnother(self) -> None:
        """
        The same.
        """
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            await self.refusesServer("signature", self.shower(SERVER, version, isServer=True))

    async def test_clientsThatLeaveBeforeTheProof(self) -> None:
        """
        With the certificate on the table.
        """
        context = self.context(True)
        self.credentials(context, CLIENT)

        def speak(sock: socket.socket) -> None:
            network = Encrypted(sock, context, True, SERVER.domain.encode())
            with contextlib.suppress(SSL.WantReadError):
                network.tls.do_handshake()
            network.flush()
            while True:
                network.fill()
                try:
                    network.tls.do_handshake()
                except SSL.WantReadError:
                    continue
                break
            flight = network.tls.bio_read(65536)
            # The first record that is encrypted has the certificate; behind it come the proof and
            # the end of the handshake.
            first = 0
            while flight[first] != 23:
                first += 5 + int.from_bytes(flight[first + 3 : first + 5], "big")
            size = 5 + int.from_bytes(flight[first + 3 : first + 5], "big")
            assert size > 300 and len(flight) > first + size, (size, len(flight))
            sock.sendall(flight[: first + size])
            sock.shutdown(socket.SHUT_WR)

        await self.refusesClient("closed the connection during", speak)

    async def test_serversWithACertificateThatWillNotDo(self) -> None:
        """
        That of somebody else, and one of a stranger.
        """

        def speak(sock: socket.socket) -> None:
            Encrypted(sock, context, False).handshake()

        context = self.context(False)
        expected = Identity(None, "other.example.org")
        await self.refusesServer("^identity: .* is for ", speak, remoteID=expected)
        await self.refusesServer("^identity: .*unknown", speak, pool=self.stranger())

    async def test_serversThatChooseWhatWasNotOffered(self) -> None:
        """
        With a good certificate.
        """
        context = self.context(False)
        context.set_alpn_select_callback(lambda connection, offered: b"three")

        def speak(sock: socket.socket) -> None:
            Encrypted(sock, context, False).handshake()

        await self.refusesServer("extension|offered", speak, alpn=(b"one", b"two"))
