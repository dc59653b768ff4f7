"""
The xmpp-client and xmpp-server dialects in client mode.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.xmppheads import (
    ANSWER,
    ANY,
    ANYTHING,
    APP,
    ASK,
    END,
    FEATURES,
    FROM_SERVER,
    OFFER,
    OPEN,
    PROCEED,
    SECOND,
    TLS,
    asked,
    client,
    error,
    expected,
)
from tlstunnel.errors import (
    Closed,
    ForeignProtocol,
    IdentityRefused,
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    TunnelError,
)
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.setting import Setting
from tlstunnel.protocols.xmlstream import MAX_STREAM_BYTES, MAX_STREAM_DEPTH
from tlstunnel.protocols.xmpp import xmppClient, xmppServer
from tlstunnel.testing.conformance import ClientConformance
from tlstunnel.testing.dialogues import Dialogue, split
from tlstunnel.testing.memory import Driver


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
