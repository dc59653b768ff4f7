"""
The xmpp-client and xmpp-server dialects.
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
from tlstunnel.errors import (
    Closed,
    ForeignProtocol,
    IdentityRefused,
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Quit,
    Refused,
    TunnelError,
)
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.base import ClientRole, Dialect
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.setting import Setting
from tlstunnel.protocols.xmlstream import MAX_STREAM_BYTES, MAX_STREAM_DEPTH
from tlstunnel.protocols.xmpp import xmppClient, xmppServer
from tlstunnel.protocols.xmppfeatures import WithoutMultiplexing, WithoutStartTLS
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.course import Assertions
from tlstunnel.testing.dialogues import OURS, Dialogue, filtered, setting, split
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.description import Mode

TLS = b"urn:ietf:params:xml:ns:xmpp-tls"

#: As an app writes it: not as we do.
APP = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<s:stream xmlns:s="http://etherx.jabber.org/streams"'
    b' xmlns="jabber:client" from="alice@example.org" to="example.org" xml:lang="en" version="1.0">'
)
OPEN = (
    b"<?xml version='1.0'?><stream:stream to='example.org' version='1.0'"
    b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
ANSWER = (
    b"<?xml version='1.0'?><stream:stream from='example.org' id='x' version='1.0'"
    b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
OFFER = b"<starttls xmlns='" + TLS + b"'><required/></starttls>"
FEATURES = b"<stream:features>" + OFFER + b"</stream:features>"
ASK = b"<starttls xmlns='" + TLS + b"'/>"
PROCEED = b"<proceed xmlns='" + TLS + b"'/>"
END = b"</stream:stream>"

#: A tunnel without -R: whom to expect is for the app to say.
ANY = Setting(ourName=OURS, localID=None, remoteID=Identity(None, "xmpp.example.net"))


def error(condition: bytes) -> bytes:
    """
    How a server takes its leave.
    """
    name = b"<" + condition + b" xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
    return b"<stream:error>" + name + b"</stream:error>" + END


def client(given: Setting = ANY, app: bytes = APP, dialect: Dialect = xmppClient) -> Driver:
    """
    The client role, with an app that has opened its stream.
    """
    driver = Driver(dialect, "client", given)
    driver.plain.feed(app)
    return driver


def asked() -> Driver:
    """
    The client role once it has asked for TLS.
    """
    driver = client()
    driver.play([("C", OPEN), ("S", ANSWER + FEATURES), ("C", ASK)])
    return driver


def expected(driver: Driver) -> object:
    """
    Whom the role wants the certificate to name.
    """
    assert isinstance(driver.role, ClientRole)
    return driver.role.expected()


SECOND = ANSWER + b"<stream:features/>"

ANYTHING = bytes(range(256)) * 4


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = xmppClient
    dialogue: Dialogue = [
        ("A", APP),
        ("C", OPEN),
        ("S", ANSWER + FEATURES),
        ("C", ASK),
        ("S", PROCEED),
    ]
    inside: Dialogue = [("C", APP), ("S", SECOND), ("T", SECOND)]
    early = b"<iq/>"
    farewells = [ANSWER + error(b"connection-timeout"), ANSWER + b"\n" + error(b"reset")]
    variants = [(2, ANSWER.partition(b"?>")[2] + b"\n" + FEATURES), (4, b"\n" + PROCEED)]
    failures = [
        (2, ANSWER + b"<stream:features/>", NotOffered),
        (2, ANSWER + error(b"host-unknown"), Refused),
        (2, ANSWER + END, Closed),
        (2, b"220 mx ESMTP\r\n", Malformed),
        (4, b"<failure xmlns='" + TLS + b"'/>" + END, Refused),
        (4, error(b"policy-violation"), Refused),
        (4, END, Closed),
        (4, b"<proceed/>", Malformed),
    ]
    endless = [
        (0, b"<?xml version='1.0'" + b" " * 1000),
        (2, b"<?xml version='1.0'" + b" " * 1000),
        (4, b" "),
    ]

    def setting(self) -> Setting:
        """
        Whom to expect is for the app to say.
        """
        return ANY

    def test_theNetworkIsLeftAloneUntilTheAppHasSpoken(self) -> None:
        """
        Only its header tells whom to ask for what.
        """
        for pieces in split(APP):
            driver = Driver(xmppClient, "client", ANY)
            for piece in pieces[:-1]:
                driver.plain.feed(piece)
            self.assertIsNone(driver.network.speaker)
            driver.plain.feed(pieces[-1])
            self.assertEqual(driver.network.written, OPEN)

    def test_headersOfServers(self) -> None:
        """
        XML has many ways to say the same, and streams before XMPP 1.0 have no features.
        """
        for answer, failure in (
            (ANSWER, None),
            (ANSWER.partition(b"?>")[2], None),
            (ANSWER.replace(b"'", b'"'), None),
            (ANSWER.replace(b"id='x'", b"id='a>b&gt;c&#62;'"), None),
            (ANSWER.replace(b"'1.0'?", b"'1.0' encoding='utf-8' standalone='yes'?"), None),
            (ANSWER.replace(b"' version='1.0' xm", b"' version='1.1' xm"), None),
            (ANSWER.replace(b"' version='1.0' xm", b"' xm"), NotOffered),
            (ANSWER.replace(b"' version='1.0' xm", b"' version='0.9' xm"), NotOffered),
            (ANSWER.replace(b"' version='1.0' xm", b"' version='one' xm"), NotOffered),
            (ANSWER.replace(b"/streams", b"/stream"), Malformed),
            (ANSWER.replace(b"stream:stream", b"stream:features"), Malformed),
            (ANSWER.replace(b"xmlns:stream", b"xmlns:other"), Malformed),
            (ANSWER[:-1] + b"/>", Closed),
            (b"\xef\xbb\xbf" + ANSWER, Malformed),
            (b" " + ANSWER, Malformed),
            (ANSWER.replace(b"id='x'", b"id='\xff'"), Malformed),
            (ANSWER.replace(b"id='x'", b"id='x' id='y'"), Malformed),
            (ANSWER.decode().encode("utf-16"), Malformed),
            (b"HTTP/1.1 400 Bad Request\r\n", Malformed),
            (b"SSH-2.0-OpenSSH_9.2\r\n", ForeignProtocol),
            (b"\x16\x03\x01\x02\x00", ForeignProtocol),
            (b"\x15\x03\x01\x00\x02\x02\x28", Malformed),
            (b"220 mx ESMTP\r\n", Malformed),
        ):
            driver = client()
            driver.network.feed(answer)
            driver.network.feed(FEATURES)
            if failure is None:
                self.assertEqual(driver.network.written, OPEN + ASK, answer)
            else:
                self.assertEqual(driver.network.written, OPEN, answer)
                self.assertFailed(driver, failure)

    def test_aServerThatSpeaksSomethingElseIsNamedAtOnce(self) -> None:
        """
        Behind an empty line, and without the end of one.
        """
        for answer, failure in (
            (b"Hello", Malformed),
            (b"\r\n220 mx ESMTP\r\n", Malformed),
            (b"\r\n \t220 ready", Malformed),
            (b"* OK ready", Malformed),
            (b"J\0\0\0\x0a8.0", Malformed),
            (b"\x15\x03\x03\0\2", Malformed),
            (b"\r\nSSH-2.0", ForeignProtocol),
            (b"HTTP/1.1 400", Malformed),
        ):
            for pieces in ((answer,), *split(answer)):
                driver = client()
                for piece in pieces:
                    driver.network.feed(piece)
                self.assertFailed(driver, failure)

    def test_featuresOfServers(self) -> None:
        """
        TLS is asked for only where it is offered, as a feature, in its namespace.
        """
        sasl = (
            b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>"
            b"</mechanisms>"
        )
        other = OFFER.replace(TLS, b"urn:example:tls")
        hidden = OFFER.replace(b"<", b"&lt;")
        for features, failure in (
            (FEATURES, None),
            (b"\r\n " + FEATURES.replace(OFFER, b" " + ASK + b"\n"), None),
            (FEATURES.replace(OFFER, sasl + OFFER), None),
            (FEATURES.replace(OFFER, OFFER + sasl), None),
            (FEATURES.replace(b"starttls", b"t:starttls").replace(b"xmlns", b"xmlns:t"), None),
            (FEATURES.replace(b"stream:features", b"stream:features "), None),
            (b"<stream:features/>", NotOffered),
            (FEATURES.replace(OFFER, sasl), NotOffered),
            (FEATURES.replace(OFFER, other), NotOffered),
            (FEATURES.replace(OFFER, hidden), NotOffered),
            (FEATURES.replace(OFFER, b"<x>" + OFFER + b"</x>"), NotOffered),
            (FEATURES.replace(OFFER, b"<starttls/>"), NotOffered),
            (FEATURES.replace(OFFER, b"<STARTTLS xmlns='" + TLS + b"'/>"), NotOffered),
            (FEATURES.replace(b"stream:features", b"features"), Malformed),
            (OFFER, Malformed),
            (PROCEED, Malformed),
            (error(b"host-unknown"), Refused),
            (error(b"see-other-host"), Refused),
            (END, Closed),
            (b"text" + FEATURES, Malformed),
            (b"&lt;" + FEATURES, Malformed),
            (b"&unknown;" + FEATURES, Malformed),
            (b"<!-- -->" + FEATURES, Malformed),
            (b"<?pi ?>" + FEATURES, Malformed),
            (b"<?xml version='1.0'?>" + FEATURES, Malformed),
            (FEATURES.replace(OFFER, b"<![CDATA[]]>" + OFFER), Malformed),
            (FEATURES.replace(OFFER, b"<!-- -->" + OFFER), Malformed),
            (FEATURES.replace(b"</stream:features>", b"</stream:feature>"), Malformed),
        ):
            driver = client()
            driver.network.feed(ANSWER + features)
            if failure is None:
                self.assertEqual(driver.network.written, OPEN + ASK, features)
            else:
                self.assertEqual(driver.network.written, OPEN, features)
                self.assertFailed(driver, failure)

    def test_answersToTheRequest(self) -> None:
        """
        One element is consent, and nothing else is.
        """
        for answer, failure in (
            (PROCEED, None),
            (PROCEED.replace(b"/>", b" />"), None),
            (PROCEED.replace(b"/>", b"></proceed>"), None),
            (PROCEED.replace(b"/>", b"></proceed \n>"), None),
            (PROCEED.replace(b"'", b'"'), None),
            (b"<t:proceed xmlns:t='" + TLS + b"'/>", None),
            (b"\n" + PROCEED, None),
            (PROCEED.replace(b"/>", b"> </proceed>"), Malformed),
            (PROCEED.replace(b"/>", b">x</proceed>"), Malformed),
            (PROCEED.replace(b"/>", b"><x/></proceed>"), Malformed),
            (PROCEED.replace(TLS, b"urn:example:tls"), Malformed),
            (b"<proceed/>", Malformed),
            (b"<Proceed xmlns='" + TLS + b"'/>", Malformed),
            (b"<failure xmlns='" + TLS + b"'/>" + END, Refused),
            (error(b"policy-violation"), Refused),
            (END, Closed),
            (FEATURES, Malformed),
        ):
            driver = asked()
            driver.network.feed(answer)
            if failure is None:
                self.assertSwitched(driver)
            else:
                self.assertFailed(driver, failure)

    def test_aDTDIsRefused(self) -> None:
        """
        With entities or without, in the header of the app or of the server.
        """
        for dtd in (
            b"<!DOCTYPE stream>",
            b"<!DOCTYPE stream SYSTEM 'file:///etc/passwd'>",
            b"<!DOCTYPE stream [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;'>]>",
        ):
            driver = client()
            driver.network.feed(b"<?xml version='1.0'?>" + dtd + ANSWER.partition(b"?>")[2])
            self.assertFailed(driver, Malformed)
            driver = client(app=b"<?xml version='1.0'?>" + dtd + APP.partition(b"?>")[2])
            self.assertIsInstance(driver.error, Malformed)
            self.assertIsNone(driver.network.speaker)

    def test_notOneByteMayFollowTheConsent(self) -> None:
        """
        Whichever form it has; the end of the tag is the end.
        """
        for proceed in (PROCEED, PROCEED.replace(b"/>", b"></proceed>")):
            for extra in (b" ", b"\n", b"x", b">", b"\0", b"<a/>", END, b"\x16\x03\x01\x00"):
                driver = asked()
                driver.network.feed(proceed + extra)
                self.assertFailed(driver, PlaintextAfterStartTLS)

    def test_theAppsEndIsAFailureBeforeItHasSaidWhatItWants(self) -> None:
        """
        After every byte of its header but the last.
        """
        for length in range(len(APP)):
            driver = client(app=APP[:length])
            driver.plain.end()
            self.assertIsInstance(driver.error, Closed)
            self.assertIsNone(driver.network.speaker)

    def test_limits(self) -> None:
        """
        Of bytes, with and without an end of the tag, and of depth.
        """
        fill = MAX_STREAM_BYTES - len(ANSWER + FEATURES)
        deep = MAX_STREAM_DEPTH - 2
        for answer, failure in (
            (ANSWER + b" " * fill + FEATURES, None),
            (ANSWER + b" " * (fill + 1) + FEATURES, Oversize),
            (ANSWER + b" " * MAX_STREAM_BYTES, Oversize),
            (b"<" + b"a" * MAX_STREAM_BYTES, Oversize),
            (ANSWER + b"<stream:features>" + b"<a/>" * MAX_STREAM_BYTES, Oversize),
            (ANSWER + FEATURES.replace(OFFER, OFFER + b"<a>" * deep + b"</a>" * deep), None),
            (ANSWER + b"<stream:features>" + b"<a>" * (deep + 1), Oversize),
        ):
            driver = client()
            driver.network.feed(answer)
            if failure is None:
                self.assertEqual(driver.network.written, OPEN + ASK, len(answer))
            else:
                self.assertFailed(driver, failure)
        driver = client(app=b"<" + b"a" * MAX_STREAM_BYTES)
        self.assertIsInstance(driver.error, Oversize)

    def test_theAppSaysWhomToExpect(self) -> None:
        """
        In any form of a domain; what is asked for in clear is what the app has written.
        """
        for to, domain in (
            (b"example.org", "example.org"),
            (b"EXAMPLE.org", "example.org"),
            (b"example.org.", "example.org"),
            (b"conference.example.org", "conference.example.org"),
            ("b\u00fccher.example".encode(), "xn--bcher-kva.example"),
            (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
            (b"&#x65;xample.org", "example.org"),
        ):
            driver = client(app=APP.replace(b"example.org", to).replace(b"alice@" + to, b"alice"))
            self.assertEqual(expected(driver), Identity(None, domain))
            asks = to.replace(b"&#x65;", b"e")
            self.assertEqual(driver.network.written, OPEN.replace(b"example.org", asks))

    def test_anAppThatAsksForNoDomainIsLetDown(self) -> None:
        """
        There is nobody to be verified; nobody is dialled.
        """
        for to in (
            b"",
            b"192.0.2.1",
            b"[2001:db8::1]",
            b"alice@example.org",
            b"example.org/x",
            b"-example.org",
            b"example..org",
            b"exa mple.org",
            b"&apos;/&gt;&lt;x/&gt;",
            b"*.example.org",
            b"x" * 64 + b".org",
        ):
            driver = client(app=APP.replace(b'"example.org"', b'"' + to + b'"'))
            self.assertIsInstance(driver.error, Malformed, to)
            self.assertIsNone(driver.network.speaker)
        driver = client(app=APP.replace(b'to="example.org"', b""))
        self.assertIsInstance(driver.error, Malformed)

    def test_anotherNameInTheConfigurationIsFinal(self) -> None:
        """
        With -R the app may ask for that domain only, and its certificate may name a user of it.
        """
        for identity, failure in (
            (Identity(None, "example.org"), None),
            (Identity("xmpp", "example.org"), None),
            (Identity(None, "example.net"), IdentityRefused),
            (Identity(None, "192.0.2.1"), IdentityRefused),
        ):
            driver = client(replace(ANY, remoteID=identity, explicit=True))
            if failure is None:
                self.assertEqual(expected(driver), identity)
                self.assertEqual(driver.network.written, OPEN)
            else:
                self.assertIsInstance(driver.error, failure)
                self.assertIsNone(driver.network.speaker)

    def test_anAppThatSpeaksSomethingElseIsLetDown(self) -> None:
        """
        TLS, HTTP, SSH, or nothing that begins like XML.
        """
        for first, failure in (
            (b"\x16\x03\x01\x02\x00\x01\x00", ForeignProtocol),
            (b"GET / HTTP/1.1\r\n", ForeignProtocol),
            (b"SSH-2.0-OpenSSH_9.2\r\n", ForeignProtocol),
            (b"EHLO x\r\n", Malformed),
            (b"<html>", Malformed),
        ):
            driver = client(app=first)
            self.assertIsInstance(driver.error, failure, first)
            self.assertIsNone(driver.network.speaker)

    def test_betweenServersTheCallerSaysWhoItIs(self) -> None:
        """
        As in the stream inside TLS, which has to be from the same: whomever -L is for.
        """
        app = APP.replace(b"jabber:client", b"jabber:server")
        for sender, wanted in (
            (b"alice.example", b" from='alice.example'"),
            (b"us.example", b" from='us.example'"),
            (b"OTHER.example.", b" from='OTHER.example.'"),
            (b"", b""),
            (b"alice@example.org", b""),
            (b"&apos;>", b""),
        ):
            for localID in (None, Identity(None, "us.example"), Identity("bob", "us.example")):
                driver = client(
                    replace(ANY, localID=localID),
                    app.replace(b"alice@example.org", sender),
                    xmppServer,
                )
                header = OPEN.replace(b" to=", wanted + b" to=").replace(b":client", b":server")
                self.assertEqual(driver.network.written, header)

    @settings(deadline=None)
    @given(st.binary(max_size=60), st.sampled_from([b"", ANSWER, ANSWER + FEATURES]))
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes, before: bytes) -> None:
        """
        Whatever a server says, it ends with one of our own errors.
        """
        driver = client()
        driver.network.feed(before)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertFailed(driver, TunnelError)

    @settings(deadline=None)
    @given(
        st.lists(st.sampled_from([ANSWER, FEATURES, PROCEED, ASK, END, b"<", b"/>", b" ", b"'"]))
    )
    def test_noMixtureIsMistakenForConsent(self, pieces: list[bytes]) -> None:
        """
        TLS begins only behind the one sequence that leads there.
        """
        driver = client()
        for piece in pieces:
            driver.network.feed(piece)
        if driver.network.isTLS:
            whole = b"".join(pieces).translate(None, b" ")
            self.assertTrue(whole.startswith((ANSWER + FEATURES + PROCEED).translate(None, b" ")))


FROM_SERVER = APP.replace(b"alice@example.org", b"alice.example").replace(b":client", b":server")


class BetweenServersClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c, xmpp-server.
    """

    dialect = xmppServer
    dialogue: Dialogue = [
        ("A", FROM_SERVER),
        ("C", OPEN.replace(b" to=", b" from='alice.example' to=").replace(b":client", b":server")),
        ("S", ANSWER + FEATURES),
        ("C", ASK),
        ("S", PROCEED),
    ]
    inside: Dialogue = [("C", FROM_SERVER)]
    payload = (ANYTHING, SECOND + b"<iq/>" + ANYTHING)
    early = b"<iq/>"
    farewells = [ANSWER.replace(b":client", b":server") + error(b"connection-timeout")]

    def setting(self) -> Setting:
        """
        Whom to expect is for the app to say.
        """
        return ANY


HELLO = OPEN.replace(b"example.org", OURS)


def server(hello: bytes = HELLO, covers: str = "", dialect: Dialect = xmppClient) -> Driver:
    """
    The server role, with a client that has said C{hello}.
    """
    driver = Driver(dialect, "server", replace(setting(), covers=lambda domain: domain == covers))
    driver.network.feed(hello)
    return driver


AUTH = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>"
HERE = (
    b"<?xml version='1.0'?><stream:stream from='" + OURS + b"' id='x' version='1.0'"
    b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)


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


SASL = b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>X</mechanism></mechanisms>"
FAILURE = b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"
SUCCESS = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
#: Features of a server to which several domains may be asked for on one stream.
ERRORS = (
    b"<stream:features><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
    b"</stream:features>"
)
OFFERING = b"<stream:features>" + OFFER + SASL + b"</stream:features>"
SILENT = OFFERING.replace(OFFER, b"")


def passedBy(hiding: type[Filter], pieces: list[bytes]) -> bytes | None:
    """
    What is passed on of C{pieces}; C{None} if that ends the connection.
    """
    try:
        return filtered(hiding(), pieces)
    except TunnelError:
        return None


class HidingTests(SynchronousTestCase):
    """
    Inside TLS the backend's offer of TLS makes no sense.
    """

    def test_theOfferIsTakenOut(self) -> None:
        """
        And nothing else, in whatever form and place it is.
        """
        short = OFFERING.replace(OFFER, ASK)
        for before, after in (
            (ANSWER + OFFERING, ANSWER + SILENT),
            (ANSWER + short, ANSWER + SILENT),
            (ANSWER + OFFERING + FAILURE, ANSWER + SILENT + FAILURE),
            (
                ANSWER + b"\n<stream:features> " + SASL + b"\n" + OFFER + b"\n</stream:features>",
                ANSWER + b"\n<stream:features> " + SASL + b"\n\n</stream:features>",
            ),
            (ANSWER + FEATURES, ANSWER + b"<stream:features></stream:features>"),
            (ANSWER + SILENT, ANSWER + SILENT),
        ):
            self.assertEqual(filtered(WithoutStartTLS(), [before]), after)
            for pieces in split(before):
                self.assertEqual(filtered(WithoutStartTLS(), pieces), after)

    def test_itIsTakenOutOfFeaturesOnly(self) -> None:
        """
        Elsewhere it is not an offer.
        """
        for stream in (
            ANSWER + OFFER,
            ANSWER + b"<message><body>" + OFFER + b"</body></message>",
            ANSWER + OFFERING.replace(OFFER, b"<x>" + OFFER + b"</x>"),
            ANSWER + OFFERING.replace(TLS, b"urn:example:tls"),
            OFFERING,
        ):
            self.assertEqual(filtered(WithoutStartTLS(), [stream]), stream)

    def test_severalDomainsOnOneStreamAreNotOffered(self) -> None:
        """
        Of dialback itself only that its errors are harmless is taken out, and nothing of what
        follows the features.
        """
        dialback = b"<dialback xmlns='urn:xmpp:features:dialback'>%b</dialback>"
        bidi = b"<bidi xmlns='urn:xmpp:features:bidi'/>"
        result = b"<db:result xmlns:db='jabber:server:dialback' type='valid'/>"
        for before, after in (
            (dialback % b"<errors/>", dialback % b""),
            (dialback % b"<errors></errors>", dialback % b""),
            (bidi + dialback % b" <errors/>" + bidi, bidi + dialback % b" " + bidi),
            (dialback % b"<errors/>" + OFFER, dialback % b"" + OFFER),
            (dialback % b"<x><errors/></x>", dialback % b"<x><errors/></x>"),
            (b"<errors xmlns='urn:xmpp:features:dialback'/>",) * 2,
            (dialback % b"<errors xmlns='urn:example'/>",) * 2,
            (bidi, bidi),
        ):
            said = ANSWER + b"<stream:features>%b</stream:features>"
            rest = result + FEATURES.replace(OFFER, dialback % b"<errors/>")
            for pieces in ([said % before + rest], *split(said % before + rest)):
                self.assertEqual(filtered(WithoutMultiplexing(), pieces), said % after + rest)

    def test_aLocalServerSeesNoOfferOfSeveralDomains(self) -> None:
        """
        In client mode.
        """
        driver = client(app=FROM_SERVER, dialect=xmppServer)
        driver.network.feed(ANSWER + FEATURES)
        driver.network.feed(PROCEED)
        driver.handshake()
        dialback = b"<dialback xmlns='urn:xmpp:features:dialback'>%b</dialback>"
        features = ANSWER + b"<stream:features>" + dialback + b"</stream:features>"
        driver.network.feed(features % b"<errors/>")
        self.assertEqual(driver.plain.written, features % b"")

    def test_itIsNotOfferedInTheSecondStreamEither(self) -> None:
        """
        That behind a login; features that follow are of no stream that a server could begin.
        """
        silent = ERRORS.replace(b"<errors/>", b"")
        again = b"<success xmlns='urn:xmpp:sasl:2'><x/></success>"
        for before, after in (
            (SUCCESS + ANSWER + ERRORS + ERRORS, SUCCESS + ANSWER + silent + ERRORS),
            (SUCCESS + b"\n" + ANSWER + ERRORS, SUCCESS + b"\n" + ANSWER + silent),
            (FAILURE + SUCCESS + ANSWER + ERRORS, FAILURE + SUCCESS + ANSWER + silent),
            (b" " * 20000 + SUCCESS + ANSWER + ERRORS, b" " * 20000 + SUCCESS + ANSWER + silent),
            (again + ERRORS, again + silent),
            (again + b" " + ERRORS + b"<iq/>", again + b" " + silent + b"<iq/>"),
        ):
            said = ANSWER + ERRORS + before
            expected = ANSWER + silent + after
            for pieces in ([said], *split(said[-800:])):
                pieces = [said[: -len(b"".join(pieces))], *pieces]
                each = WithoutMultiplexing()
                self.assertEqual(filtered(each, pieces), expected)
                self.assertTrue(each.done)

    def test_aServerThatHidesTheOfferIsCutOff(self) -> None:
        """
        It is verified, but not for the domains of which it would like to hear.
        """
        dialback = b"<dialback xmlns='urn:xmpp:features:dialback'%b><errors/></dialback>"
        for said in (
            b"<!-- -->" + ERRORS,
            b"<?x y?>" + ERRORS,
            b"<iq/>" + ERRORS,
            b"<db:result xmlns:db='jabber:server:dialback'/>" + ERRORS,
            SUCCESS + ERRORS,
            b"<stream:features><![CDATA[]]>" + ERRORS,
            b"<stream:features>" + b"<x>" * 16 + b"</x>" * 16,
            b"<stream:features>" + b"<x/>" * 5000,
            b"<stream:features><x a='" + b"x" * 9000,
            b"<stream:features>" + dialback % b" a='>'" + b"</stream:features>",
            b"<stream:features>&lt;&x;</stream:features>" + ERRORS,
            b"<stream:features/>" + SUCCESS + ANSWER + b"<iq/>" + ERRORS,
            b"<stream:features/>" + SUCCESS + b"<!-- -->" + ANSWER + ERRORS,
        ):
            for pieces in ([ANSWER + said], *split(ANSWER + said[-300:])):
                if len(said) > 300:
                    pieces = [ANSWER + said]
                with self.assertRaises((Malformed, Oversize), msg=said):
                    filtered(WithoutMultiplexing(), pieces)

    def test_aServerThatRefusesIsHeard(self) -> None:
        """
        It may do so in the place of features.
        """
        said = ANSWER + error(b"host-unknown")
        each = WithoutMultiplexing()
        self.assertEqual(each.feed(said), said)
        self.assertTrue(each.done)

    def test_itEndsWithTheLogin(self) -> None:
        """
        From there on bytes pass as they are, and nobody looks.
        """
        for last in (
            SUCCESS,
            b"<success xmlns='urn:xmpp:sasl:2'>",
            b"<iq/>",
            b"<message>",
            END,
            b"<!-- -->",
            b"&amp;<a/>",
            error(b"host-gone"),
            FAILURE * 250,
            b"<failure a='" + b"x" * 8192,
        ):
            each = WithoutStartTLS()
            rest = b"<" + bytes(range(256)) + OFFERING
            passed = each.feed(ANSWER + OFFERING + last + rest)
            self.assertTrue(each.done, last)
            self.assertEqual(passed + each.flush(), ANSWER + SILENT + last + rest)

    def test_onlyATagIsWaitedFor(self) -> None:
        """
        White space keeps connections alive, and what is whole is not held.
        """
        each = WithoutStartTLS()
        self.assertEqual(each.feed(ANSWER), ANSWER)
        self.assertEqual(each.feed(b" \n"), b" \n")
        self.assertEqual(each.feed(b"<stream:features><mech"), b"<stream:features>")
        self.assertEqual(each.flush(), b"<mech")

    def test_whatIsNoXMLIsNotWaitedFor(self) -> None:
        """
        It is for the client to see.
        """
        each = WithoutStartTLS()
        self.assertEqual(each.feed(b"hello"), b"hello")

    def test_clientsSeeNoOffer(self) -> None:
        """
        It is in place in the server role.
        """
        driver = server()
        driver.network.feed(ASK)
        driver.handshake()
        driver.network.takeWritten()
        driver.plain.feed(ANSWER + OFFERING)
        self.assertEqual(driver.network.written, ANSWER + SILENT)

    @settings(deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [ANSWER, OFFERING, OFFER, ERRORS, FAILURE, SUCCESS, END, b"<", b">", b"\0", b" "]
            )
            | st.binary(max_size=9)
        )
    )
    def test_whateverComesNothingElseIsLost(self, pieces: list[bytes]) -> None:
        """
        The same bytes in the same order but for offers; or the connection ends, where that may be.
        """
        whole = b"".join(pieces)
        for hiding, offer in ((WithoutStartTLS, OFFER), (WithoutMultiplexing, b"<errors/>")):
            passed, atOnce = passedBy(hiding, pieces), passedBy(hiding, [whole])
            if passed is None or atOnce is None:
                # Of what is no XML the reader may notice that with the next byte only.
                self.assertIs(hiding, WithoutMultiplexing)
                continue
            self.assertEqual(passed, atOnce)
            if offer not in whole:
                self.assertEqual(passed, whole)
            else:
                self.assertEqual(passed.replace(offer, b""), whole.replace(offer, b""))
