"""
Tests for L{tlstunnel.tunnel.hints}: what the log advises where a connection has failed.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, dns, make, root
from tests.loopback import CLIENT, PATIENCE, SERVER, Encrypted, TunnelTests, wait
from tlstunnel.address import TCPAddress
from tlstunnel.errors import (
    BackendRefused,
    Closed,
    ConnectFailed,
    ForeignProtocol,
    IdentityRefused,
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    Reset,
    TimedOut,
    TLSFailed,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, KeyIdentity, Selector
from tlstunnel.identity.ocsp import ABSENT, BAD
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.revocation import EARLY, MISSING, OLD, REVOKED
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.choosing import hintFor
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.record import (
    CONNECTING,
    GREETING,
    HANDSHAKING,
    NEGOTIATING,
    POOL_SERVICE,
    RELAYING,
    Record,
    Stage,
)

Speak = Callable[[socket.socket], object]

SHORT = Limits(greeting=0.2, negotiation=0.2, handshake=0.2)


def silent(sock: socket.socket) -> None:
    """
    Say nothing until the other end leaves.
    """
    while sock.recv(1000):
        pass


def saying(*messages: bytes) -> Speak:
    """
    Say this, each time after something was heard, but for the first; then be silent.
    """

    def speak(sock: socket.socket) -> None:
        first, *rest = messages
        sock.sendall(first)
        for message in rest:
            sock.recv(1000)
            sock.sendall(message)
        silent(sock)

    return speak


class ScenarioTests(TunnelTests):
    """
    What goes wrong in practice, on real sockets.

    @ivar detail: what the log says of the last connection.
    """

    def hint(self) -> str:
        """
        That of the one connection that there was, which is in its line too.
        """
        [event] = self.ends
        self.ends.clear()
        hint = event["hint"]
        self.assertEqual(f"; hint: {hint}" in event["text"], hint is not None)
        self.detail = str(event["detail"])
        return str(hint)

    async def toServer(self, serve: Speak, dialect: str = "none", **settings: Any) -> str:
        """
        The hint where a client tunnel meets a server that C{serve} plays.
        """
        self.mode = Mode.CLIENT
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.settimeout(PATIENCE)
            service = self.tunnel(
                f"127.0.0.1:{listening.getsockname()[1]}", dialect, **{"limits": SHORT} | settings
            )
            await self.play(service, lambda app: self.accept(listening, serve))
        return self.hint()

    async def fromClient(self, speak: Speak, dialect: str = "none", **settings: Any) -> str:
        """
        The hint where a server tunnel meets a client that C{speak} plays.
        """
        self.mode = Mode.SERVER
        backend = settings.pop("backend", "127.0.0.1:1")
        service = self.tunnel(backend, dialect, **{"limits": SHORT} | settings)
        await self.play(service, speak)
        return self.hint()

    def leaving(self, words: bytes) -> Speak:
        """
        Say this, and leave.
        """

        def speak(sock: socket.socket) -> None:
            sock.sendall(words)
            sock.shutdown(socket.SHUT_WR)

        return speak

    def accept(self, listening: socket.socket, serve: Speak) -> None:
        """
        Play one server.
        """
        with listening.accept()[0] as sock, contextlib.suppress(SSL.Error, OSError):
            sock.settimeout(PATIENCE)
            serve(sock)

    async def play(self, service: Any, speak: Speak) -> None:
        """
        Connect to a tunnel, and wait for what it logs.
        """
        host, port = service.addresses[0].rsplit(":", 1)

        def run() -> None:
            with (
                socket.create_connection((host, int(port)), PATIENCE) as sock,
                contextlib.suppress(SSL.Error, OSError),
            ):
                speak(sock)
                sock.recv(1000)

        await deferToThread(run)
        await wait(lambda: bool(self.ends))

    def stranger(self) -> Pool:
        """
        A pool whose authority nobody knows.
        """
        pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(pool, CLIENT)
        createIdentity(pool, SERVER)
        return pool

    def server(self, context: SSL.Context | None = None) -> Speak:
        """
        A server with TLS from the first byte.
        """

        def serve(sock: socket.socket) -> None:
            network = Encrypted(sock, context or self.context(False), False)
            network.handshake()
            network.read(1)

        return serve

    def client(self, identity: Identity | None = None) -> Speak:
        """
        A client with TLS from the first byte.
        """
        context = self.context(True)
        if identity is not None:
            directory = self.pool.path / str(identity)
            context.use_certificate_chain_file(str(directory / "fullchain.pem"))
            context.use_privatekey_file(str(directory / "privkey.pem"))
        name = SERVER.domain.encode()
        return lambda sock: Encrypted(sock, context, True, name).handshake()

    async def test_nobodyListens(self) -> None:
        """
        It is the server that is missing, or the backend.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            free = f"127.0.0.1:{listening.getsockname()[1]}"
        self.mode = Mode.CLIENT
        await self.play(self.tunnel(free), silent)
        self.assertIn("no server listens there", self.hint())
        self.assertIn("start the backend", await self.fromClient(self.client(), backend=free))

    async def test_aServerIsSilentWhereItShouldGreet(self) -> None:
        """
        It may wait for TLS.
        """
        hint = await self.toServer(silent, "smtp")
        self.assertIn("TLS from the first byte, leave out --starttls", hint)

    async def test_aServerWantsTLSWhereItIsSpokenToInClear(self) -> None:
        """
        Where the client begins: some servers close, and some send an alert before.
        """

        def alert(sock: socket.socket) -> None:
            sock.recv(1000)
            sock.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

        for dialect in "irc", "http":
            hint = await self.toServer(self.server(), dialect)
            self.assertIn("if that server speaks TLS from the first byte, leave out", hint)
            hint = await self.toServer(alert, dialect)
            self.assertIn("speaks TLS from the first byte there: leave out", hint)

    async def test_aMonitorWithoutTLSIsToldOf(self) -> None:
        """
        By what upsd and munin-node say there.
        """
        node = b"# munin node at x\n"
        for dialect, said, hint in (
            ("nut", (b"ERR FEATURE-NOT-CONFIGURED\n",), "CERTIDENT"),
            ("nut", (b"ERR FEATURE-NOT-SUPPORTED\n",), "an upsd with TLS"),
            ("nut", (b"ERR UNKNOWN-COMMAND\n",), "an upsd with TLS"),
            ("nut", (b"ERR ALREADY-SSL-MODE\n",), "connect to upsd itself"),
            ("nut", (b"ERR ACCESS-DENIED\n",), "switch TLS on"),
            ("munin", (node, b"TLS MAYBE\n"), "tls_private_key"),
            ("munin", (node, b"# Unknown command.\n"), "switch TLS on"),
        ):
            self.assertIn(hint, await self.toServer(saying(*said), dialect), said)
        self.assertIn("allow", await self.toServer(lambda sock: None, "munin"))

    async def test_aDiskWithoutTLS(self) -> None:
        """
        Its server says so, or begins as those did that knew no TLS.
        """
        greeting = b"NBDMAGICIHAVEOPT\0\3"
        refusal = bytes.fromhex("0003e889045565a9 00000005 80000002 00000000")
        oldstyle = b"NBDMAGIC" + bytes.fromhex("0000420281861253") + bytes(136)
        for said, hint in (
            ((greeting, refusal), "--tls-creds of qemu-nbd"),
            ((greeting, refusal.replace(b"\x02", b"\x03")), "switch TLS on"),
            ((oldstyle,), "leave out -o in nbdkit"),
            ((b"NBDMAGICIHAVEOPT\0\2",), "leave out -o in nbdkit"),
        ):
            self.assertIn(hint, await self.toServer(saying(*said), "nbd"), said)

    async def test_aScreenWithoutTLSOrWithAnotherLogin(self) -> None:
        """
        Its server says so, in either mode.
        """
        for said, hint in (
            ((b"RFB 003.003\n",), "X509Cert"),
            ((b"RFB 003.008\n", b"\2\1\2"), "X509Cert"),
            ((b"RFB 003.008\n", b"\1\x13", b"\0\2", b"\0\1\0\0\1\1"), "X509Cert"),
            ((b"RFB 003.008\n", b"\0\0\0\0\2no"), "BlacklistThreshold"),
        ):
            self.assertIn(hint, await self.toServer(saying(*said), "vnc"), said)
        words = b"RFB 003.008\n\x13\0\2\0\0\1"
        for cut in (b"RFB 003.003\n", words[:12] + b"\2", words[:14] + b"\1", words + b"\1"):
            self.assertIn("a viewer that knows VeNCrypt", await self.fromClient(saying(cut), "vnc"))
        self.assertIn("a viewer that knows", await self.fromClient(self.leaving(words[:12]), "vnc"))
        self.assertEqual("None", await self.fromClient(self.leaving(b""), "vnc"))

    async def test_aServerGreetsWhereItShouldSpeakTLS(self) -> None:
        """
        The reverse.
        """
        hint = await self.toServer(saying(b"220 mx ESMTP\r\n"))
        self.assertIn("needs --starttls NAME", hint)

    async def test_aClientStartsTLSAtAPortForSTARTTLS(self) -> None:
        """
        It is said before the limit passes.
        """
        self.assertIn("let clients use STARTTLS", await self.fromClient(self.client(), "smtp"))

    async def test_aClientExpectsSTARTTLSAtAPortForTLS(self) -> None:
        """
        Whether it speaks first or waits.
        """
        for speak in saying(b"<?xml version='1.0'?>\n"), saying(b"GET / HTTP/1.1\r\n\r\n"), silent:
            self.assertIn("speak TLS from the first byte", await self.fromClient(speak))

    async def test_anotherProtocol(self) -> None:
        """
        It has a name where it is obvious, and the right one is not suspected.
        """
        for dialect, greeting, whose in (
            ("smtp", b"* OK IMAP4rev1\r\n", "imap"),
            ("smtp", b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
            ("imap", b"+OK ready\r\n", "pop3"),
            ("imap", b"220 mx ESMTP\r\n", "smtp or lmtp or ftp"),
            ("smtp", b"# munin node at node.example.org\n", "munin"),
            ("smtp", b"ERR UNKNOWN-COMMAND\n", "nut"),
            ("irc", b"OK STARTTLS\n", "nut"),
            ("irc", b"ERR FEATURE-NOT-CONFIGURED\n", "nut"),
            ("smtp", b"NBDMAGICIHAVEOPT\0\3", "nbd"),
            ("smtp", b"RFB 003.008\n", "vnc"),
            ("vnc", b"220 mx ESMTP\r\n", "smtp or lmtp or ftp"),
            ("nbd", b"220 mx ESMTP\r\n", "smtp or lmtp or ftp"),
            ("pop3", b"220 mx ESMTP\r\n", "smtp or lmtp or ftp"),
            # Of what is binary only a part was asked for.
            ("vnc", b"NBDMAGICIHAVEOPT\0\3", "nbd"),
            ("vnc", b"* BYE full\r\n", "imap"),
            ("vnc", b'INFO {"server_id":"x"}\r\n', "nats"),
            ("nbd", b"RFB 003.008\n", "vnc"),
            ("nbd", b"# munin node at node.example.org\n", "munin"),
            ("nbd", b'"IMPLEMENTATION" "x"\r\n', "sieve"),
            ("mysql", b"220 mx ESMTP\r\n", "smtp or lmtp or ftp"),
            ("mysql", b"RFB 003.008\n", "vnc"),
            ("mysql", b"NBDMAGICIHAVEOPT\0\3", "nbd"),
        ):
            hint = await self.toServer(saying(greeting), dialect)
            self.assertIn(f"seems to speak {whose}", hint)
        hint = await self.toServer(saying(b"hello\r\n"), "smtp")
        self.assertIn("a server of smtp listens there", hint)
        hint = await self.fromClient(saying(b"GET / HTTP/1.1\r\n\r\n"), "smtp")
        self.assertIn("for clients that speak smtp", hint)

    async def test_noTLSInTheServer(self) -> None:
        """
        It says so.
        """
        serve = saying(b"220 mx ESMTP\r\n", b"250 mx\r\n", b"502 what?\r\n")
        self.assertIn("switch TLS on in the server", await self.toServer(serve, "smtp"))

    async def test_anotherName(self) -> None:
        """
        It may be the expectation that is wrong.
        """
        other = Identity(None, "other.example.org")
        self.assertIn(
            "give a name of its certificate", await self.toServer(self.server(), remoteID=other)
        )
        hint = await self.fromClient(self.client(SERVER), remoteID=Selector.parse("@example.org"))
        self.assertIn("add a --remote-id that matches", hint)
        context = self.context(True)
        asked = other.domain.encode()
        hint = await self.fromClient(lambda sock: Encrypted(sock, context, True, asked).handshake())
        self.assertIn("give --any-name", hint)

    async def test_anotherKey(self) -> None:
        """
        It may have been renewed.
        """
        pins = (KeyIdentity.of(bytes(32)),)
        hint = await self.toServer(self.server(), pins=pins)
        self.assertIn("give that with --pin", hint)
        hint = await self.fromClient(self.client(SERVER), pins=pins, remoteID=Selector.parse("."))
        self.assertIn("one more --pin", hint)

    async def test_whoIsDeniedNeedsNoHint(self) -> None:
        """
        The line says what denies it.
        """
        denied = (Selector.parse(".org"),)
        await self.fromClient(self.client(SERVER), denyID=denied, remoteID=Selector.parse("."))
        self.assertRegex(self.detail, "which .org denies")

    async def test_anExpiredCertificate(self) -> None:
        """
        Or a clock that is wrong.
        """
        names = alternative(dns(SERVER.domain))
        issued = make(Recipe(san=names, end=timedelta(minutes=-1)), root())
        file = Path(self.mktemp())
        file.write_bytes(issued.chainPEM())
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.key)
        hint = await self.toServer(self.server(context), trust=(str(file),))
        self.assertIn("clock", hint)

    async def test_anUnknownCA(self) -> None:
        """
        The line has the issuer that nobody knows, and the anchors that counted.
        """
        stranger = self.stranger()
        trust = str(stranger.path / "ca" / "cert.pem")
        selector = stranger.path / "trust" / f"{SERVER}.pem"
        selector.parent.mkdir()
        selector.write_bytes(Path(trust).read_bytes())
        for settings, source in (
            ({"trust": (trust,)}, f"--trust {trust}"),
            ({"pool": stranger}, str(selector)),
            ({"pool": self.stranger()}, "(the pool's own CA), the system's store"),
        ):
            hint = await self.toServer(self.server(), **settings)
            self.assertIn("if you trust that CA, add its certificate with --trust FILE", hint)
            self.assertRegex(self.detail, r'"CN=[^"]*" is not among the anchors of ')
            self.assertIn(source, self.detail)

    async def test_noCertificateFromTheClient(self) -> None:
        """
        Either it has one, or none is asked for.
        """
        hint = await self.fromClient(self.client(), remoteID=Selector.parse("@example.org"))
        self.assertIn("let the client show a certificate", hint)

    async def test_theServerWantsACertificateOfOurs(self) -> None:
        """
        It says so in an alert, after the handshake.
        """
        context = self.context(False)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        self.assertIn("give --local-id", await self.toServer(self.server(context)))

    async def test_aServerThatWantsACertificateMayLeaveWithoutAWord(self) -> None:
        """
        As those with GnuTLS do: behind the handshake in TLS 1.3, and within it in TLS 1.2.
        """
        wanting = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        for self.version in "1.2", "1.3":
            for verify, hint in (
                (wanting, "the server may want a certificate from us: give --local-id"),
                (SSL.VERIFY_NONE, "None"),
            ):
                context = self.context(False)
                context.set_verify(verify)

                def serve(sock: socket.socket, context: SSL.Context = context) -> None:
                    network = Encrypted(sock, context, False)
                    while True:
                        try:
                            network.tls.do_handshake()
                        except SSL.WantReadError:
                            network.flush()
                            network.fill()
                        else:
                            return network.flush()

                self.assertIn(hint, await self.toServer(serve))

    async def test_aClientOfNATSWaitsForINFO(self) -> None:
        """
        Where TLS is first, until it or the tunnel has enough of that.
        """
        first = frozenset({"handshake-first"})
        for speak in silent, self.leaving(b""):
            hint = await self.fromClient(speak, "nats", options=first)
            self.assertIn("waits for INFO needs a port without --dialect-option", hint)

    async def test_anAppOfXMPPWantsAnotherDomain(self) -> None:
        """
        Than the tunnel does.
        """
        self.mode = Mode.CLIENT
        header = "<stream:stream to='a.example' version='1.0' xmlns='jabber:client'"
        header += " xmlns:stream='http://etherx.jabber.org/streams'>"
        service = self.tunnel("127.0.0.1:1", "xmpp-client", limits=SHORT)
        await self.play(service, saying(header.encode()))
        self.assertIn("ask for that domain, or leave out --remote-id", self.hint())
        self.assertIn(f"asks for a.example, and not for {SERVER}", self.detail)

    async def test_theClientDoesNotKnowOurCA(self) -> None:
        """
        It says so in an alert.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER)
        hint = await self.fromClient(lambda sock: Encrypted(sock, context, True).handshake())
        self.assertIn("does not know the CA of our certificate", hint)

    async def test_anOldVersion(self) -> None:
        """
        Of the client, or of the server.
        """
        old = {isClient: self.context(isClient) for isClient in (True, False)}
        for context in old.values():
            context.set_min_proto_version(SSL.TLS1_1_VERSION)
            context.set_max_proto_version(SSL.TLS1_1_VERSION)
            context.set_cipher_list(b"ALL@SECLEVEL=0")
        for hint in (
            await self.fromClient(lambda sock: Encrypted(sock, old[True], True).handshake()),
            await self.toServer(self.server(old[False])),
        ):
            self.assertIn("does not speak TLS 1.2 or 1.3", hint)


class TableTests(SynchronousTestCase):
    """
    L{hintFor}, for what takes no tunnel to happen.
    """

    def hint(
        self,
        error: TunnelError | None,
        stage: Stage = NEGOTIATING,
        dialect: str = "smtp",
        mode: Mode = Mode.CLIENT,
        port: int = 1,
        tunnel: str = "",
        peer: int = 4711,
        isAnnounced: bool = False,
    ) -> str:
        """
        The hint where a connection ends with C{error} at C{stage}.
        """
        record = Record(Clock(), Observers([]), tunnel, mode, dialect, TCPAddress("::1", peer))
        record.backend = TCPAddress("::1", port)
        record.isAnnounced = isAnnounced
        record.advance(stage)
        record.end(error)
        return hintFor(record)

    def test_nothingToDo(self) -> None:
        """
        A clean end, and what befalls data connections need none.
        """
        self.assertEqual(self.hint(None, RELAYING), "")
        self.assertEqual(self.hint(Closed(), dialect="ftp-data"), "")

    def test_whoseTLSIsFirstInNATS(self) -> None:
        """
        That of a server, or of a client; and a backend has none.
        """
        option = "--dialect-option handshake-first"
        closed = Closed(cause="no INFO").by("the server")
        self.assertIn(option, self.hint(closed, dialect="nats"))
        clear = ForeignProtocol(cause="INFO in clear").by("the server")
        self.assertIn(f"no {option}", self.hint(clear, HANDSHAKING, dialect="nats"))
        early = PlaintextAfterStartTLS("x", b"\x16", cause="TLS before INFO").by("the client")
        self.assertIn(option, self.hint(early, dialect="nats", mode=Mode.SERVER))
        demanding = BackendRefused(cause="TLS in the backend").by("the backend")
        self.assertIn("allow_non_tls", self.hint(demanding, dialect="nats", mode=Mode.SERVER))
        self.assertNotIn("pop3", self.hint(Refused("x", b"-ERR 'no'"), dialect="nats"))
        self.assertIn("nats", self.hint(Malformed("x", b"INFO {}"), dialect="smtp"))

    def test_aClientOfNATSThatHasINFONeedsNoHintAboutThat(self) -> None:
        """
        A backend has said it, or a program.
        """
        for tunnel in "", POOL_SERVICE:
            late = TimedOut().by("the client")
            self.assertEqual(self.hint(late, HANDSHAKING, "nats", Mode.SERVER, tunnel=tunnel), "")

    def test_anOldPostgreSQLKnowsNoDirectTLS(self) -> None:
        """
        It ends the connection without a word.
        """
        failed = TLSFailed(cause="no direct TLS").by("the server")
        self.assertIn("option direct", self.hint(failed, HANDSHAKING, dialect="postgresql"))

    def test_aDataConnectionIsToResume(self) -> None:
        """
        Of those of FTP this is the one hint: the control connection does not know of it.
        """
        for cause, what in (
            ("no resumption", "somebody else"),
            ("no resumption as demanded", "--dialect-option require-resumption"),
        ):
            refused = IdentityRefused("x", cause=cause).by("the client")
            self.assertIn(what, self.hint(refused, HANDSHAKING, "ftp-data", Mode.SERVER))
        self.assertEqual(self.hint(TLSFailed("x"), HANDSHAKING, "ftp-data", Mode.SERVER), "")

    def test_aScreenHasAnotherLogin(self) -> None:
        """
        Than the options say.
        """
        for mode, error, who in (
            (Mode.CLIENT, NotOffered, "the server"),
            (Mode.SERVER, BackendRefused, "the backend"),
        ):
            lacking = error(cause="another VNC login").by(who)
            self.assertIn("--dialect-option", self.hint(lacking, dialect="vnc", mode=mode))
        left = Closed(cause="no VNC type in common").by("the client")
        self.assertIn("VeNCrypt", self.hint(left, dialect="vnc", mode=Mode.SERVER))
        secured = BackendRefused(cause="VNC with TLS").by("the backend")
        self.assertIn("without TLS", self.hint(secured, dialect="vnc", mode=Mode.SERVER))
        refused = BackendRefused(cause="VNC wants nobody").by("the backend")
        self.assertIn("Blacklist", self.hint(refused, dialect="vnc", mode=Mode.SERVER))

    def test_whoeverItWas(self) -> None:
        """
        An app that leaves says nothing about the server, and a client nothing about the backend.
        """
        self.assertEqual(self.hint(Closed().by("the app")), "")
        self.assertNotEqual(self.hint(Closed().by("the server")), "")
        gone = Closed().by("the client")
        self.assertEqual(self.hint(gone, GREETING, mode=Mode.SERVER), "")
        early = Malformed().by("the backend")
        hint = self.hint(early, dialect="mysql", mode=Mode.SERVER)
        self.assertIn("the backend speaks mysql in clear", hint)
        error = TLSFailed(cause="alert unknown_ca").by("the server")
        self.assertIn("the server does not know the CA", self.hint(error, HANDSHAKING))

    def test_aNameThatDoesNotResolve(self) -> None:
        """
        In any mode, it is the name or the resolver.
        """
        error = ConnectFailed("the name x.example could not be resolved", cause="unresolved")
        for mode in Mode:
            hint = self.hint(error, CONNECTING, mode=mode)
            self.assertIn("check the spelling of --remote", hint)

    def test_preSharedKeys(self) -> None:
        """
        Which end has to do something, and that it is the key.
        """
        for error, mode, word in (
            (IdentityRefused(cause="unknown name"), Mode.SERVER, "identity import --psk"),
            (IdentityRefused(cause="another key"), Mode.SERVER, "the same key"),
            (TLSFailed(cause="no key"), Mode.SERVER, "use a pre-shared key"),
            (TLSFailed(cause="key refused decrypt_error"), Mode.CLIENT, "--local-id"),
            (IdentityRefused(cause="certificate for a key"), Mode.CLIENT, "--trust psk"),
        ):
            self.assertIn(word, self.hint(error, HANDSHAKING, mode=mode))
        error = IdentityRefused(cause="unknown name").by("the client")
        self.assertIn("--client-id", self.hint(error, HANDSHAKING, mode=Mode.BRIDGE))

    def test_thePortHelps(self) -> None:
        """
        Where it is registered, it says which protocol is there.
        """
        for port, name in (389, "ldap"), (5432, "postgresql"), (587, "smtp"):
            for error in Closed(), TimedOut(), TLSFailed("the peer closed the connection"):
                hint = self.hint(error, HANDSHAKING, "none", port=port)
                self.assertIn(
                    f"servers at port {port} begin in clear: give --starttls {name}", hint
                )
        self.assertEqual(self.hint(Closed(), HANDSHAKING, "none", port=8443), "")

    def test_whatHasTheSameWordsIsNoOtherProtocol(self) -> None:
        """
        Those that greet alike are not told from each other.
        """
        for dialect in "smtp", "lmtp", "ftp":
            hint = self.hint(Closed("x", b"220-mx"), dialect=dialect)
            self.assertNotIn("seems to speak", hint, dialect)

    def test_theScriptIsNamed(self) -> None:
        """
        Who gave --chat has no --starttls to leave out.
        """
        self.assertIn("leave out --chat", self.hint(TimedOut(), dialect="chat"))
        self.assertIn("without --chat", self.hint(NotOffered(), dialect="chat"))

    def test_theBackend(self) -> None:
        """
        It has to speak in clear.
        """
        for error in TimedOut(), BackendRefused("x", b"554 no"), Malformed("x", b"\x15\x03\x03"):
            hint = self.hint(error, GREETING, mode=Mode.SERVER)
            self.assertIn("the backend speaks smtp in clear", hint)
        for said, whose in ((b"INFO {}", "nats"), (b"* OK IMAP4rev1", "imap")):
            hint = self.hint(Malformed("x", said), GREETING, mode=Mode.SERVER)
            self.assertIn(f"the backend seems to speak {whose}: check --remote", hint)
        hint = self.hint(TimedOut(), GREETING, "none", Mode.SERVER)
        self.assertIn("the backend speaks the protocol of --reveal in clear", hint)

    def test_aHeaderIsTheReasonOnlyWhereItMayBe(self) -> None:
        """
        Where one was sent, or where a backend that might await one says nothing: what says
        something else is another server, in whatever protocol.
        """
        for dialect in "smtp", "nats", "mysql", "munin", "nbd", "none":
            for stage in (NEGOTIATING, GREETING) if dialect in ("nats", "mysql") else (GREETING,):
                for error, isSent, isNamed in (
                    (Malformed("x", b"\0garbage"), False, False),
                    (BackendRefused("x", b"-ERR 'no room'"), False, False),
                    (Oversize("x"), False, False),
                    (Malformed("x", b"\0garbage"), True, True),
                    (BackendRefused("x", b"554 no"), True, True),
                    (TimedOut(), False, True),
                    (Closed(), False, True),
                    (Closed(), True, True),
                ):
                    error.by("the backend")
                    hint = self.hint(error, stage, dialect, Mode.SERVER, isAnnounced=isSent)
                    self.assertEqual("--proxy-out" in hint, isNamed, (dialect, error, hint))
                    self.assertIn("in clear there", hint)

    def test_everyErrorHasAHintOrNothingCanBeDone(self) -> None:
        """
        In the mode and the stage in which it is met most: those that are ends like others, and
        those that depend on who is there, are told from the rest.
        """
        none = {
            "closed",  # while bytes pass
            "farewell",  # the words are the server's
            "quit",
            "reset",
            "stopped",
            "truncated",  # many do so always
        }
        cases: dict[str, tuple[Stage, Mode]] = {
            "backend": (GREETING, Mode.SERVER),
            "forged": (RELAYING, Mode.SERVER),
            "malformed": (NEGOTIATING, Mode.SERVER),
            "too-many-errors": (NEGOTIATING, Mode.SERVER),
        }
        causes = {
            "identity": "wrong name",
            "program": "signal SIGSEGV",
            "tls": "alert internal_error",
        }
        kinds: list[type[TunnelError]] = [TunnelError, *TunnelError.__subclasses__()]
        seen = set()
        for kind in kinds:
            if not kind.__module__.endswith("errors"):
                continue
            reason = kind.reason
            seen.add(reason)
            stage, mode = cases.get(reason, (NEGOTIATING, Mode.CLIENT))
            if reason in none:
                stage = RELAYING
            hint = self.hint(kind("x", cause=causes.get(reason, "")), stage, mode=mode)
            self.assertEqual(not hint, reason in none, (reason, hint))
            self.assertNotIn("{", hint)
        self.assertLess(none, seen)

    def test_whoGoesOnWithoutTLSIsToldFromWhoSpeaksSomethingElse(self) -> None:
        """
        And both from who logs in as somebody else.
        """
        for error, stage, words in (
            (TooManyErrors("too many commands before STARTTLS"), NEGOTIATING, "use STARTTLS"),
            (TooManyErrors("x", cause="syntax"), NEGOTIATING, "clients that speak smtp"),
            (TooManyErrors("x"), GREETING, "--identity-map"),
            (PlaintextAfterStartTLS("x", b"NOOP"), NEGOTIATING, "an attack by somebody on the way"),
        ):
            hint = self.hint(error.by("the client"), stage, mode=Mode.SERVER)
            self.assertIn(words, hint)

    def test_theDirectory(self) -> None:
        """
        It has to let the tunnel in, and let it act for others.
        """
        for cause, text in (
            ("ldap bind", "--ldap-bind-password-file"),
            ("ldap proxied", "proxied authorisation (RFC 4370)"),
            ("ldap ignores", "proxied authorisation (RFC 4370)"),
            ("ldap other", "the backend speaks LDAP in clear"),
        ):
            error = BackendRefused("x", b"", cause)
            self.assertIn(text, self.hint(error, GREETING, "none", Mode.SERVER))

    def test_revocation(self) -> None:
        """
        Each way to be refused by it says what to do.
        """
        for cause, hint in (
            (REVOKED, "a new certificate"),
            (MISSING, "all need one"),
            (OLD, "the next revocation list"),
            (EARLY, "the clock"),
            (ABSENT, "--require-staple"),
            (BAD, "--require-staple"),
        ):
            error = IdentityRefused("x", cause=cause).by("the server")
            self.assertIn(hint, self.hint(error, HANDSHAKING))

    def test_whoHandsOverHasFieldsAndNoOptions(self) -> None:
        """
        Programs of the pool service do not know the options of tunnels.
        """
        unknown = "'tlstunnel identity trust SELECTOR FILE'"
        shaking, asking = (HANDSHAKING, "none"), (NEGOTIATING, "smtp")
        alert = "alert {}".format
        early = PlaintextAfterStartTLS(cause="TLS before INFO")
        for mode, (stage, dialect), error, hint in (
            (Mode.CLIENT, shaking, IdentityRefused(cause="wrong name"), "certificate with remote="),
            (
                Mode.SERVER,
                shaking,
                IdentityRefused(cause="wrong name"),
                "program say a remote= that",
            ),
            (Mode.CLIENT, shaking, IdentityRefused(cause="unknown CA"), unknown),
            (Mode.SERVER, shaking, IdentityRefused(cause="unknown issuer"), unknown),
            (Mode.SERVER, shaking, TLSFailed(cause="no certificate"), "leave out remote="),
            (Mode.SERVER, shaking, TLSFailed(cause="long handshake"), "let the client have fewer"),
            (Mode.CLIENT, shaking, TLSFailed(cause="long handshake"), "let the server have fewer"),
            (Mode.SERVER, shaking, TLSFailed(cause="wrong name"), "a name of our certificate"),
            (Mode.SERVER, shaking, TLSFailed(cause="no name asked"), "say which with local="),
            (Mode.SERVER, shaking, TLSFailed(cause="other name"), "the same name"),
            (Mode.CLIENT, shaking, TLSFailed(cause=alert("certificate_required")), "with local=;"),
            (Mode.CLIENT, shaking, TLSFailed(cause=alert("handshake_failure")), "from us (local=)"),
            (Mode.CLIENT, shaking, TLSFailed(cause=alert("unrecognized_name")), "check remote="),
            (Mode.CLIENT, shaking, TLSFailed(cause=alert("protocol_version")), "as minimum= wants"),
            (Mode.SERVER, shaking, TLSFailed(cause=alert("no_application_protocol")), "alpn="),
            (Mode.CLIENT, shaking, ForeignProtocol(cause="no TLS"), "needs starttls=smtp"),
            (Mode.SERVER, shaking, ForeignProtocol(cause="no TLS"), "has to say starttls="),
            (Mode.SERVER, asking, ForeignProtocol(cause="TLS"), "without starttls="),
            (Mode.SERVER, shaking, TimedOut(), "the program say starttls="),
            (Mode.CLIENT, shaking, TimedOut(), "give starttls=smtp"),
            (Mode.CLIENT, asking, TimedOut(), "leave out starttls=;"),
            (Mode.CLIENT, asking, Malformed(said=b"* OK IMAP4rev1"), "and starttls=smtp"),
            (Mode.CLIENT, asking, NotOffered(), "without starttls="),
            (Mode.SERVER, (GREETING, "smtp"), BackendRefused(), "speaks as a server of smtp"),
            (Mode.SERVER, (GREETING, "imap"), Reset(), "speaks as a server of imap"),
            (Mode.SERVER, (GREETING, "imap"), ForeignProtocol(), "speaks as a server of imap"),
            (Mode.SERVER, (NEGOTIATING, "nats"), early, "not begin with TLS"),
            (
                Mode.CLIENT,
                (NEGOTIATING, "nats"),
                Closed(cause="no INFO"),
                "without handshake_first",
            ),
        ):
            found = self.hint(error, stage, dialect, mode, tunnel=POOL_SERVICE, peer=25)
            self.assertIn(hint, found)
            self.assertNotIn("--", found)

    def test_aProgramIsABackendOrAnApp(self) -> None:
        """
        A hint about the other end would be beside the point.
        """
        for mode, error, hint in (
            (Mode.SERVER, TimedOut(), "check that the program speaks as a server of mysql"),
            (Mode.SERVER, Closed(), "check that the program speaks as a server of mysql"),
            (Mode.CLIENT, TimedOut(), ""),
            (Mode.CLIENT, Malformed(), ""),
        ):
            found = self.hint(
                error.by("the program"), NEGOTIATING, "mysql", mode, tunnel=POOL_SERVICE
            )
            self.assertTrue(found.startswith(hint) if hint else not found, found)

    def test_everyAlertHasAHint(self) -> None:
        """
        The one for all of them, if no other.
        """
        for alert, hint in (
            ("unknown_ca", "does not know the CA"),
            ("certificate_expired", "renew our certificate"),
            ("certificate_revoked", "was revoked"),
            ("certificate_required", "--local-id"),
            ("handshake_failure", "--local-id"),
            ("unrecognized_name", "--remote-id"),
            ("protocol_version", "--minimum-tls"),
            ("no_application_protocol", "--alpn"),
            ("unknown_ca_of_later", "the log of the peer"),
            ("internal_error", "the log of the peer"),
        ):
            self.assertIn(hint, self.hint(TLSFailed(cause=f"alert {alert}"), HANDSHAKING))
        for alert in "bad_certificate", "certificate_unknown":
            error = TLSFailed(cause=f"alert {alert}")
            self.assertIn("not trust our", self.hint(error, HANDSHAKING, mode=Mode.SERVER))
        self.assertEqual(self.hint(TLSFailed("bad record mac"), RELAYING), "")
