"""
Tests for the word C{xmpp}: nobody becomes somebody else by what he says.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.logins import Map
from tests.reveal.xmppstreams import (
    ALICE,
    ANSWER,
    OPEN,
    SASL,
    SUCCESS,
    auth,
    login,
    opening,
    said,
    start,
)
from tlstunnel.errors import Forged, Malformed, Quit, TunnelError
from tlstunnel.reveal.xmpplogin import ClientLogin, Denied, decoded
from tlstunnel.testing.memory import Driver


class AttackTests(SynchronousTestCase):
    """
    Nobody logs in otherwise.
    """

    def refused(self, words: Sequence[bytes], kind: type[TunnelError] = Malformed) -> Driver:
        """
        See that the connection ends, and that the backend hears nothing.
        """
        driver = start()
        for each in words:
            driver.feed("C", each)
        error = driver.error
        assert isinstance(error, kind), (words, error)
        self.assertEqual(error.who, "the client")
        self.assertEqual(driver.plain.takeWritten(), b"")
        return driver

    def test_twoNamesAreNone(self) -> None:
        """
        Also where the client may be both: nobody could say which the server takes.
        """
        user = ClientLogin(Map("alice@test.example", "info@test.example"), ALICE, "test.example")
        for words in b"alice\0info\0x", b"info@test.example\0alice\0x":
            self.assertRaises(Denied, user.name, "PLAIN", words)
        self.assertEqual(user.name("PLAIN", b"info\0info\0x"), "info@test.example")

    def test_whatIsNoLoginEndsTheConnection(self) -> None:
        """
        As other ways to log in, and what belongs behind the login.
        """
        for words in (
            b"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='EXTERNAL'/>",
            b"<auth mechanism='EXTERNAL'>=</auth>",
            b"<auth xmlns='jabber:client' mechanism='EXTERNAL'>=</auth>",
            b"<auth xmlns='urn:ietf:params:xml:ns:XMPP-sasl' mechanism='EXTERNAL'>=</auth>",
            b"<iq type='set' id='1'><query xmlns='jabber:iq:auth'/></iq>",
            b"<iq type='set' id='1'><query xmlns='jabber:iq:register'/></iq>",
            b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            b"<compress xmlns='http://jabber.org/protocol/compress'/>",
            b"<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>",
            b"<handshake>x</handshake>",
            b"<message/>",
            b"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</response>",
        ):
            driver = self.refused([OPEN, words])
            self.assertIn(b"<not-authorized", driver.network.takeWritten())

    def test_noPasswordIsLogged(self) -> None:
        """
        Of other ways to log in, and of what is broken, the log has no password.
        """
        secret = said("\0alice\0hunter2")
        for words in (
            f"<authenticate xmlns='urn:xmpp:sasl:2'><initial-response>{secret}</initial-response>\
</authenticate>",
            f"<iq type='set'><query xmlns='jabber:iq:auth'><password>{secret}</password></query>\
</iq>",
            f"<auth xmlns='{SASL}' mechanism='PLAIN'>{secret}</aut>",
            f"<auth xmlns='{SASL}' mechanism='PLAIN'>{secret}<x/ ></auth>",
        ):
            driver = self.refused([OPEN, words.encode()])
            assert driver.error is not None
            self.assertNotIn(secret.encode(), driver.error.said)

    def test_whatNoStreamHasEndsTheConnection(self) -> None:
        """
        Comments, CDATA, entities, processing instructions and other XML in XML.
        """
        whole = f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>".encode()
        for words in (
            b"<!-- x -->",
            whole + b"<![CDATA[=]]></auth>",
            whole + b"&x;</auth>",
            b"<?x?>",
            b"<!DOCTYPE x>",
            b"text>",
            b"<auth\0>",
            b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl auth' mechanism='EXTERNAL'>=</auth>",
            whole + b"\xff</auth>",
            b"<auth xmlns='a' xmlns='b'>",
            b"</auth>",
        ):
            self.refused([OPEN, words])

    def test_whatIsNoStreamIsNone(self) -> None:
        """
        Nor is one for nobody, or in another spelling than certificates have.
        """
        for words in (
            b"<stream to='test.example' version='1.0'>",
            opening("jabber:component:accept"),
            opening(""),
            opening(to=""),
            opening(to="192.0.2.1"),
            opening(to="t\u00e9st.example"),
            opening(to="test\u3002example"),
            '<?xml version="1.0" encoding="UTF-16"?>'.encode("utf-16"),
        ):
            self.refused([words])

    def test_aClientLeaves(self) -> None:
        """
        Before it has logged in.
        """
        driver = self.refused([OPEN, b"</s:stream>"], Quit)
        self.assertTrue(driver.network.takeWritten().endswith(b"</stream:stream>"))

    def test_whatIsPipelinedBehindTheLoginIsTheSameLogin(self) -> None:
        """
        It has to be the header of a stream for the same domain.
        """
        for words, kind in (
            (auth(said("bob@test.example")), Malformed),
            (opening(to="other.example"), Forged),
            (opening("jabber:server", more='from="test.example"'), Forged),
            (opening(to=""), Forged),
            (b"<iq/>", Malformed),
            (b"</s:stream>", Malformed),
        ):
            driver = start()
            login(driver, auth("=") + words)
            driver.feed("B", SUCCESS)
            self.assertIsInstance(driver.error, kind, words)
            self.assertEqual(driver.plain.takeWritten(), b"")

    def test_aNewStreamIsPassedAsItIs(self) -> None:
        """
        Pipelined or not, with all that follows.
        """
        again = opening(to="TEST.example", more="from='bob@test.example'") + b"<iq/>"
        for pipelined in (True, False):
            driver = start()
            login(driver, auth("=") + (again if pipelined else b""))
            driver.feed("B", SUCCESS)
            if not pipelined:
                driver.feed("C", again[:50])
                driver.feed("C", again[50:])
            self.assertEqual(driver.plain.takeWritten(), again)
            self.assertIsNone(driver.error)

    @settings(max_examples=300)
    @given(
        st.lists(
            st.sampled_from(
                [
                    OPEN,
                    auth(said("bob")),
                    auth(said("\0bob\0x"), "PLAIN"),
                    auth(""),
                    f"<response xmlns='{SASL}'>{said('bob')}</response>".encode(),
                    b"<auth xmlns='",
                    SASL.encode(),
                    b"'",
                    b" mechanism='EXTERNAL'",
                    b">",
                    b"Ym9i",
                    b"</auth>",
                    b" ",
                    b"\n",
                ]
            ),
            max_size=12,
        ),
        st.integers(1, 60),
    )
    def test_nobodyIsBob(self, parts: list[bytes], step: int) -> None:
        """
        Whatever is said, however it is cut: the backend hears of alice, or of nobody.
        """
        driver = start()
        words = OPEN + b"".join(parts)
        for at in range(0, len(words), step):
            driver.feed("C", words[at : at + step])
        driver.feed("B", ANSWER)
        heard = driver.plain.takeWritten()
        if b"<auth" in heard:
            self.assertTrue(heard.endswith(auth(said("alice@test.example"))))
            self.assertEqual(heard.count(b"<auth"), 1)

    @given(st.text(max_size=40))
    def test_whatIsNoBase64IsRefused(self, text: str) -> None:
        """
        Whatever it is.
        """
        try:
            found = decoded(text)
        except Denied as denied:
            self.assertEqual(denied.condition, "incorrect-encoding")
        else:
            self.assertIn(text.strip(), (said(found), ""))
