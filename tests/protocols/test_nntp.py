"""
The nntp dialect.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import (
    BackendRefused,
    Malformed,
    Oversize,
    Quit,
    Refused,
    Temporary,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.hiding import Commands
from tlstunnel.protocols.nntp import Capabilities, nntp
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import (
    client,
    filtered,
    inside,
    isFiltered,
    missingLines,
    said,
    server,
    split,
)
from tlstunnel.testing.memory import Driver

GREETING = b"200 news.example.org InterNetNews NNRP server ready\r\n"
CLIENT = [("S", GREETING), ("C", b"STARTTLS\r\n"), ("S", b"382 Continue\r\n")]
SERVER = [
    ("S", b"200 tunnel.example.net ready\r\n"),
    ("C", b"CAPABILITIES\r\n"),
    ("S", b"101 Capability list:\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n"),
    ("C", b"STARTTLS\r\n"),
    ("S", b"382 Continue with TLS negotiation\r\n"),
]
OFFER = b"101 list\r\nVERSION 2\r\nSTARTTLS\r\nREADER\r\n.\r\n"
HIDDEN = b"101 list\r\nVERSION 2\r\nREADER\r\n.\r\n"


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = nntp
    dialogue = CLIENT
    inside = [("T", b"200 server.example.org ready\r\n")]
    farewells = [b"400 Timeout after 600 seconds, closing connection\r\n", b"400\n"]
    variants = [(0, b"200\r\n"), (0, b"201 no posting\n"), (2, b"382\r\n")]
    failures = [
        (0, b"400 later\r\n", Temporary),
        (0, b"502 never\r\n", Refused),
        (0, b"202 what\r\n", Refused),
        (0, b"382 go\r\n", Refused),
        (0, b"200-hello\r\n200 hello\r\n", Malformed),
        (0, b"2000 hello\r\n", Malformed),
        (0, b"20 hello\r\n", Malformed),
        (0, b" 200 hello\r\n", Malformed),
        (0, b"2\xb20 hello\r\n", Malformed),
        (0, b"+OK\r\n", Malformed),
        (0, b"\r\n", Malformed),
        (0, b"200 a\rb\r\n", Malformed),
        (0, b"200 " + b"x" * 2048 + b"\r\n", Oversize),
        (2, b"480 who\r\n", Temporary),
        (2, b"483 how\r\n", Temporary),
        (2, b"500 what\r\n", Refused),
        (2, b"501 what\r\n", Refused),
        (2, b"502 no\r\n", Refused),
        (2, b"580 cannot\r\n", Refused),
        (2, b"200 hello\r\n", Refused),
        (2, b"3820 go\r\n", Malformed),
        (2, b"382-go\r\n", Malformed),
    ]

    def test_theLogSaysWhatMayHelp(self) -> None:
        """
        Where the server may not have understood because it is in the wrong mode.
        """
        for answer, hinted in (
            (b"401 MODE-READER\r\n", True),
            (b"500 what\r\n", True),
            (b"502 no\r\n", True),
            (b"480 who\r\n", False),
            (b"580 cannot\r\n", False),
        ):
            driver = client(nntp)
            driver.network.feed(GREETING)
            driver.network.feed(answer)
            self.assertEqual("--dialect-option mode-reader" in str(driver.error), hinted, answer)
            driver = client(nntp, "mode-reader")
            driver.network.feed(GREETING)
            driver.network.feed(b"200 now\r\n")
            driver.network.feed(answer)
            self.assertNotIn("--dialect-option", str(driver.error))

    def test_theModeIsChangedWhereThatIsAskedFor(self) -> None:
        """
        Before STARTTLS, which is not sent along.
        """
        driver = client(nntp, "mode-reader")
        self.assertEqual(said(driver, GREETING), b"MODE READER\r\n")
        self.assertEqual(said(driver, b"201 nnrpd\r\n"), b"STARTTLS\r\n")
        driver.network.feed(b"382 go\r\n")
        self.assertSwitched(driver)


class ModeReaderTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c, with the option that changes the mode first.
    """

    dialect = nntp
    options = ("mode-reader",)
    dialogue = [CLIENT[0], ("C", b"MODE READER\r\n"), ("S", b"201 nnrpd\r\n"), *CLIENT[1:]]
    inside = ClientTests.inside
    failures = [(2, b"502 no reading here\r\n", Refused), (2, b"401 x\r\n", Temporary)]


class GarbageTests(SynchronousTestCase):
    """
    What is no consent.
    """

    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes) -> None:
        """
        Whatever a server says, the switch is reached by 382 only.
        """
        driver = client(nntp)
        driver.network.feed(GREETING)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        if not garbage.startswith(b"382"):
            self.assertIsInstance(driver.error, TunnelError)


CAPABILITIES = b"101 Capability list:\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n"
WHAT = b"500 What?\r\n"


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s, up to the switch.
    """

    dialect = nntp
    dialogue = SERVER
    inside = [("B", b"201 news.example.org ready\r\n")]
    variants = [(3, b"starttls\n"), (3, b"STARTTLS \r\n"), (5, b"200\n")]
    answers = {
        b"capabilities\r\n": CAPABILITIES,
        b"CAPABILITIES AUTOUPDATE\r\n": CAPABILITIES,
        b"STARTTLS now\r\n": b"501 Syntax: STARTTLS\r\n",
        b"XYZZY\r\n": WHAT,
        b"\r\n": WHAT,
    }
    needsTLS = {
        command + b"\r\n": b"483 TLS required\r\n"
        for command in (
            b"MODE READER",
            b"authinfo user x",
            b"AUTHINFO PASS y",
            b"GROUP x",
            b"POST",
            b"IHAVE <a@b>",
            b"XOVER",
        )
    }
    farewells = [
        (b"QUIT\r\n", b"205 bye\r\n", Quit),
        (b"A\r\nB\r\nC\r\n", WHAT * 2 + b"400 too many errors\r\n", TooManyErrors),
    ]
    refusals = [
        (5, b"400 busy\r\n", b"QUIT\r\n", b"205 bye\r\n"),
        (5, b"502 no\r\n", b"CAPABILITIES\r\nQUIT\r\n", b"502 no\r\n205 bye\r\n"),
    ]
    failures = [
        (5, b"220 mx\r\n", BackendRefused),
        (5, b"+OK\r\n", Malformed),
    ]
    endless = [(1, b"CAPABILITIES\r\n")]


class BackendTests(SynchronousTestCase):
    """
    Mode -s, behind the switch.
    """

    def meet(self) -> Driver:
        """
        A tunnel that has met its backend.
        """
        driver = inside(server(nntp), SERVER)
        driver.plain.feed(b"200 hello\r\n")
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

    def test_hidingGoesOnUntilSomebodyIsAuthenticated(self) -> None:
        """
        Through failures, and through what is answered with one line.
        """
        driver = self.meet()
        self.assertEqual(self.exchange(driver, b"capabilities\r\n", OFFER), HIDDEN)
        for asked, answered in (
            (b"MODE READER\r\n", b"200 STARTTLS\r\n"),
            (b"MODE STREAM\r\n", b"203 Streaming permitted\r\n"),
            (b"CHECK <a@b>\r\n", b"238 <a@b>\r\n"),
            (b"GROUP x\r\n", b"211 1 1 1 x\r\n"),
            (b"GROUP y\r\n", b"411 STARTTLS\r\n"),
            (b"DATE\r\n", b"111 20240101000000\r\n"),
            (b"AUTHINFO USER x\r\n", b"381 more\r\n"),
            (b"AUTHINFO PASS y\r\n", b"481 wrong\r\n"),
            (b"AUTHINFO SASL PLAIN\r\n", b"383 =\r\n"),
            (b"AGEAYg==\r\n", b"481 wrong\r\n"),
            (b"XYZZY\r\n", b"500 what\r\n"),
        ):
            self.assertEqual(self.exchange(driver, asked, answered), answered)
            if not answered.startswith(b"383"):
                self.assertEqual(self.exchange(driver, b"CAPABILITIES\r\n", OFFER), HIDDEN, asked)
        self.exchange(driver, b"AUTHINFO USER x\r\n", b"381 more\r\n")
        self.exchange(driver, b"AUTHINFO PASS z\r\n", b"281 welcome\r\n")
        self.assertEqual(self.exchange(driver, b"CAPABILITIES\r\n", OFFER), OFFER)
        self.exchange(driver, b"DATE\r\n", b"111 20240101000000\r\n")
        self.assertFalse(isFiltered(driver.network))
        self.assertFalse(isFiltered(driver.plain))

    def test_articlesAreNotTouched(self) -> None:
        """
        Whatever they look like, and also if they are asked for together with a list.
        """
        driver = self.meet()
        article = b"220 1 <a@b>\r\n\r\nSTARTTLS\r\n.\r\n" + OFFER
        passed = self.exchange(
            driver, b"CAPABILITIES\r\nARTICLE 1\r\nCAPABILITIES\r\n", OFFER + article
        )
        self.assertEqual(passed, HIDDEN + article)

    def test_anArticleThatIsSentEndsTheHiding(self) -> None:
        """
        Its lines are no commands, whatever becomes of it.
        """
        driver = self.meet()
        self.exchange(driver, b"TAKETHIS <a@b>\r\nCAPABILITIES\r\n.\r\n", b"439 <a@b>\r\n")
        self.assertEqual(self.exchange(driver, b"CAPABILITIES\r\n", OFFER), OFFER)


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            b"CAPABILITIES MODE AUTHINFO STARTTLS starttls 101 200 381 383 281 480 . GROUP".split()
        ),
        st.binary(max_size=8),
    ),
    max_size=10,
).map(b"\r\n".join)


class HidingTests(SynchronousTestCase):
    """
    The filters as such.
    """

    @settings(deadline=None)
    @given(LINES, LINES)
    def test_anySplitGivesTheSameAndLosesNothingElse(self, asked: bytes, answered: bytes) -> None:
        """
        Lines that are missing begin with the keyword.
        """
        results = set()
        for pieces in [(answered,), *split(answered)]:
            hiding = Capabilities()
            self.assertEqual(filtered(Commands(hiding), [asked]), asked)
            results.add(filtered(hiding, pieces))
        for pieces in split(asked):
            hiding = Capabilities()
            self.assertEqual(filtered(Commands(hiding), pieces), asked)
            results.add(filtered(hiding, [answered]))
        (passed,) = results
        for line in missingLines(answered, passed):
            self.assertEqual(line.split()[0].upper(), b"STARTTLS")
