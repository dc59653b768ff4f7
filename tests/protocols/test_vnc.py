"""
Tests for L{tlstunnel.protocols.vnc} in client mode.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols import test_vncserver
from tests.protocols.screens import (
    ANONYMOUS,
    ANYTHING,
    CHALLENGE,
    FAILED,
    LOGIN,
    OK,
    PLAIN,
    RESPONSE,
    RFB33,
    RFB37,
    RFB38,
    X509_NONE,
    X509_PLAIN,
    X509_VNC,
    app,
    network,
    number,
    subtypes,
    text,
)
from tlstunnel.errors import (
    Closed,
    ForeignProtocol,
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    ServerSpokeFirst,
    TunnelError,
)
from tlstunnel.protocols.vnc import MAX_CLEAR_BYTES, vnc
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import CLIENT_HELLO, client, inside, said, server, split
from tlstunnel.testing.memory import Driver


class ClientRules(ClientConformance):
    """
    What all apps and servers have in common.
    """

    dialect = vnc
    # A server speaks first inside TLS, unless a name is asked for.
    silent = False
    appTLS = TunnelError
    early = RESPONSE
    # The server waits for what it is asked.
    pipelined = False
    behind: type[ServerConformance]
    # Whether a client that has come with TLS cannot begin as TLS does.
    isUnlikeTLS = False

    def test_anAppThatStartsTLSIsCutOff(self) -> None:
        """
        As everywhere, but for a client of a bridge: the first thing it says may be any bytes.
        """
        if self.appSpeaks or self.isUnlikeTLS:
            super().test_anAppThatStartsTLSIsCutOff()

    def test_aFloodOfTheAppIsHeldBack(self) -> None:
        """
        As everywhere, where the app does not wait until it is greeted.
        """
        if not self.appSpeaks:
            super().test_aFloodOfTheAppIsHeldBack()
            return
        words = b"".join(text for who, text in self.whole if who == "A")
        count = (1 << 18) // len(RESPONSE)
        driver = client(vnc)
        driver.plain.feed(words + RESPONSE * count)
        assert len(driver.role.plain.unread) < 1 << 17, "too much of the app is kept"
        assert driver.plain.paused, "the app is read on"
        driver.play(self.dialogue)
        driver.handshake()
        driver.clock.advance(1.0)
        driver.settle()
        greeting = b"".join(text for who, text in self.whole if who == "T")
        assert driver.plain.takeWritten() == greeting
        self.checkEarly(driver, count)


class PasswordClientTests(ClientRules, SynchronousTestCase):
    """
    Mode -c, with a password.
    """

    behind = test_vncserver.PasswordServerTests
    dialogue = network()
    inside = app(2)
    payload = (RESPONSE + ANYTHING, CHALLENGE + OK + ANYTHING)
    variants = [
        (0, b"RFB 003.889\n"),
        (0, b"RFB 004.001\n"),
        (0, b"RFB 005.000\n"),
        (2, b"\3\2\x13\1"),
        (2, b"\xff" + bytes(range(1, 256))),
        (4, b"\0\3"),
        (4, b"\1\0"),
        (6, b"\0" + subtypes(*ANONYMOUS, X509_VNC, X509_NONE, X509_PLAIN)),
        (6, b"\0" + subtypes(X509_PLAIN, PLAIN, 2, X509_VNC)),
        (6, b"\0" + subtypes(*([X509_VNC] * 255))),
        (10, b"RFB 003.889\n"),
    ]
    failures = [
        (0, RFB33, NotOffered),
        (0, b"RFB 003.005\n", NotOffered),
        (0, b"RFB 003.006\n", NotOffered),
        (0, b"RFB 002.008\n", Malformed),
        (0, b"RFB 003.002\n", Malformed),
        (0, b"RFB 003.8\n\n\n", Malformed),
        (0, b"rfb 003.008\n", Malformed),
        (0, b"RFB 003.008\r", Malformed),
        (0, b"220 mail.example.org ESMTP\r\n", Malformed),
        (2, b"\1\1", NotOffered),
        (2, b"\2\1\2", NotOffered),
        (2, b"\3\x10\x12\2", NotOffered),
        (2, b"\0" + text(b"Too many security failures"), Refused),
        (2, b"\0" + text(b""), Refused),
        (2, b"\0" + text(b"\x1b[2J\0\r\n"), Refused),
        (2, b"\0" + text(b"no", MAX_CLEAR_BYTES), Oversize),
        (2, b"\0" + text(b"no", 0xFFFFFFFF), Oversize),
        (4, b"\0\1", Refused),
        (4, b"\0\0", Refused),
        (6, b"\1", Refused),
        (6, b"\xff", Refused),
        (6, b"\0" + subtypes(), NotOffered),
        (6, b"\0" + subtypes(*ANONYMOUS), NotOffered),
        (6, b"\0" + subtypes(PLAIN, 1, 2, 263, 264, 0xFFFFFFFF), NotOffered),
        (8, b"\0", Refused),
        (8, b"\2", Refused),
        (8, b"\x16", Refused),
    ]

    def test_refusalsAreExplained(self) -> None:
        """
        In words, and with what the server has offered.
        """
        for words, why in (
            ((RFB38, b"\2\1\2"), "no VeNCrypt, only security types 1 (None), 2 (VncAuth)"),
            ((RFB38, b"\0" + text(b"Too many security failures")), "Too many security failures"),
            ((RFB38, b"\1\x13", b"\0\1"), "an older VeNCrypt"),
            (
                (RFB38, b"\1\x13", b"\0\2", b"\0" + subtypes(257, 258)),
                "257 (TLSNone), 258 (TLSVnc)",
            ),
        ):
            driver = client(vnc)
            for each in words:
                driver.network.feed(each)
            self.assertIn(why, str(driver.error))

    def test_theServerDoesNotSpeakBeforeItIsAsked(self) -> None:
        """
        Not even in clear.
        """
        for extra in (b"\1", b"\1\x13"):
            driver = client(vnc)
            driver.network.feed(RFB38 + extra)
            self.assertFailed(driver, PlaintextAfterStartTLS)
            self.assertSilent(driver.network, "the server")

    def test_anOlderVeNCryptIsToldThatItIsNotSpoken(self) -> None:
        """
        As its specification has it.
        """
        driver = client(vnc)
        for words in (RFB38, b"\1\x13"):
            driver.network.feed(words)
        driver.network.takeWritten()
        driver.network.feed(b"\0\1")
        self.assertEqual(driver.network.written, b"\0\0")

    def test_theServersOrderDecides(self) -> None:
        """
        But that a name is what few apps can say; options narrow it down.
        """
        for offered, options, picked in (
            ((X509_NONE, X509_VNC), (), X509_NONE),
            ((X509_VNC, X509_NONE), (), X509_VNC),
            ((X509_PLAIN, X509_VNC), (), X509_VNC),
            ((X509_PLAIN, 257), (), X509_PLAIN),
            ((X509_NONE, X509_VNC), ("vncauth",), X509_VNC),
            ((X509_VNC, X509_NONE), ("none",), X509_NONE),
            ((X509_VNC, X509_PLAIN), ("plain",), X509_PLAIN),
            ((X509_NONE, X509_PLAIN, X509_VNC), ("plain", "vncauth"), X509_VNC),
            ((X509_VNC,), ("none", "plain"), None),
            ((X509_PLAIN,), ("none",), None),
        ):
            driver = client(vnc, *options)
            driver.play([*network(offered=offered)[:6]])
            driver.network.feed(b"\0" + subtypes(*offered))
            if picked is None:
                self.assertFailed(driver, NotOffered, offered, options)
            else:
                self.assertEqual(driver.network.written, number(picked), (offered, options))

    def test_theAppIsOfferedNoLaterVersionThanTheServerHas(self) -> None:
        """
        It may take an older one.
        """
        driver = client(vnc)
        driver.play([("S", RFB37), ("C", RFB37), *network()[2:]])
        driver.handshake()
        self.assertEqual(driver.plain.takeWritten(), RFB37)
        driver.plain.feed(RFB38)
        self.assertEqual(driver.plain.takeWritten(), b"\1\2")

    def test_anUnknownVersionIsTheOldestOne(self) -> None:
        """
        On both sides of an app.
        """
        for version in (RFB33, b"RFB 003.004\n", b"RFB 003.005\n", b"RFB 003.006\n"):
            for pieces in ((version,), *split(version)):
                driver = inside(client(vnc), network())
                driver.plain.takeWritten()
                for piece in pieces:
                    driver.plain.feed(piece)
                self.assertEqual(driver.plain.takeWritten(), number(2))
                driver.plain.feed(RESPONSE)
                self.assertEqual(driver.network.written, RESPONSE)

    def test_anAppThatPicksSomethingElseIsCutOff(self) -> None:
        """
        The server hears nothing of it.
        """
        for version in (RFB37, RFB38):
            for picked in (b"\0", b"\1", b"\x13", b"\x16"):
                driver = inside(client(vnc), network())
                driver.plain.feed(version + picked)
                self.assertIsInstance(driver.error, Malformed)
                self.assertBlames(driver, "A")
                self.assertSilent(driver.network, "the server")

    def test_anAppOfAnotherProtocolIsCutOff(self) -> None:
        """
        One that begins with TLS is told apart.
        """
        for words, error in (
            (CLIENT_HELLO, ForeignProtocol),
            (b"GET / HTTP/1.1\r\n", Malformed),
            (b"RFB 002.000\n", Malformed),
        ):
            driver = inside(client(vnc), network())
            driver.plain.feed(words)
            self.assertIsInstance(driver.error, error, words)
            self.assertBlames(driver, "A")

    def test_aResponseMayBeginAsTLSDoes(self) -> None:
        """
        It is bytes like any others.
        """
        for version in (RFB33, RFB37, RFB38):
            driver = inside(client(vnc), network())
            driver.plain.feed(version + b"\2" * (version != RFB33))
            driver.plain.feed(CLIENT_HELLO)
            self.assertEqual(driver.network.written, CLIENT_HELLO)

    def test_aServerThatGreetsInsideTLSWasSplicedIn(self) -> None:
        """
        It has TLS from the first byte, and was asked by somebody else in clear.
        """
        for pieces in ((RFB38,), *split(RFB38)):
            driver = self.start(len(self.whole))
            for piece in pieces:
                driver.network.feed(piece)
            self.assertFailed(driver, ServerSpokeFirst)

    def test_anOldAppHearsNoReason(self) -> None:
        """
        It would not know what that is.
        """
        for version, heard in ((RFB33, FAILED), (RFB37, FAILED), (RFB38, FAILED + text(b"no"))):
            driver = inside(client(vnc), network())
            driver.plain.feed(version + b"\2" * (version != RFB33))
            driver.plain.takeWritten()
            driver.network.feed(CHALLENGE + FAILED + text(b"no"))
            self.assertEqual(driver.plain.written, CHALLENGE + heard)

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=30), max_size=5))
    def test_noGarbageIsMistakenForConsent(self, garbage: list[bytes]) -> None:
        """
        Whatever a server says, the switch is reached by one byte only, behind a list that has one
        of three numbers in it.
        """
        for place in (0, 2, 4, 6, 8):
            driver = self.start(place)
            for each in garbage:
                driver.network.feed(each)
            driver.network.end()
            self.assertEqual(driver.plain.written, b"")
            if not b"".join(garbage).startswith(b"\1") or place < 8:
                self.assertIsInstance(driver.error, TunnelError)


class OpenClientTests(ClientRules, SynchronousTestCase):
    """
    Mode -c, where nothing is asked for.
    """

    behind = test_vncserver.OpenServerTests
    dialogue = network(offered=(X509_NONE,))
    inside = app(1)
    payload = (ANYTHING, OK + ANYTHING)

    def test_anOldAppDoesNotAwaitThatAllIsWell(self) -> None:
        """
        Nothing is said then; and if not all is well, there is no way to say so.
        """
        for version in (RFB33, RFB37):
            for outcome, passed in ((OK + ANYTHING, ANYTHING), (FAILED + text(b"no"), b"")):
                driver = inside(client(vnc), network(offered=(X509_NONE,)))
                driver.plain.feed(version + b"\1" * (version != RFB33) + b"\1")
                self.assertEqual(driver.network.written, b"\1")
                driver.plain.takeWritten()
                driver.network.feed(outcome)
                self.assertEqual(driver.plain.written, passed)
                self.assertEqual(driver.error is None, bool(passed))

    def test_aScreenMayBeSharedByAnyNumber(self) -> None:
        """
        But by 0: also by the one with which TLS begins.
        """
        for version in (RFB33, RFB37, RFB38):
            driver = inside(client(vnc), network(offered=(X509_NONE,)))
            driver.plain.feed(version + b"\1" * (version != RFB33))
            driver.plain.feed(b"\x16")
            self.assertEqual(driver.network.written, b"\x16")


class NameClientTests(ClientRules, SynchronousTestCase):
    """
    Mode -c, with a name and a password.
    """

    behind = test_vncserver.NameServerTests
    dialogue = network(offered=(X509_PLAIN,))
    isUnlikeTLS = True
    inside = [
        *app(19),
        ("T", b"\0\2"),
        ("A", b"\0\2"),
        ("T", b"\0" + subtypes(PLAIN)),
        ("A", number(PLAIN)),
    ]
    payload = (LOGIN + ANYTHING, OK + ANYTHING)

    def finish(self, driver: Driver, place: int, *about: object) -> None:
        """
        The server has to be silent for a moment.
        """
        self.go(driver, place, len(self.whole))
        driver.clock.advance(1.0)
        super().finish(driver, len(self.whole), *about)

    def test_aServerThatDoesNotWaitForTheNameIsCutOff(self) -> None:
        """
        Be it early or late.
        """
        for words in (OK, CHALLENGE, RFB38):
            driver = self.start(len(self.whole))
            driver.network.feed(words)
            self.assertFailed(driver, ServerSpokeFirst, words)
            driver = self.start(len(self.whole))
            self.arrive(driver)
            driver.network.feed(words)
            self.assertFailed(driver, ServerSpokeFirst, words)

    def test_anAppThatCannotSayANameIsToldSo(self) -> None:
        """
        Where there is a way to tell.
        """
        driver = inside(client(vnc), network(offered=(X509_PLAIN,)))
        driver.plain.takeWritten()
        driver.plain.feed(RFB33)
        reason = b"RFB 3.7 or later is needed to log in with a name"
        self.assertEqual(driver.plain.takeWritten(), bytes(4) + text(reason))
        self.assertFailed(driver, Refused)

    def test_anAppThatPicksSomethingElseIsCutOff(self) -> None:
        """
        Another version of VeNCrypt, or another subtype.
        """
        for place, words, answer, error in (
            (len(self.whole) - 3, b"\0\1", b"\xff", Refused),
            (len(self.whole) - 3, b"\0\0", b"\xff", Refused),
            (len(self.whole) - 1, number(X509_PLAIN), b"", Malformed),
            (len(self.whole) - 1, number(0), b"", Malformed),
        ):
            driver = self.start(place)
            driver.plain.feed(words)
            self.assertEqual(driver.plain.takeWritten(), answer)
            self.assertFailed(driver, error, words)
            self.assertBlames(driver, "A")


class BridgeTests(SynchronousTestCase):
    """
    A bridge, to which a client has come with a password.
    """

    def test_theServerIsAskedForTheLoginOfTheClient(self) -> None:
        """
        Whatever it likes better; and in no later version than the client has.
        """
        # That module asks this one for its cases.
        from tests.tunnel.test_bridgerules import BothDriver

        for version in (RFB37, RFB38):

            class Bridge(BothDriver):
                before = network(version)

            for offered, isThere in (
                ((X509_NONE, X509_PLAIN, X509_VNC), True),
                ((X509_NONE, X509_PLAIN), False),
            ):
                driver = Bridge(vnc, "client")
                driver.network.feed(RFB38)
                self.assertEqual(driver.network.takeWritten(), version)
                for words in (b"\1\x13", b"\0\2"):
                    driver.network.feed(words)
                driver.network.takeWritten()
                driver.network.feed(b"\0" + subtypes(*offered))
                self.assertEqual(driver.network.written, number(X509_VNC) if isThere else b"")
                self.assertEqual(isinstance(driver.error, NotOffered), not isThere)


class OfferTests(SynchronousTestCase):
    """
    What a server tunnel offers.
    """

    def test_onlyWhatTheBackendHasIsOffered(self) -> None:
        """
        As options say, with what asks for most first.
        """
        for options, offered in (
            ((), (X509_VNC,)),
            (("vncauth",), (X509_VNC,)),
            (("none",), (X509_NONE,)),
            (("plain",), (X509_PLAIN,)),
            (("none", "vncauth"), (X509_VNC, X509_NONE)),
            (("none", "vncauth", "plain"), (X509_PLAIN, X509_VNC, X509_NONE)),
        ):
            driver = server(vnc, *options)
            heard = said(driver, RFB38 + b"\x13\0\2")
            self.assertEqual(heard, b"\1\x13\0\2\0" + subtypes(*offered), options)

    def test_theBackendIsAskedForWhatTheClientHasChosen(self) -> None:
        """
        Where there are several.
        """
        for offered, kind in ((X509_VNC, 2), (X509_NONE, 1), (X509_PLAIN, 19)):
            driver = server(vnc, "none", "vncauth", "plain")
            said(driver, RFB38 + b"\x13\0\2" + number(offered))
            driver.handshake()
            driver.plain.feed(RFB38)
            driver.plain.feed(b"\4\1\2\x10\x13")
            self.assertEqual(driver.plain.takeWritten(), RFB38 + bytes((kind,)))

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=30), max_size=5))
    def test_noGarbageIsMistakenForARequest(self, garbage: list[bytes]) -> None:
        """
        Whatever a client says; and nothing of it reaches the backend, which is not there.
        """
        for start in (b"", RFB38, RFB38 + b"\x13", RFB38 + b"\x13\0\2"):
            driver = server(vnc)
            words = start + b"".join(garbage)
            driver.network.feed(words)
            driver.network.end()
            self.assertFalse(driver.backendDialled)
            request = RFB38 + b"\x13\0\2" + number(X509_VNC)
            if not words.startswith((request, RFB37 + request[12:])):
                self.assertIsInstance(driver.error, TunnelError)
                self.assertIsInstance(driver.error, Closed | Malformed | Refused | ForeignProtocol)


# In a bridge the server has to have the login that the client has come with.
