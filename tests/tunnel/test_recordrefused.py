"""
Tests for L{tlstunnel.tunnel.record}: of a peer that is refused, nothing is believed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.certificates import der
from tests.loopback import CLIENT, PATIENCE, SERVER, Encrypted
from tests.tunnel.recorded import P_256, UNVERIFIED, ObservedTests, connection
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.tunnel.description import Mode


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
