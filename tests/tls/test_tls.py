"""
Tests for L{tlstunnel.tls}: what is agreed on and what is refused, over real TLS through a tunnel.
Who is believed is tested in L{tests.tls.test_matrix}.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, authorityRecipe, dns, make
from tests.loopback import PATIENCE, SERVER, Encrypted, Plain, TunnelTests, wait
from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.program.service import TunnelService
from tlstunnel.tls.session import (
    Session,
)
from tlstunnel.tls.verification import Verifier
from tlstunnel.tunnel.description import (
    Mode,
)


class ServerTLSTests(TunnelTests):
    """
    A server tunnel, met by clients of other make: the standard library's C{ssl}, and pyOpenSSL.
    """

    def start(self, **settings: Any) -> TunnelService:
        """
        A tunnel before a backend that echoes.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)

        def echo() -> None:
            while True:
                try:
                    sock, _ = backend.accept()
                except OSError:
                    return
                with sock, contextlib.suppress(ConnectionError):
                    while data := sock.recv(4096):
                        sock.sendall(data)

        self.echoing = deferToThread(echo)
        # Ends the thread before the socket is closed under it.
        self.addCleanup(lambda: self.echoing)
        self.addCleanup(backend.shutdown, socket.SHUT_RDWR)
        return self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}", **settings)

    def client(self) -> ssl.SSLContext:
        """
        A client that verifies.
        """
        return ssl.create_default_context(cafile=str(self.pool.path / "ca" / "cert.pem"))

    async def meet(
        self,
        service: TunnelService,
        context: ssl.SSLContext,
        use: Callable[[ssl.SSLSocket], Any],
        name: str | None = SERVER.domain,
    ) -> Any:
        """
        Connect to a tunnel, and do something with the connection in a thread.
        """
        port = int(service.addresses[0].rsplit(":", 1)[1])

        def run() -> Any:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                with context.wrap_socket(sock, server_hostname=name) as wrapped:
                    return use(wrapped)

        return await deferToThread(run)

    def echoed(self, sock: ssl.SSLSocket) -> None:
        """
        The connection works.
        """
        sock.sendall(b"x")
        self.assertEqual(sock.recv(1), b"x")

    async def refuses(
        self, service: TunnelService, context: ssl.SSLContext, alert: str, **name: Any
    ) -> None:
        """
        The tunnel refuses with an alert.
        """
        with self.assertRaisesRegex(ssl.SSLError, alert):
            await self.meet(service, context, self.echoed, **name)
        await wait(lambda: bool(self.ends))
        self.assertEnded("tls")

    async def test_aVerifyingClientIsServed(self) -> None:
        """
        Also by TLS of another make.
        """
        await self.meet(self.start(), self.client(), self.echoed)

    async def test_aNameThatIsNotOursIsRefused(self) -> None:
        """
        With alert 112 (rule 11).
        """
        context = self.client()
        context.check_hostname = False
        await self.refuses(self.start(), context, "(?i)unrecognized.name", name="other.example.org")
        self.assertIn("other.example.org", self.ends[0]["detail"])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_aNameThatIsNotOursLeavesTheHookOfTheProgramAlone(self) -> None:
        """
        pyOpenSSL shows it to C{sys.excepthook}, where a traceback for each scanner would be too
        much; that of the program that we are a part of stays, and never hears of it.
        """
        shown: list[object] = []

        def hook(*error: object) -> None:
            shown.append(error)

        self.patch(sys, "excepthook", hook)
        context = self.client()
        context.check_hostname = False
        service = self.start()
        for number in range(2):
            self.ends.clear()
            await self.refuses(service, context, "(?i)unrecognized", name=f"n{number}.example.org")
            self.assertIs(sys.excepthook, hook)
        self.assertEqual(shown, [])

    async def test_anyNameIsServedWhereThatWasAskedFor(self) -> None:
        """
        The option relaxes the check.
        """
        context = self.client()
        context.check_hostname = False
        await self.meet(self.start(anyName=True), context, self.echoed, "other.example.org")

    async def test_noNameIsServed(self) -> None:
        """
        A client without SNI gets our certificate.
        """
        context = self.client()
        context.check_hostname = False
        await self.meet(self.start(), context, self.echoed, None)

    async def test_anAddressIsNoName(self) -> None:
        """
        A client that asks for the address it connected to is served as one that does not ask
        (RFC 6066, section 3; lftp).
        """
        service = self.start()
        port = int(service.addresses[0].rsplit(":", 1)[1])

        def run(name: bytes) -> None:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                network = Encrypted(sock, self.context(True), True, name)
                network.handshake()
                network.write(b"x")
                self.assertEqual(network.read(1), b"x")

        for name in (b"127.0.0.1", b"::1"):
            await deferToThread(run, name)

    async def test_aUserIsServedUnderAnyName(self) -> None:
        """
        The certificate of user@domain covers no name that could be asked for.
        """
        user = Identity("user", "example.org")
        createIdentity(self.pool, user)
        context = self.client()
        context.check_hostname = False
        await self.meet(self.start(localID=user), context, self.echoed, "other.example.org")

    async def test_ourALPNIsSelected(self) -> None:
        """
        From what the client offers, in our order.
        """
        context = self.client()
        context.set_alpn_protocols(["c", "b", "a"])
        service = self.start(alpn=(b"a", b"b"))
        chosen = await self.meet(service, context, lambda sock: sock.selected_alpn_protocol())
        self.assertEqual(chosen, "a")

    async def test_onlyOtherALPNIsRefused(self) -> None:
        """
        With alert 120 (rule 11).
        """
        context = self.client()
        context.set_alpn_protocols(["http/1.1"])
        await self.refuses(self.start(alpn=(b"imap",)), context, "(?i)no.application.protocol")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_noALPNIsAccepted(self) -> None:
        """
        Many clients have never heard of it.
        """
        await self.meet(self.start(alpn=(b"imap",)), self.client(), self.echoed)

    async def test_noALPNIsRefusedWhereItIsRequired(self) -> None:
        """
        The strict option.
        """
        service = self.start(alpn=(b"imap",), requireALPN=True)
        with self.assertRaises((OSError, AssertionError)):
            await self.meet(service, self.client(), self.echoed)
        await wait(lambda: bool(self.ends))
        self.assertEnded("tls")

    async def test_anOfferIsIgnoredWhereWeHaveNoId(self) -> None:
        """
        So that C{curl https://} works.
        """
        context = self.client()
        context.set_alpn_protocols(["h2", "http/1.1"])
        chosen = await self.meet(self.start(), context, lambda sock: sock.selected_alpn_protocol())
        self.assertIsNone(chosen)

    async def test_TLS11IsRefused(self) -> None:
        """
        1.2 is the least.
        """
        context = self.client()
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        await self.refuses(self.start(), context, "(?i)version")

    async def test_TLS12IsRefusedWhere13IsTheLeast(self) -> None:
        """
        --minimum-tls 1.3.
        """
        context = self.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        await self.refuses(self.start(minimum="1.3"), context, "(?i)version")

    async def test_onlyGoodCiphersAreAgreedOn(self) -> None:
        """
        A TLS 1.2 client that has only CBC is refused.
        """
        context = self.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384")
        await self.refuses(self.start(), context, "(?i)handshake.failure")

    async def test_noSessionIsResumed(self) -> None:
        """
        Every connection is authenticated anew, in both versions.
        """
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.client()
            context.maximum_version = version
            service = self.start()
            port = int(service.addresses[0].rsplit(":", 1)[1])

            def run(port: int = port, context: ssl.SSLContext = context) -> bool:
                session = None
                for _ in range(2):
                    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                        with context.wrap_socket(
                            sock, server_hostname=SERVER.domain, session=session
                        ) as wrapped:
                            self.echoed(wrapped)
                            session = wrapped.session
                            resumed = wrapped.session_reused
                return bool(resumed)

            self.assertFalse(await deferToThread(run))

    async def test_renegotiationIsRefused(self) -> None:
        """
        A TLS 1.2 client that asks for it gets none, and the tunnel lives.
        """
        self.version = "1.2"

        def script(network: Encrypted, plain: Plain) -> None:
            network.tls.renegotiate()
            try:
                network.tls.do_handshake()
            except SSL.WantReadError:
                pass
            network.flush()
            with self.assertRaisesRegex(SSL.Error, "no renegotiation"):
                network.fill()
                network.tls.do_handshake()

        await self.through(script)

    async def test_aClientHelloInSingleBytesIsUnderstood(self) -> None:
        """
        Nothing is decided from the first segment (rule 17).
        """
        service = self.start()
        port = int(service.addresses[0].rsplit(":", 1)[1])

        def run() -> None:
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
            network = Encrypted(sock, self.context(True), True)
            try:
                network.tls.do_handshake()
            except SSL.WantReadError:
                pass
            for byte in network.tls.bio_read(65536):
                sock.send(bytes([byte]))
            network.handshake()
            network.write(b"x")
            self.assertEqual(network.read(1), b"x")
            network.close()

        await deferToThread(run)

    async def test_aWideChainIsSentWhole(self) -> None:
        """
        54 KB of certificates do not stall the handshake.
        """
        authority = make(authorityRecipe("wide"))
        names = tuple(dns(f"name-{n}.example.org") for n in range(2400))
        leaf = make(Recipe(san=alternative(dns(SERVER.domain), *names)), authority)
        directory = self.pool.path / str(SERVER)
        (directory / "fullchain.pem").write_bytes(leaf.chainPEM())
        (directory / "privkey.pem").write_bytes(leaf.keyPEM())
        self.assertGreater(len(leaf.certificate.public_bytes(Encoding.DER)), 50000)
        context = ssl.create_default_context(
            cadata=authority.certificate.public_bytes(Encoding.PEM).decode()
        )
        await self.meet(self.start(), context, self.echoed)

    async def test_reloadedCredentialsServeNewConnectionsOnly(self) -> None:
        """
        Old connections keep what they have.
        """
        service = self.start()

        def serial(sock: ssl.SSLSocket) -> bytes:
            return sock.getpeercert(binary_form=True) or b""

        before = await self.meet(service, self.client(), serial)
        createIdentity(self.pool, SERVER, replace=True)
        self.assertEqual(await self.meet(service, self.client(), serial), before)
        service.reload()
        after = await self.meet(service, self.client(), serial)
        self.assertNotEqual(after, before)

    async def test_aFailedReloadKeepsTheOldState(self) -> None:
        """
        A broken file harms nobody who is served.
        """
        service = self.start()
        (self.pool.path / str(SERVER) / "privkey.pem").write_text("broken")
        service.reload()
        await self.meet(service, self.client(), self.echoed)


class ClientTLSTests(TunnelTests):
    """
    A client tunnel, met by servers of other make.
    """

    mode = Mode.CLIENT

    async def test_theNameIsAskedFor(self) -> None:
        """
        SNI has the domain that is expected.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            self.assertEqual(network.tls.get_servername(), b"server.example.org")

        await self.through(script)

    async def test_anAddressIsNotAskedFor(self) -> None:
        """
        RFC 6066, section 3: it is no name; nor is a user, whose domain is not that of a host.
        """
        for text in ("127.0.0.1", "somebody@example.org"):
            identity = Identity.parse(text)
            createIdentity(self.pool, identity)
            context = super().context(False)
            directory = self.pool.path / text
            context.use_certificate_chain_file(str(directory / "fullchain.pem"))
            context.use_privatekey_file(str(directory / "privkey.pem"))
            self.patch(self, "context", lambda isClient, made=context: made)

            def script(network: Encrypted, plain: Plain) -> None:
                self.assertIsNone(network.tls.get_servername())

            await self.through(script, remoteID=identity)

    async def test_ALPNIsOffered(self) -> None:
        """
        What --alpn says, and the server's choice is in the log.
        """
        context = self.context(False)
        context.set_alpn_select_callback(lambda connection, offered: offered[-1])
        self.context = lambda isClient: context  # type: ignore[method-assign]

        def script(network: Encrypted, plain: Plain) -> None:
            plain.close()
            network.read(1)
            network.end()

        await self.through(script, alpn=(b"one", b"two"))
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.ends[0]["alpn"], "two")

    async def test_aChoiceThatWasNotOfferedIsRefused(self) -> None:
        """
        A server cannot talk us into another protocol (rule 11).
        """
        context = self.context(False)
        context.set_alpn_select_callback(lambda connection, offered: b"three")
        self.context = lambda isClient: context  # type: ignore[method-assign]

        def script(network: Encrypted, plain: Plain) -> None:
            self.assertEqual(plain.read(1), b"")

        # OpenSSL refuses it within the handshake, unless it is an older one, which leaves it to us.
        with contextlib.suppress(SSL.Error):
            await self.through(script, alpn=(b"one", b"two"))
        await wait(lambda: bool(self.ends))
        self.assertEnded("tls")
        self.assertRegex(self.ends[0]["detail"], "bad extension|was not offered")

    async def test_aServerThatWantsACertificateWeDoNotHaveIsNamed(self) -> None:
        """
        In TLS 1.3 that comes after our handshake; the log still says what it was.
        """
        context = self.context(False)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        self.context = lambda isClient: context  # type: ignore[method-assign]

        def script(network: Encrypted, plain: Plain) -> None:
            self.fail("the handshake must fail")

        with self.assertRaises(SSL.Error):
            await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("tls")
        self.assertIn("certificate_required", self.ends[0]["detail"])

    async def test_ourCertificateIsShownWhereItIsAskedFor(self) -> None:
        """
        -L with -c.
        """
        context = self.context(False)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        self.context = lambda isClient: context  # type: ignore[method-assign]
        us = Identity("us", "example.org")
        createIdentity(self.pool, us)

        def script(network: Encrypted, plain: Plain) -> None:
            certificate = network.tls.get_peer_certificate(as_cryptography=True)
            self.assertIn("us@example.org", str(certificate and certificate.extensions))

        await self.through(script, localID=us)

    async def test_aServerThatIsNotBelievedIsToldSo(self) -> None:
        """
        By a fatal alert within the handshake, before it could say anything.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            self.fail("the handshake must fail")

        self.version = "1.2"
        with self.assertRaises(SSL.Error) as raised:
            await self.through(script, remoteID=Identity(None, "other.example.org"))
        self.assertIn("alert", str(raised.exception))
        await wait(lambda: bool(self.ends))
        self.assertEnded("identity")


VERIFIER = Verifier(SERVER, Trust(Anchors((), True, "system")))


class _Completed:
    """
    Stands for an C{SSL.Connection} whose handshake is complete.
    """

    def __init__(self, alpn: bytes = b"") -> None:
        self.alpn = alpn

    def get_protocol_version_name(self) -> str:
        """One."""
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        """One."""
        return "TLS_AES_128_GCM_SHA256"

    def get_group_name(self) -> str:
        """One."""
        return "x25519"

    def get_alpn_proto_negotiated(self) -> bytes:
        """What the peer has chosen."""
        return self.alpn


class SessionTests(SynchronousTestCase):
    """
    L{Session.completed}: OpenSSL regards the handshake as good, and it is looked at once more.
    """

    def refusal(self, session: Session, alpn: bytes = b"") -> str:
        """
        Why it is refused nevertheless.
        """
        connection: Any = _Completed(alpn)
        error = session.completed(connection)
        return "" if error is None else f"{error.reason}: {error.detail}"

    def test_whoeverMetNoExpectationIsRefused(self) -> None:
        """
        Where nobody was asked for a verdict, there is none that is good (rule 2).
        """
        session = Session(VERIFIER)
        self.assertEqual(self.refusal(session), "identity: the peer was not verified")
        session.shown = SERVER
        self.assertEqual(self.refusal(session), "")
        self.assertEqual(self.refusal(Session(None)), "")

    def test_aRefusalIsNotForgotten(self) -> None:
        """
        Whatever OpenSSL made of it.
        """
        session = Session(VERIFIER)
        session.shown = SERVER
        session.refusal = IdentityRefused("no")
        self.assertEqual(self.refusal(session), "identity: no")
        self.assertIsNone(session.identity)

    def test_aChoiceThatWasNotOfferedIsRefused(self) -> None:
        """
        OpenSSL refuses it as well (rule 11).
        """
        self.assertIn("not offered", self.refusal(Session(None, (b"imap",)), b"smtp"))
        self.assertEqual(self.refusal(Session(None, (b"imap",)), b"imap"), "")
        self.assertEqual(self.refusal(Session(None, (b"imap",))), "")
