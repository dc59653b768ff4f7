"""
The imap dialect.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import (
    BackendRefused,
    Malformed,
    Oversize,
    PreAuthenticated,
    Quit,
    Refused,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.hiding import Commands
from tlstunnel.protocols.imap import Capabilities, imap
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import (
    OURS,
    client,
    filtered,
    inside,
    isFiltered,
    said,
    server,
    split,
)
from tlstunnel.testing.memory import Driver

GREETING = b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n"
GO = b"t1 OK Begin TLS negotiation now\r\n"
OFFER = b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] " + OURS + b" ready\r\n"
CLIENT = [("S", GREETING), ("C", b"t1 STARTTLS\r\n"), ("S", GO)]
SERVER = [
    ("S", OFFER),
    ("C", b"a CAPABILITY\r\n"),
    ("S", b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na OK done\r\n"),
    ("C", b"b STARTTLS\r\n"),
    ("S", b"b OK Begin TLS negotiation now\r\n"),
]
BACKEND = b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] Dovecot ready.\r\n"


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = imap
    dialogue = CLIENT
    inside = [("T", b"* OK server.example.org ready\r\n")]
    farewells = [b"* BYE Disconnected for inactivity.\r\n", b"* bye\n"]
    variants = [
        (0, b"* OK\r\n"),
        (0, b"* ok hello\n"),
        (0, b"* OK [ALERT] \xe9\r\n"),
        (0, b"* OK  {x}\r\n"),
        (0, b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] no TLS\r\n"),
        (2, b"t1 OK\r\n"),
        (2, b"t1 ok [X] go\n"),
        (2, b'* 3 EXISTS\r\n* OK [ALERT] call this number\r\n* LIST () "/" x\r\nt1 OK go\r\n'),
    ]
    failures = [
        (0, b"* PREAUTH welcome\r\n", PreAuthenticated),
        (0, b"* preauth\r\n", PreAuthenticated),
        (0, b"* BYE overloaded\r\n", Refused),
        (0, b"* OKAY\r\n", Malformed),
        (0, b"* NO\r\n", Malformed),
        (0, b"*OK ready\r\n", Malformed),
        (0, b" * OK ready\r\n", Malformed),
        (0, b"t1 OK ready\r\n", Malformed),
        (0, b"OK ready\r\n", Malformed),
        (0, b"+ OK\r\n", Malformed),
        (0, b"+OK ready\r\n", Malformed),
        (0, b"\r\n", Malformed),
        (0, b"* OK {12}\r\n", Malformed),
        (0, b"* OK a\rb\r\n", Malformed),
        (0, b"* OK a\0b\r\n", Malformed),
        (0, b"* OK " + b"x" * 8192 + b"\r\n", Oversize),
        (2, b"t1 NO not now\r\n", Refused),
        (2, b"t1 BAD what\r\n", Refused),
        (2, b"t1 bad\r\n", Refused),
        (2, b"* BYE\r\n", Refused),
        (2, b"* PREAUTH\r\nt1 OK\r\n", PreAuthenticated),
        (2, b"t10 OK go\r\n", Malformed),
        (2, b"t OK go\r\n", Malformed),
        (2, b"T1 OK go\r\n", Malformed),
        (2, b"t1 OKAY go\r\n", Malformed),
        (2, b"t1\r\n", Malformed),
        (2, b"+ go on\r\n", Malformed),
        (2, b"OK go\r\n", Malformed),
        (2, b"* OK {3}\r\nt1 OK\r\n", Malformed),
        (2, b"t1 OK {0}\r\n", Malformed),
        (2, b"* \r\n" * 128, Oversize),
    ]
    endless = [(2, b"* OK still here\r\n"), (2, b"* 1 FETCH " + b"x" * 990 + b"\r\n")]

    def test_aServerMaySpeakFirstInsideTLSWhereThatIsAskedFor(self) -> None:
        """
        The option relaxes the silence, and the app gets what was said after its greeting.
        """
        driver = inside(client(imap, "unsolicited"), CLIENT)
        driver.network.feed(b"* OK still here\r\n")
        self.assertIsNone(driver.error)
        self.assertEqual(driver.plain.written, self.inside[0][1] + b"* OK still here\r\n")

    @settings(deadline=None)
    @given(st.binary(max_size=60))
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes) -> None:
        """
        Whatever a server says, the switch is reached by our tag and OK only.
        """
        driver = client(imap)
        driver.network.feed(GREETING)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        if b"t1 ok" not in garbage.lower():
            self.assertIsInstance(driver.error, TunnelError)


CAPABILITIES = b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na1 OK done\r\n"
PRIVACY = b"a1 NO [PRIVACYREQUIRED] STARTTLS first\r\n"
BAD = b"* BAD syntax\r\n"
LITERAL = b"a BAD literals not accepted before STARTTLS\r\n"


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s, up to the switch.
    """

    dialect = imap
    dialogue = SERVER
    inside = [("B", BACKEND)]
    variants = [(3, b"b starttls\n"), (5, b"* ok\n"), (5, b"* OK " + b"x" * 5000 + b"\r\n")]
    answers = {
        b"a1 capability\r\n": CAPABILITIES,
        b"a1 NOOP\r\n": b"a1 OK done\r\n",
        b'a1 ID ("name" "x")\r\n': b"* ID NIL\r\na1 OK done\r\n",
        b"a1 ID NIL\r\n": b"* ID NIL\r\na1 OK done\r\n",
        b"a1 STARTTLS now\r\n": b"a1 BAD syntax\r\n",
        b"a1 NOOP x\r\n": b"a1 BAD syntax\r\n",
        b"a1\r\n": BAD,
        b"\r\n": BAD,
        b"* STARTTLS\r\n": BAD,
        b"+ STARTTLS\r\n": BAD,
        b" STARTTLS\r\n": BAD,
        b'a"b STARTTLS\r\n': BAD,
        b"a\xe91 STARTTLS\r\n": BAD,
    }
    needsTLS = {
        b"a1 LOGIN a b\r\n": PRIVACY,
        b"a1 authenticate PLAIN AGEAYg==\r\n": PRIVACY,
        b"a1 SELECT INBOX\r\n": b"a1 BAD STARTTLS first\r\n",
        b"a1 XYZZY\r\n": b"a1 BAD STARTTLS first\r\n",
        b"a LOGIN {4}\r\nuser {4}\r\nword\r\n": LITERAL,
    }
    farewells = [
        (b"a LOGOUT\r\n", b"* BYE tunnel.example.net\r\na OK done\r\n", Quit),
        (b"\r\n\r\n\r\n", BAD * 2 + b"* BYE too many errors\r\n", TooManyErrors),
        # What follows a literal is no command, and must not be read as one.
        (b"a LOGIN {4+}\r\nb STARTTLS\r\n", LITERAL, Malformed),
        (b"a STARTTLS {8+}\r\nb STARTTLS\r\n", LITERAL, Malformed),
        (b"a X ~{8}\r\nb STARTTLS\r\n", LITERAL, Malformed),
    ]
    refusals = [
        (5, b"* BYE [UNAVAILABLE] full\r\n", b"t CAPABILITY\r\n", b"* BYE [UNAVAILABLE] full\r\n")
    ]
    failures = [
        (5, b"* PREAUTH hi\r\n", BackendRefused),
        (5, b"* OKAY\r\n", BackendRefused),
        (5, b"220 mx\r\n", BackendRefused),
    ]
    endless = [(1, b"a NOOP\r\n")]

    def test_tags(self) -> None:
        """
        Any that the grammar allows.
        """
        for tag in (b".", b"a1", b"A0001", b"-"):
            driver = server(imap)
            answer = said(driver, tag + b" STARTTLS\r\n")
            self.assertEqual(answer, tag + b" OK Begin TLS negotiation now\r\n")


class BackendTests(SynchronousTestCase):
    """
    Mode -s, behind the switch.
    """

    def meet(self, *options: str) -> Driver:
        """
        A tunnel that has met its backend.
        """
        driver = inside(server(imap, *options), SERVER)
        driver.plain.feed(BACKEND)
        self.assertEqual(driver.stage, "relay")
        return driver

    def exchange(self, driver: Driver, asked: bytes, answered: bytes) -> bytes:
        """
        What the client gets of an answer.
        """
        driver.network.feed(asked)
        self.assertEqual(driver.plain.takeWritten(), asked)
        driver.plain.feed(answered)
        return driver.network.takeWritten()

    def test_hiding(self) -> None:
        """
        STARTTLS is taken out of lists of capabilities, and nothing else out of anything.
        """
        for answer, passed in (
            (
                b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na OK x\r\n",
                b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\na OK x\r\n",
            ),
            (b"* capability starttls A\r\n", b"* capability A\r\n"),
            (b"* CAPABILITY A STARTTLS\r\n", b"* CAPABILITY A\r\n"),
            (b"* CAPABILITY A STARTTLS STARTTLS\n", b"* CAPABILITY A\n"),
            (b"* CAPABILITY STARTTLSX XSTARTTLS\r\n", b"* CAPABILITY STARTTLSX XSTARTTLS\r\n"),
            (b"* OK [CAPABILITY A StartTLS B] STARTTLS\r\n", b"* OK [CAPABILITY A B] STARTTLS\r\n"),
            (b"* OK [CAPABILITY A STARTTLS] hi\r\n", b"* OK [CAPABILITY A] hi\r\n"),
            (b"a NO [CAPABILITY A STARTTLS] no\r\n", b"a NO [CAPABILITY A] no\r\n"),
            (b"a OK STARTTLS\r\n", b"a OK STARTTLS\r\n"),
            (b"* OK [ALERT] use STARTTLS now\r\n", b"* OK [ALERT] use STARTTLS now\r\n"),
            (b'* ID ("x" " STARTTLS ")\r\n', b'* ID ("x" " STARTTLS ")\r\n'),
            (b"+ STARTTLS\r\n", b"+ STARTTLS\r\n"),
        ):
            self.assertEqual(self.exchange(self.meet(), b"a X\r\n", answer), passed, answer)

    def test_loginDisabledIsHiddenOnRequest(self) -> None:
        """
        Only then.
        """
        answer = b"* CAPABILITY IMAP4rev1 LOGINDISABLED STARTTLS ID\r\n"
        passed = self.exchange(self.meet("hide-logindisabled"), b"a CAPABILITY\r\n", answer)
        self.assertEqual(passed, b"* CAPABILITY IMAP4rev1 ID\r\n")

    def test_hidingGoesOnUntilSomebodyIsAuthenticated(self) -> None:
        """
        Through failures, and through the reply to the attempt that succeeds.
        """
        offer = b"* CAPABILITY STARTTLS\r\n"
        hidden = b"* CAPABILITY\r\n"
        driver = self.meet()
        self.assertEqual(self.exchange(driver, b"a LOGIN u v\r\n", offer), hidden)
        self.exchange(driver, b"", b"a NO [AUTHENTICATIONFAILED] wrong\r\n")
        self.assertEqual(self.exchange(driver, b"b CAPABILITY\r\n", offer), hidden)
        self.exchange(driver, b"c AUTHENTICATE PLAIN\r\n", b"+ \r\n")
        self.assertEqual(
            self.exchange(driver, b"AGEAYg==\r\n", b"c OK [CAPABILITY STARTTLS X] welcome\r\n"),
            b"c OK [CAPABILITY X] welcome\r\n",
        )
        self.assertEqual(self.exchange(driver, b"d CAPABILITY\r\n", offer), offer)

    def test_hidingGoesOnWhereAllCommandsHaveOneTag(self) -> None:
        """
        It is a success of the login that ends it, and not of what comes after one that failed.
        """
        offer = b"* CAPABILITY STARTTLS\r\na OK\r\n"
        driver = self.meet()
        self.exchange(driver, b"a LOGIN u v\r\n", b"a NO wrong\r\n")
        for _ in range(2):
            passed = self.exchange(driver, b"a CAPABILITY\r\n", offer)
            self.assertEqual(passed, b"* CAPABILITY\r\na OK\r\n")

    def test_hidingGivesUpAtWhatItDoesNotExpect(self) -> None:
        """
        From there on everything passes unseen: a literal, data of a mailbox, a very long line.
        """
        offer = b"* CAPABILITY STARTTLS\r\n"
        for answer in (
            b"* OK {22}\r\n",
            b"* FLAGS ()\r\n",
            b"* 1 FETCH (BODY {5}\r\n",
            b"* OK " + b"x" * 8300 + b"\r\n",
            b"\r\n",
            b"a FOO\r\n",
        ):
            driver = self.meet()
            self.assertEqual(self.exchange(driver, b"a X\r\n", answer + offer), answer + offer)

    def test_filtersAreGoneOnceSomebodyIsAuthenticated(self) -> None:
        """
        The relay is not slowed down by what has nothing to do any more.
        """
        driver = self.meet()
        self.exchange(driver, b"a LOGIN u v\r\n", b"a OK done\r\n")
        self.exchange(driver, b"b NOOP\r\n", b"b OK done\r\n")
        self.assertFalse(isFiltered(driver.network))
        self.assertFalse(isFiltered(driver.plain))


WORDS = st.lists(
    st.sampled_from(
        b"a b * + OK NO CAPABILITY [CAPABILITY STARTTLS ] starttls {3} LOGIN x EXISTS".split()
    ),
    max_size=8,
).map(b" ".join)
LINES = st.lists(st.one_of(WORDS, st.binary(max_size=12)), max_size=8).map(b"\r\n".join)


class HidingTests(SynchronousTestCase):
    """
    The filters as such.
    """

    @settings(deadline=None)
    @given(LINES)
    def test_onlyTheKeywordIsEverMissing(self, data: bytes) -> None:
        """
        Whatever comes, nothing else is lost, and nothing is moved.
        """
        passed = filtered(Capabilities([b"STARTTLS"]), [data])
        at = 0
        for byte in data:
            if passed[at : at + 1] == bytes([byte]):
                at += 1
        self.assertEqual(at, len(passed))
        missing = len(data) - len(passed)
        self.assertEqual(missing % len(b" STARTTLS"), 0)
        self.assertLessEqual(missing // len(b" STARTTLS"), data.upper().count(b" STARTTLS"))

    @settings(deadline=None)
    @given(LINES, LINES)
    def test_anySplitGivesTheSame(self, asked: bytes, answered: bytes) -> None:
        """
        In both directions.
        """
        results = set()
        for pieces in [(answered,), *split(answered)]:
            hiding = Capabilities([b"STARTTLS"])
            self.assertEqual(filtered(Commands(hiding), [asked]), asked)
            results.add(filtered(hiding, pieces))
        for pieces in split(asked):
            hiding = Capabilities([b"STARTTLS"])
            self.assertEqual(filtered(Commands(hiding), pieces), asked)
            results.add(filtered(hiding, [answered]))
        self.assertEqual(len(results), 1)
