"""
Tests for L{tlstunnel.protocols.postgresql}.
"""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import SERVER, Encrypted, Plain, TunnelTests
from tlstunnel.errors import ForeignProtocol, Malformed, Oversize, Refused, TLSFailed, TunnelError
from tlstunnel.protocols.postgresql import (
    ALPN,
    CANCEL_IN_CLEAR,
    DIRECT,
    WithoutChannelBinding,
    postgresql,
)
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, filtered, said, server, split
from tlstunnel.testing.memory import Driver
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import Mode

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
GSSENC_REQUEST = bytes.fromhex("0000000804d21630")
CANCEL = bytes.fromhex("0000001004d2162e0000007b000001c8")
# Protocol 3.2: a longer key.
LONG_CANCEL = struct.pack(">III", 268, 0x04D2162E, 123) + bytes(256)

HELLO = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"


def startup(parameters: bytes = b"user\0alice\0\0", version: int = 0x00030000) -> bytes:
    """
    A StartupMessage.
    """
    return struct.pack(">II", 8 + len(parameters), version) + parameters


def message(kind: bytes, content: bytes) -> bytes:
    """
    A message of the server.
    """
    return kind + struct.pack(">I", 4 + len(content)) + content


def sasl(*mechanisms: bytes) -> bytes:
    """
    AuthenticationSASL.
    """
    return message(b"R", struct.pack(">I", 10) + b"".join(m + b"\0" for m in mechanisms) + b"\0")


TLS_REQUIRED = message(b"E", b"SFATAL\0VFATAL\0C28000\0MTLS required\0\0")

PLUS = sasl(b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")
PLAIN = sasl(b"SCRAM-SHA-256")

# What no connection begins with.
GARBAGE = {
    "another code of the same length": bytes.fromhex("0000000804d21640"),
    "an SSLRequest that is longer": bytes.fromhex("0000000904d2162f00"),
    "a GSSENCRequest that is longer": bytes.fromhex("0000000904d2163000"),
    "a length below that of any message": bytes.fromhex("00000004") + bytes(8),
    "a length of nothing": bytes(16),
    "a StartupMessage without parameters": bytes.fromhex("0000000800030000"),
    "protocol 2": bytes.fromhex("0000012800020000") + bytes(288),
    "protocol 4": bytes.fromhex("0000000d0004000061006100") + bytes(1),
    "a CancelRequest that is too short": bytes.fromhex("0000000c04d2162e0000007b"),
    "a CancelRequest that is too long": bytes.fromhex("0000010d04d2162e") + bytes(261),
    "a command of a text protocol": b"EHLO client.example.org\r\n",
}

# A StartupMessage of 2 GiB.
HUGE = bytes.fromhex("7fffffff00030000")


class ClientRules(ClientConformance, SynchronousTestCase):
    """
    The client role: the rules.
    """

    dialect = postgresql
    dialogue = [
        ("A", SSL_REQUEST),
        ("T", b"N"),
        ("A", startup()),
        ("C", SSL_REQUEST),
        ("S", b"S"),
    ]
    inside = [("C", startup()), ("S", PLUS), ("T", PLAIN)]
    early = message(b"Q", b"SELECT 1\0")
    farewells = [
        message(b"E", b"SFATAL\0VFATAL\0C57P01\0Mshutting down\0\0"),
        message(b"E", b"SFATALE\0VPANIC\0Mx\0\0"),
    ]
    failures = [
        (4, b"N", Refused),
        (4, message(b"E", b"SFATAL\0Mlies for the user\0\0"), Refused),
        *((4, answer, Malformed) for answer in (b"s", b"\0", b"R", b"\x16", b"G", b"\xff")),
    ]


class ClientTests(SynchronousTestCase):
    """
    The client role.
    """

    def switched(self, *fromApp: bytes, options: tuple[str, ...] = ()) -> Driver:
        """
        After the switch, the app having sent C{fromApp}.
        """
        driver = client(postgresql, *options)
        for each in fromApp:
            driver.plain.feed(each)
        if not options:
            driver.play([("C", SSL_REQUEST), ("S", b"S")])
        self.assertEqual(driver.stage, "switched")
        self.assertEqual(driver.network.written, b"")
        return driver

    def test_theServerIsNotDialledBeforeTheAppHasSpoken(self) -> None:
        """
        Half a message is not enough.
        """
        driver = client(postgresql)
        driver.plain.feed(startup()[:-1])
        self.assertEqual(driver.network.written, b"")
        self.assertIsNone(driver.network.speaker)
        driver.plain.feed(startup()[-1:])
        self.assertEqual(driver.network.written, SSL_REQUEST)

    def test_theAppsRequestsForEncryptionAreDeclined(self) -> None:
        """
        One byte each, in every order in which clients ask.
        """
        for requests in (
            [SSL_REQUEST],
            [GSSENC_REQUEST],
            [GSSENC_REQUEST, SSL_REQUEST],
            [SSL_REQUEST, GSSENC_REQUEST],
            [SSL_REQUEST, SSL_REQUEST, GSSENC_REQUEST, GSSENC_REQUEST],
        ):
            driver = client(postgresql)
            for request in requests:
                driver.plain.feed(request)
                self.assertEqual(driver.plain.takeWritten(), b"N")
            driver.plain.feed(startup())
            driver.play([("C", SSL_REQUEST), ("S", b"S")])
            driver.handshake()
            self.assertEqual(driver.network.written, startup())

    def test_anAppThatAsksForeverIsCutOff(self) -> None:
        """
        Two requests of a kind are answered, the third is not.
        """
        for request in (SSL_REQUEST, GSSENC_REQUEST):
            driver = client(postgresql)
            driver.plain.feed(request * 3)
            self.assertEqual(driver.plain.written, b"NN")
            self.assertIsInstance(driver.error, Malformed)

    def test_aCancelRequestIsSentInsideTLS(self) -> None:
        """
        With keys of both lengths.
        """
        for request in (CANCEL, LONG_CANCEL):
            driver = self.switched(request)
            driver.handshake()
            self.assertEqual(driver.network.written, request)

    def test_aStartupMessageMayBeLong(self) -> None:
        """
        What an app may say is for its server to limit, and for us only in all.
        """
        long = startup(b"user\0alice\0options\0".ljust(60000, b"x") + b"\0\0")
        driver = self.switched(long)
        driver.handshake()
        self.assertEqual(driver.network.written, long)
        for longer in (startup(bytes(65536)), HUGE):
            driver = client(postgresql)
            driver.plain.feed(longer)
            self.assertIsInstance(driver.error, Oversize)

    def test_anAppThatStartsTLSIsTold(self) -> None:
        """
        In the log: C{sslnegotiation=direct} is not for the plain leg.
        """
        driver = client(postgresql)
        driver.plain.feed(HELLO)
        self.assertIsInstance(driver.error, ForeignProtocol)
        self.assertEqual(driver.plain.written, b"")
        self.assertIsNone(driver.network.speaker)

    def test_garbageOfTheAppIsNotForwarded(self) -> None:
        """
        Nobody is dialled for it.
        """
        for what, garbage in GARBAGE.items():
            driver = client(postgresql)
            driver.plain.feed(garbage)
            self.assertIsInstance(driver.error, Malformed, what)
            self.assertIsNone(driver.network.speaker)

    def test_noWordOfAnErrorIsShown(self) -> None:
        """
        Not even in the log (CVE-2024-10977).
        """
        driver = client(postgresql)
        driver.plain.feed(startup())
        driver.network.feed(message(b"E", b"SFATAL\0Mlies for the user\0\0"))
        self.assertNotIn("lies", str(driver.error))

    def test_directlyNothingIsAsked(self) -> None:
        """
        TLS begins at once; what the app began with is sent inside.
        """
        driver = self.switched(SSL_REQUEST, startup(), options=(DIRECT,))
        driver.network.session = Session(None)
        driver.network.session.alpn = ALPN
        driver.handshake()
        self.assertEqual(driver.network.written, startup())
        self.assertEqual(driver.plain.written, b"N")

    def test_directlyTheServerHasToAgreeOnTheProtocol(self) -> None:
        """
        Without ALPN it may be any server that speaks TLS.
        """
        for agreed in (b"", b"http/1.1"):
            driver = self.switched(startup(), options=(DIRECT,))
            driver.network.session = Session(None)
            driver.network.session.alpn = agreed
            driver.handshake()
            self.assertIsInstance(driver.error, TLSFailed)
            self.assertEqual(driver.network.written, b"")

    def test_aServerThatDoesNotBeginDirectlyMayBeTooOld(self) -> None:
        """
        Where it gives no other reason, the hint is about that; without the option it is not.
        """
        for options, known, cause in (
            ((DIRECT,), "", "no direct TLS"),
            ((DIRECT,), "expired", "expired"),
            ((), "", ""),
        ):
            driver = self.switched(startup(), options=options)
            driver.network.lose(TLSFailed("by the test", b"", known))
            assert isinstance(driver.error, TLSFailed)
            self.assertEqual((driver.error.detail, driver.error.cause), ("by the test", cause))


class ServerRules(ServerConformance, SynchronousTestCase):
    """
    The server role: the rules.
    """

    dialect = postgresql
    dialogue = [("C", GSSENC_REQUEST), ("S", b"N"), ("C", SSL_REQUEST), ("S", b"S")]
    needsTLS = {
        startup(): TLS_REQUIRED,
        startup(b"user\0alice\0\0".ljust(999, b"x")): TLS_REQUIRED,
        CANCEL: b"",
        LONG_CANCEL: b"",
    }
    farewells = [
        (GSSENC_REQUEST * 3, b"NN", Malformed),
        *((garbage, b"", Malformed) for garbage in GARBAGE.values()),
        (HUGE, b"", Oversize),
    ]
    # TLS at once is no foreign protocol here.
    foreign = (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n")


class ServerTests(SynchronousTestCase):
    """
    The server role.
    """

    def test_anSSLRequestIsGranted(self) -> None:
        """
        With one byte, and the backend sees the session only.
        """
        driver = server(postgresql)
        self.assertEqual(driver.network.written, b"")
        driver.play([("C", SSL_REQUEST), ("S", b"S")])
        self.assertEqual(driver.stage, "switched")
        self.assertFalse(driver.backendDialled)
        driver.handshake()
        self.assertEqual(driver.stage, "relay")
        driver.network.feed(startup())
        self.assertEqual(driver.plain.written, startup())
        driver.plain.feed(PLUS)
        self.assertEqual(driver.network.written, PLUS)

    def test_aSessionInClearGetsAnError(self) -> None:
        """
        In the form that libpq shows to its user; it is never forwarded.
        """
        for pieces in ((startup(),), (startup(b"user\0alice\0\0".ljust(9992, b"x")),)):
            driver = server(postgresql)
            for piece in pieces:
                driver.network.feed(piece)
            self.assertEqual(driver.network.written, TLS_REQUIRED)
            self.assertIsInstance(driver.error, Refused)
            self.assertTrue(driver.network.ending)
            self.assertFalse(driver.backendDialled)

    def test_aCancelRequestInClearIsNotForwarded(self) -> None:
        """
        It is not answered either: none is.
        """
        driver = server(postgresql)
        self.assertEqual(said(driver, CANCEL), b"")
        self.assertIsInstance(driver.error, Refused)
        self.assertIn(CANCEL_IN_CLEAR, str(driver.error))
        self.assertFalse(driver.backendDialled)

    def test_aCancelRequestInClearIsForwardedByOption(self) -> None:
        """
        That one message, and not what follows it; the option concerns nothing else.
        """
        for request in (CANCEL, LONG_CANCEL):
            driver = server(postgresql, CANCEL_IN_CLEAR)
            driver.network.feed(request + startup())
            self.assertEqual(driver.plain.written, request)
            self.assertFalse(driver.network.isTLS)
        driver = server(postgresql, CANCEL_IN_CLEAR)
        self.assertEqual(said(driver, startup()), TLS_REQUIRED)
        self.assertFalse(driver.backendDialled)

    def test_tlsMayBeginAtOnce(self) -> None:
        """
        The first byte decides, and all of them are left for OpenSSL.
        """
        for pieces in split(HELLO):
            driver = server(postgresql)
            driver.network.feed(pieces[0])
            self.assertEqual(driver.stage, "switched")
            self.assertEqual(driver.network.pendingInput(100), pieces[0])
            driver.network.session = Session(None)
            driver.network.session.alpn = ALPN
            driver.handshake()
            self.assertEqual(driver.stage, "relay")
            self.assertEqual(driver.network.written, b"")

    def test_tlsAtOnceNeedsTheNameOfTheProtocol(self) -> None:
        """
        A client of another one could have been led here.
        """
        driver = server(postgresql)
        driver.network.feed(HELLO)
        driver.network.session = Session(None)
        driver.handshake()
        self.assertIsInstance(driver.error, TLSFailed)
        self.assertFalse(driver.backendDialled)

    @given(st.binary(max_size=300))
    def test_nothingMakesItForwardAnything(self, data: bytes) -> None:
        """
        Whatever a client says in clear, the backend is not dialled, and errors are ours.
        """
        driver = server(postgresql)
        driver.network.feed(data)
        self.assertFalse(driver.backendDialled)
        if driver.error is not None:
            self.assertIsInstance(driver.error, TunnelError)


class WithoutChannelBindingTests(SynchronousTestCase):
    """
    The one edit of what the server says.
    """

    def test_theMechanismIsTakenOut(self) -> None:
        """
        Wherever it stands in the list, and whatever precedes the list.
        """
        notice = message(b"N", b"SNOTICE\0Mhello\0\0")
        version = message(b"v", struct.pack(">II", 3, 0))
        for before, after in {
            PLUS: PLAIN,
            sasl(b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS"): PLAIN,
            sasl(b"SCRAM-SHA-512-PLUS", b"X", b"SCRAM-SHA-256-PLUS"): sasl(b"X"),
            PLAIN: PLAIN,
            notice + PLUS: notice + PLAIN,
            version + notice + PLUS + b"R": version + notice + PLAIN + b"R",
        }.items():
            for pieces in ((before,), *split(before)):
                edit = WithoutChannelBinding()
                self.assertEqual(filtered(edit, pieces), after)
                self.assertTrue(edit.done)

    def test_everythingElsePasses(self) -> None:
        """
        From the first message on that is not expected, nothing is looked at.
        """
        for first in (
            message(b"R", struct.pack(">I", 0)),
            message(b"R", struct.pack(">I", 5) + b"salt"),
            message(b"E", b"SFATAL\0Mno\0\0"),
            b"R\0\0\x7f\xff\0\0\0\x0a" + bytes(40),
            b"R\0\0\0\x02\0\0\0\x0a" + bytes(40),
            b"G",
            b"\0",
            b"220 hello\r\n",
        ):
            for pieces in ((first + PLUS,), *split(first + PLUS)):
                self.assertEqual(filtered(WithoutChannelBinding(), pieces), first + PLUS)

    def test_aLongNoticeIsNotKept(self) -> None:
        """
        Its bytes pass as they come.
        """
        edit = WithoutChannelBinding()
        head = b"N\x7f\xff\xff\xff"
        self.assertEqual(edit.feed(head + bytes(1000)), head + bytes(1000))
        self.assertEqual(edit.feed(bytes(1000)), bytes(1000))
        self.assertEqual(edit.flush(), b"")

    @given(st.lists(st.binary(min_size=1, max_size=40)))
    def test_whateverComesNothingIsLost(self, pieces: list[bytes]) -> None:
        """
        Bytes of any kind pass, but for that mechanism.
        """
        stream = b"".join(pieces)
        if b"-PLUS" not in stream:
            self.assertEqual(filtered(WithoutChannelBinding(), pieces), stream)


class SocketTests(TunnelTests):
    """
    What depends on the socket: who reads the first byte.
    """

    offered: list[bytes] = []

    def context(self, isClient: bool) -> SSL.Context:
        """
        With C{offered} as ALPN.
        """
        context = super().context(isClient)
        if self.offered and isClient:
            context.set_alpn_protos(self.offered)
        elif self.offered:
            context.set_alpn_select_callback(lambda _, names: self.offered[0])
        return context

    def exchange(self, network: Encrypted, plain: Plain) -> None:
        """
        The session's first words.
        """
        network.write(startup())
        self.assertEqual(plain.read(len(startup())), startup())
        plain.write(PLUS)
        self.assertEqual(network.read(len(PLUS)), PLUS)

    async def test_theServerTakesTLSAtOnce(self) -> None:
        """
        With ALPN, on the port on which others ask.
        """
        self.offered = [ALPN]
        await self.through(self.exchange, "postgresql")

    async def test_theServerTakesARequest(self) -> None:
        """
        In two segments, with a GSSENCRequest before it.
        """

        def ask(sock: socket.socket) -> None:
            sock.sendall(GSSENC_REQUEST)
            self.assertEqual(sock.recv(10), b"N")
            sock.sendall(SSL_REQUEST[:3])
            sock.sendall(SSL_REQUEST[3:])
            self.assertEqual(sock.recv(10), b"S")

        await self.through(self.exchange, "postgresql", ask)

    def serve(self, *options: str) -> tuple[socket.socket, str]:
        """
        A backend, and the address of a tunnel before it.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(20)
        self.addCleanup(backend.close)
        address = f"127.0.0.1:{backend.getsockname()[1]}"
        service = self.tunnel(address, "postgresql", options=frozenset(options))
        return backend, service.addresses[0]

    async def test_aRequestToCancelReachesTheBackend(self) -> None:
        """
        By option; the client's connection ends when the backend has ended its own.
        """
        backend, address = self.serve(CANCEL_IN_CLEAR)

        def script() -> list[object]:
            with connect(address) as asking:
                asking.sendall(CANCEL)
                accepted, _ = backend.accept()
                with accepted:
                    got = accepted.recv(100)
                    asking.settimeout(0.05)
                    try:
                        early: object = asking.recv(1)
                    except TimeoutError:
                        early = "still open"
                asking.settimeout(20)
                return [got, early, asking.recv(1)]

        self.assertEqual(await deferToThread(script), [CANCEL, "still open", b""])

    async def test_bothRolesUnderstandEachOther(self) -> None:
        """
        By negotiation and without.
        """
        backend, address = self.serve()

        def script(near: str) -> list[bytes]:
            with connect(near) as app:
                app.sendall(SSL_REQUEST)
                answers = [app.recv(1)]
                app.sendall(startup())
                accepted, _ = backend.accept()
                with accepted:
                    answers.append(accepted.recv(100))
                    accepted.sendall(PLUS)
                answers.append(app.recv(100))
                return answers

        for options in ((), (DIRECT,)):
            tunnel = self.tunnel(
                address,
                "postgresql",
                mode=Mode.CLIENT,
                localID=None,
                remoteID=SERVER,
                options=frozenset(options),
            )
            answers = await deferToThread(script, tunnel.addresses[0])
            self.assertEqual(answers, [b"N", startup(), PLAIN])


def connect(address: str) -> socket.socket:
    """
    A blocking connection to C{HOST:PORT}.
    """
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), 20)
