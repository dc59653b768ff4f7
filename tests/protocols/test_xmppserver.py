"""
The xmpp-client and xmpp-server dialects in server mode.
"""

from __future__ import annotations

import re
import secrets
import socket
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, dns, ip, make, root, srv
from tests.loopback import PATIENCE, SERVER, Encrypted, Plain, TunnelTests, wait
from tests.protocols.xmppheads import (
    ANSWER,
    APP,
    ASK,
    AUTH,
    END,
    FEATURES,
    HELLO,
    HERE,
    OPEN,
    PROCEED,
    TLS,
    error,
    server,
)
from tlstunnel.errors import (
    ForeignProtocol,
    Malformed,
    Oversize,
    PlaintextAfterStartTLS,
    Quit,
    Refused,
    TunnelError,
)
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.xmlstream import MAX_STREAM_BYTES
from tlstunnel.protocols.xmpp import xmppClient, xmppServer
from tlstunnel.testing.conformance import ServerConformance
from tlstunnel.testing.course import Assertions
from tlstunnel.testing.dialogues import OURS, setting
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.description import Mode


class ServerRules(ServerConformance, SynchronousTestCase):
    """
    Mode -s: the rules.
    """

    dialect = xmppClient
    dialogue = [("C", HELLO), ("S", HERE + FEATURES), ("C", ASK), ("S", PROCEED)]
    inside = [("C", APP), ("T", APP)]
    variants = [(0, HELLO.replace(b"'", b'"')), (2, b" \n" + ASK.replace(b"/>", b"></starttls>"))]
    needsTLS = {
        HELLO + AUTH: HERE + FEATURES + error(b"policy-violation"),
        HELLO + AUTH + ASK: HERE + FEATURES + error(b"policy-violation"),
        HELLO + b"<iq type='get'/>": HERE + FEATURES + error(b"policy-violation"),
        AUTH: b"",
    }
    farewells = [
        (HELLO + END, HERE + FEATURES + END, Quit),
        (HELLO.replace(OURS, b"example.net"), HERE + error(b"host-unknown"), Refused),
        (HELLO + b"<a></b>", HERE + FEATURES, Malformed),
    ]
    endless = [(0, b"<?xml version='1.0'" + b" " * 1000), (2, b" "), (2, b"<a>")]

    def setUp(self) -> None:
        """
        Streams have random ids.
        """
        super().setUp()
        self.patch(secrets, "token_hex", lambda size: "x")

    def checkFollowed(self, driver: Driver, extra: bytes) -> None:
        """
        White space may follow: clients send it.
        """
        if extra.isspace():
            self.assertSwitched(driver)
        else:
            super().checkFollowed(driver, extra)

    def checkLeftToTLS(self, driver: Driver, extra: bytes) -> None:
        """
        The leg skips white space, which is no TLS.
        """
        super().checkLeftToTLS(driver, extra)
        self.assertEqual(driver.network.skippable, b" \t\r\n")


class BetweenServersServerTests(ServerRules):
    """
    Mode -s, xmpp-server; the rest is the same.
    """

    dialect = xmppServer
    dialogue = [
        ("C", HELLO),
        ("S", HERE.replace(b":client", b":server") + FEATURES),
        ("C", ASK),
        ("S", PROCEED),
    ]
    needsTLS = {AUTH: b""}
    farewells = []


class ServerTests(Assertions, SynchronousTestCase):
    """
    Mode -s, up to the switch.
    """

    def answer(self, driver: Driver, name: bytes = OURS) -> bytes:
        """
        What the role said behind its header, which has to be right.
        """
        written = driver.network.takeWritten()
        match = re.fullmatch(
            rb"<\?xml version='1.0'\?><stream:stream from='(.*?)' id='([0-9a-f]{32})' version='1.0'"
            rb" xmlns='jabber:(client|server)' xmlns:stream='http://etherx.jabber.org/streams'>"
            rb"(.*)",
            written,
        )
        assert match is not None, written
        self.assertEqual(match[1], name)
        return match[4]

    def test_theBackendSeesTheSecondStreamOnly(self) -> None:
        """
        It is dialled inside TLS, and gets what the client says there.
        """
        driver = server()
        self.assertEqual(self.answer(driver), FEATURES)
        driver.network.feed(ASK)
        self.assertEqual(driver.network.takeWritten(), PROCEED)
        self.assertSwitched(driver)
        self.assertFalse(driver.backendDialled)
        driver.handshake()
        driver.network.feed(APP)
        self.assertEqual(driver.plain.written, APP)
        driver.plain.feed(ANSWER)
        self.assertEqual(driver.network.written, ANSWER)

    def test_streamsHaveTheirOwnIds(self) -> None:
        """
        RFC 6120, section 4.7.3.
        """
        self.assertNotEqual(server().network.written, server().network.written)

    def test_everyDialectHasItsNamespace(self) -> None:
        """
        Whatever the client's is: inside TLS the backend will say what it thinks of it.
        """
        self.assertIn(b"xmlns='jabber:client'", server().network.written)
        self.assertIn(b"xmlns='jabber:server'", server(dialect=xmppServer).network.written)

    def test_whiteSpaceMayFollowTheRequest(self) -> None:
        """
        As clients send it, in the same segment and in the next.
        """
        for space in (b"\n", b"\r\n", b" \t\r\n" * 9):
            driver = server()
            driver.network.feed(ASK + space)
            self.assertEqual(self.answer(driver), FEATURES + PROCEED)
            self.assertSwitched(driver)

    def test_whiteSpaceInTheSocketIsReadToo(self) -> None:
        """
        It has arrived, but was not read when the request was.
        """
        driver = server()
        self.answer(driver)
        driver.network.pauseProducing()
        driver.network.feed(b"\n")
        driver.role.dataReceived(ASK)
        self.assertEqual(driver.stage, "clear")
        driver.network.deliver()
        self.assertEqual(driver.network.takeWritten(), PROCEED)
        self.assertSwitched(driver)

    def test_nothingHidesBehindMuchWhiteSpace(self) -> None:
        """
        More of it than is looked at at once.
        """
        driver = server()
        self.answer(driver)
        driver.network.pauseProducing()
        driver.network.feed(b" " * 1000 + b"<auth/>")
        driver.role.dataReceived(ASK)
        driver.network.deliver()
        self.assertEqual(driver.network.takeWritten(), b"")
        self.assertFailed(driver, PlaintextAfterStartTLS)

    def test_nothingElseMayFollowTheRequest(self) -> None:
        """
        Behind white space or at once; the client does not get its go-ahead.
        """
        for extra in (
            b"x",
            b"<",
            b" x",
            b"\n<auth/>",
            b"\0",
            b"\x0b",
            b"\xc2\xa0",
            b"\x16\x03\x01",
        ):
            driver = server()
            driver.network.feed(ASK + extra)
            self.assertEqual(self.answer(driver), FEATURES)
            self.assertFailed(driver, PlaintextAfterStartTLS)

    def test_formsOfTheRequest(self) -> None:
        """
        As XML has them.
        """
        for ask in (
            ASK.replace(b"/>", b" />"),
            ASK.replace(b"/>", b"></starttls>"),
            ASK.replace(b"'", b'"'),
            b"<t:starttls xmlns:t='" + TLS + b"'/>",
            b" \n" + ASK,
        ):
            driver = server()
            driver.network.feed(ask)
            self.assertEqual(self.answer(driver), FEATURES + PROCEED)

    def test_domainsThatAreOurs(self) -> None:
        """
        That of -L, and those of its certificate; the answer has them as the client wrote them.
        """
        for to, covers in (
            (OURS, ""),
            (OURS.upper(), ""),
            (OURS + b".", ""),
            (b"chat.example.net", "chat.example.net"),
            ("b\u00fccher.example".encode(), "xn--bcher-kva.example"),
        ):
            driver = server(HELLO.replace(OURS, to), covers)
            self.assertEqual(self.answer(driver, to), FEATURES)

    def test_domainsThatAreNotOurs(self) -> None:
        """
        Of somebody else, or none at all (RFC 6120, sections 4.9.3.6 and 4.9.3.7).
        """
        asking = b" to='" + OURS + b"'"
        for attribute, condition in (
            (b" to='example.net'", b"host-unknown"),
            (b" to='x." + OURS + b"'", b"host-unknown"),
            (b"", b"improper-addressing"),
            (b" to=''", b"improper-addressing"),
            (b" to='192.0.2.1:5222'", b"improper-addressing"),
            (b" to='alice@" + OURS + b"'", b"improper-addressing"),
            (b" to='&lt;x/&gt;'", b"improper-addressing"),
        ):
            driver = server(HELLO.replace(asking, attribute))
            self.assertEqual(self.answer(driver), error(condition), attribute)
            self.assertFailed(driver, Refused)

    def test_addressesAreNoDomains(self) -> None:
        """
        C{openssl} and C{gnutls-cli} ask for the address that they connect to; we say who we are.
        """
        for to in (b"192.0.2.1", b"2001:db8::1"):
            self.assertEqual(self.answer(server(HELLO.replace(OURS, to))), FEATURES)

    def test_weHaveTheDomainOfOurIdentity(self) -> None:
        """
        Which need not be the name of a host: it is not what we are called in SMTP.
        """
        for domain, written in (("a_b.example", b"a_b.example"), ("2001:db8::1", b"[2001:db8::1]")):
            given = replace(setting(), localID=Identity(None, domain), ourName=b"[127.0.0.1]")
            driver = Driver(xmppClient, "server", given)
            driver.network.feed(HELLO.replace(OURS, b"192.0.2.1"))
            self.assertIn(b" from='" + written + b"'", driver.network.written)

    def test_everythingElseIsAgainstThePolicy(self) -> None:
        """
        A version without features, and whatever is no request for TLS; above all no password.
        """
        auth = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>"
        for version in (b"", b" version='0.9'", b" version='x'"):
            driver = server(HELLO.replace(b" version='1.0' xmlns=", version + b" xmlns="))
            self.assertEqual(self.answer(driver), error(b"policy-violation"))
            self.assertFailed(driver, Refused)
        for wants in (
            auth,
            auth + ASK,
            b"<iq type='get'/>",
            b"<starttls/>",
            ASK.replace(TLS, b"urn:example:tls"),
            ASK.replace(b"/>", b"> </starttls>"),
            ASK.replace(b"/>", b"><required/></starttls>"),
            b"<x>" + ASK + b"</x>",
            PROCEED,
        ):
            driver = server()
            driver.network.feed(wants)
            self.assertEqual(self.answer(driver), FEATURES + error(b"policy-violation"))
            self.assertFailed(driver, Refused)

    def test_aClientMayLeave(self) -> None:
        """
        And is taken leave of.
        """
        driver = server()
        driver.network.feed(END)
        self.assertEqual(self.answer(driver), FEATURES + END)
        self.assertFailed(driver, Quit)

    def test_whatIsNoXMLIsCutOff(self) -> None:
        """
        Without a word more.
        """
        for broken in (
            b"<a",
            b"text<a/>",
            b"<!-- -->",
            b"<?pi ?>",
            b"&a;<a/>",
            b"</a>",
            b"<a></b>",
            b"<a x='1' x='2'/>",
            b"<a>\xff</a>",
            b"<a>\0</a>",
            b"<![CDATA[x]]>",
        ):
            driver = server()
            driver.network.feed(broken)
            driver.network.end()
            self.assertEqual(self.answer(driver), FEATURES)
            self.assertFailed(driver, TunnelError)

    def test_foreignProtocolsGetNoAnswer(self) -> None:
        """
        TLS at once, HTTP and SSH; nor does what is no stream.
        """
        for first, failure in (
            (b"\x16\x03\x01\x02\x00\x01\x00", ForeignProtocol),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ForeignProtocol),
            (b"SSH-2.0-OpenSSH_9.2\r\n", ForeignProtocol),
            (b"EHLO x\r\n", Malformed),
            (b"<!DOCTYPE a>", Malformed),
            (b"<auth/>", Malformed),
            (b"<stream>", Malformed),
            (b"<" + b"a" * MAX_STREAM_BYTES, Oversize),
        ):
            driver = server(first)
            self.assertEqual(driver.network.written, b"")
            self.assertFailed(driver, failure)

    @settings(deadline=None)
    @given(st.binary(max_size=60), st.booleans())
    def test_garbageReachesNobody(self, garbage: bytes, greeted: bool) -> None:
        """
        Whatever a client says, it ends with one of our own errors.
        """
        driver = server(HELLO if greeted else b"")
        driver.network.feed(garbage)
        driver.network.end()
        self.assertFailed(driver, TunnelError)


class WhiteSpaceTests(TunnelTests):
    """
    Mode -s, on real sockets: what comes between the go-ahead and TLS.
    """

    async def begin(self, *between: bytes) -> bytes:
        """
        Ask for TLS, send each of C{between} once the go-ahead is there, and begin with TLS.

        @return: what the backend gets of what is sent then.
        """

        def preamble(sock: socket.socket) -> None:
            plain = Plain(sock)
            plain.write(OPEN.replace(b"example.org", SERVER.domain.encode()) + ASK)
            heard = b""
            while not heard.endswith(PROCEED):
                byte = plain.read(1)
                assert isinstance(byte, bytes) and byte, heard
                heard += byte
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for each in between:
                plain.write(each)

        def script(network: Encrypted, plain: Plain) -> object:
            network.write(b"<a/>")
            return plain.read(4)

        got = await self.through(script, "xmpp-client", preamble)
        assert isinstance(got, bytes)
        return got

    async def test_whiteSpaceIsDropped(self) -> None:
        """
        It comes in segments of its own, or none does.
        """
        self.assertEqual(await self.begin(), b"<a/>")
        self.assertEqual(await self.begin(b"\n"), b"<a/>")
        self.assertEqual(await self.begin(b"\r", b"\n", b" " * 40), b"<a/>")

    async def test_nothingElseIs(self) -> None:
        """
        OpenSSL gets it, and makes nothing of it.
        """
        for between in (b"x", b"\n<a/>", b"\0", b" " * 9999):
            try:
                await self.begin(between)
            except (OSError, SSL.Error):
                continue
            self.fail("TLS")


class IdentityTests(TunnelTests):
    """
    Mode -c without -R, on real sockets: the certificate must be for the domain of the app.
    """

    mode = Mode.CLIENT

    async def connect(self, name: bytes, dialect: str = "xmpp-client") -> bytes:
        """
        Let an app come to a server whose certificate is for C{name}.

        @return: the name that was asked for in SNI, and what the server gets inside TLS.
        """
        issued = make(Recipe(san=alternative(name)), root())
        chain, key, trust = (Path(self.mktemp()) for _ in range(3))
        chain.write_bytes(issued.chainPEM())
        key.write_bytes(issued.keyPEM())
        trust.write_bytes(root().certificate.public_bytes(Encoding.PEM))
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_chain_file(str(chain))
        context.use_privatekey_file(str(key))
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        service = self.tunnel(
            f"127.0.0.1:{backend.getsockname()[1]}", dialect, remoteID=None, trust=(str(trust),)
        )
        host, port = service.addresses[0].rsplit(":", 1)

        def run() -> bytes:
            with socket.create_connection((host, int(port)), PATIENCE) as app:
                app.sendall(APP)
                sock, _ = backend.accept()
                with sock:
                    sock.settimeout(PATIENCE)
                    network = Encrypted(sock, context, False)
                    assert b"to='example.org'" in sock.recv(4096)
                    sock.sendall(ANSWER + FEATURES)
                    assert sock.recv(4096) == ASK
                    sock.sendall(PROCEED)
                    try:
                        network.handshake()
                        got = network.read(len(APP))
                    except (OSError, SSL.Error):
                        got = b""
                    asked = network.tls.get_servername() or b""
                    return asked + got if isinstance(got, bytes) else asked

        return await deferToThread(run)

    async def test_theDomainIsWhatCounts(self) -> None:
        """
        As a name, or as a name for just this service (RFC 6120, section 13.7.1.2.1).
        """
        for name in (dns("example.org"), srv("_xmpp-client.example.org")):
            self.assertEqual(await self.connect(name), b"example.org" + APP)
        got = await self.connect(srv("_xmpp-server.example.org"), "xmpp-server")
        self.assertEqual(got, b"example.org" + APP)

    async def test_otherNamesGetNothing(self) -> None:
        """
        Neither that of another service nor that of the host.
        """
        for name in (
            dns("127.0.0.1"),
            ip("127.0.0.1"),
            dns("xmpp.example.org"),
            dns("*.example.org"),
            srv("_xmpp-server.example.org"),
        ):
            self.ends.clear()
            self.assertEqual(await self.connect(name), b"example.org")
            await wait(lambda: bool(self.ends))
            self.assertEnded("identity")
