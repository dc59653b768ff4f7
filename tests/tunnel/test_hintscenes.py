"""
Tests for L{tlstunnel.tunnel.hints} on real sockets: what the log advises where a connection
fails as it does in practice.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.certificates import Recipe, alternative, dns, make, root
from tests.loopback import CLIENT, PATIENCE, SERVER, Encrypted, TunnelTests, wait
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, KeyIdentity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.limits import Limits

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
