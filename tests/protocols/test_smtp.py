"""
The smtp dialect, and lmtp where it differs.
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
    ServerSpokeFirst,
    Temporary,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.smtp import lmtp, smtp
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, inside, isFiltered, said, server
from tlstunnel.testing.memory import Driver

GREETING = b"220-mx.example.org ESMTP\r\n220 mx.example.org ready\r\n"
EHLO = b"EHLO tunnel.example.net\r\n"
OFFER = b"250-mx.example.org\r\n250-SIZE 1000\r\n250 STARTTLS\r\n"
GO = b"220 2.0.0 Ready to start TLS\r\n"
CLIENT = [("S", GREETING), ("C", EHLO), ("S", OFFER), ("C", b"STARTTLS\r\n"), ("S", GO)]
SERVER = [
    ("S", b"220 tunnel.example.net ESMTP\r\n"),
    ("C", b"EHLO client.example.com\r\n"),
    ("S", b"250-tunnel.example.net\r\n250 STARTTLS\r\n"),
    ("C", b"STARTTLS\r\n"),
    ("S", GO),
]
HELLO = b"250-tunnel.example.net\r\n250 STARTTLS\r\n"

# What is no good reply, whatever was asked; the code that was wanted stands for C{XYZ}.
MALFORMED = (
    b"XYZ=go\r\n",
    b"XYZ0 go\r\n",
    b"XY go\r\n",
    b"XY\r\n",
    b" XYZ go\r\n",
    b"XYZ-go\r\n451 go\r\n",
    b"XYZ-go\r\ngo\r\n",
    b"+OK\r\n",
    b"\r\n",
    b"XYZ a\rb\r\n",
    b"XYZ a\0b\r\n",
)


def failures(wanted: bytes, place: int) -> list[tuple[int, bytes, type[TunnelError]]]:
    """
    Replies that will not do where C{wanted} is the code that will.
    """
    answers: list[tuple[bytes, type[TunnelError]]] = [
        (b"421 later\r\n", Temporary),
        (b"454 4.7.0 not now\r\n", Temporary),
        (b"500 what\r\n", Refused),
        (b"502-no\r\n502 no\r\n", Refused),
        (b"554 go away\r\n", Refused),
        (b"354 go ahead\r\n", Refused),
        (b"221 bye\r\n", Refused),
        ((b"250 ok\r\n" if wanted == b"220" else b"220 ok\r\n"), Refused),
        (wanted + b"-x\r\n" + wanted + b" " + b"x" * 2048 + b"\r\n", Oversize),
        ((wanted + b"-x\r\n") * 130, Oversize),
    ]
    answers += [(each.replace(b"XYZ", wanted), Malformed) for each in MALFORMED]
    return [(place, *each) for each in answers]


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = smtp
    dialogue = CLIENT
    inside = [("T", b"220 server.example.org ESMTP\r\n")]
    variants = [
        (0, b"220\r\n"),
        (0, b"220 \n"),
        (0, b"220-\r\n220\r\n"),
        (0, b"220 \xe9\r\n"),
        (2, b"250\r\n"),
        (2, b"250-x\n250\n"),
        (2, b"250 HELP\r\n"),
        (2, b"250-x\r\n250-starttls\r\n250 \r\n"),
        (4, b"220\r\n"),
        (4, b"220-a\n220 b\n"),
        (4, b"220 starttls ok \r\n"),
    ]
    failures = [*failures(b"220", 0), *failures(b"250", 2), *failures(b"220", 4)]
    farewells = [
        b"421 4.4.2 mx Error: timeout exceeded\r\n",
        b"421-a\r\n421-b\n421 c\r\n",
        b"421\n",
    ]
    endless = [(0, b"220-x\r\n"), (2, b"250-x\r\n"), (4, b"220-x\r\n")]

    def test_nothingIsSaidBeforeTheGreetingIsComplete(self) -> None:
        """
        Postscreen shows a first line, waits, and punishes who talks meanwhile.
        """
        driver = client(smtp)
        for piece in (b"220-mx.exa", b"mple.org\r\n", b"220-more\r\n", b"220 ready\r"):
            driver.clock.advance(6)
            self.assertEqual(said(driver, piece), b"")
        self.assertEqual(said(driver, b"\n"), EHLO)

    def test_aGreetingInsideTLSIsASplice(self) -> None:
        """
        Also if it comes once the app has spoken; any other first line passes.
        """
        for first, fails in (
            (b"220 smtps.example.org ESMTP\r\n", True),
            (b"220", True),
            (b"250 ok\r\n", False),
            (b"22", False),
            (b"221 bye\r\n", False),
        ):
            driver = inside(client(smtp), CLIENT)
            driver.plain.takeWritten()
            driver.plain.feed(b"EHLO app\r\n")
            for byte in first:
                driver.network.feed(bytes([byte]))
            if fails:
                self.assertIsInstance(driver.error, ServerSpokeFirst)
                self.assertEqual(driver.plain.written, b"")
                self.assertEqual(driver.plain.ending, "aborted")
            else:
                driver.network.end()
                self.assertIsNone(driver.error)
                self.assertEqual(driver.plain.written, first)

    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes) -> None:
        """
        Whatever a server says, the switch is reached by 220 only.
        """
        driver = client(smtp)
        driver.network.feed(GREETING)
        driver.network.feed(OFFER)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        if not garbage.startswith(b"220"):
            self.assertIsInstance(driver.error, TunnelError)


REFUSED = b"530 5.7.0 Must issue a STARTTLS command first\r\n"
UNKNOWN = b"500 5.5.2 Command not recognized\r\n"
NOHELLO = b"501 5.5.4 Syntax: EHLO hostname\r\n"
MANY = b"421 4.7.0 Too many errors\r\n"


TWICE = 2 * b"554 5.7.1 no\r\n"


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s.
    """

    dialect = smtp
    dialogue = SERVER
    inside = [("B", b"220-backend\r\n220 ready\r\n")]
    variants = [(3, b"starttls\r\n"), (3, b"STARTTLS \n"), (5, b"220\r\n")]
    answers = {
        b"ehlo x\r\n": HELLO,
        b"EHLO [192.0.2.1] \r\n": HELLO,
        b"HELO x\r\n": b"250 tunnel.example.net\r\n",
        b"EHLO\r\n": NOHELLO,
        b"EHLO  \r\n": NOHELLO,
        b"helo\r\n": b"501 5.5.4 Syntax: HELO hostname\r\n",
        b"LHLO x\r\n": b"500 5.5.1 EHLO expected\r\n",
        b"NOOP\r\n": b"250 2.0.0 Ok\r\n",
        b"NOOP x\r\n": b"250 2.0.0 Ok\r\n",
        b"RSET\r\n": b"250 2.0.0 Ok\r\n",
        b"STARTTLS x\r\n": b"501 5.5.4 Syntax: STARTTLS\r\n",
        b"XYZZY\r\n": UNKNOWN,
        b"STARTTLSX\r\n": UNKNOWN,
        b" STARTTLS\r\n": UNKNOWN,
        b"\r\n": UNKNOWN,
    }
    needsTLS = {
        command + b"\r\n": REFUSED
        for command in (
            b"MAIL FROM:<a@b>",
            b"RCPT TO:<a@b>",
            b"DATA",
            b"BDAT 5 LAST",
            b"auth PLAIN",
            b"AUTH PLAIN AGEAYg==",
            b"VRFY a",
            b"EXPN a",
            b"HELP",
            b"ETRN a",
        )
    }
    farewells = [
        (b"QUIT\r\n", b"221 2.0.0 Bye\r\n", Quit),
        (b"A\r\nEHLO\r\nSTARTTLS x\r\n", UNKNOWN + NOHELLO + MANY, TooManyErrors),
        (b"NOOP a\rb\r\n", b"", Malformed),
        (b"NOOP a\0b\r\n", b"", Malformed),
    ]
    failures = [
        (5, b"354 go ahead\r\n", BackendRefused),
        (5, b"250 hello\r\n", BackendRefused),
        (5, b"+OK\r\n", Malformed),
    ]
    refusals = [
        (5, b"421 busy\r\n", b"EHLO x\r\nQUIT\r\n", b"421 busy\r\n221 2.0.0 Bye\r\n"),
        (
            5,
            b"554-a\n554 5.7.1 no\n",
            b"EHLO x\r\nHELO x\r\nquit\r\n",
            TWICE + b"221 2.0.0 Bye\r\n",
        ),
        (5, b"554 5.7.1 no\r\n", b"RSET\n" * 10, TWICE * 5),
    ]
    foreign = (*ServerConformance.foreign, b"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n")
    endless = [(1, b"NOOP\r\n"), (5, b"220-x\r\n")]


class BackendTests(SynchronousTestCase):
    """
    Mode -s, behind the switch.
    """

    def meet(self) -> Driver:
        """
        A tunnel that has met its backend.
        """
        driver = inside(server(smtp), SERVER)
        driver.plain.feed(b"220 hello\r\n")
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
        A second EHLO, with which clients begin, is answered without the offer; and so is one after
        an attempt to log in that failed.
        """
        hidden = b"250-mx.example.org\r\n250 SIZE 1000\r\n"
        driver = self.meet()
        for asked, answered in (
            (b"NOOP\r\n", b"250 STARTTLS\r\n"),
            (b"RSET\r\n", b"250 ok\r\n"),
            (b"HELO x\r\n", b"250 mx.example.org\r\n"),
            (b"VRFY a\r\n", b"250-a\r\n250 STARTTLS\r\n"),
            (b"HELP\r\n", b"214-a\r\n214 STARTTLS\r\n"),
            (b"\r\n", b"500 what?\r\n"),
            (b"STARTTLS\r\n", b"502 no\r\n"),
            (b"AUTH PLAIN AGEAYg==\r\n", b"535 wrong\r\n"),
            (b"AUTH PLAIN AGEAYg==\r\n", b"454-not\r\n454 now\r\n"),
            (b"AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n"),
            (b"MAIL\r\n", b"334 UGFzc3dvcmQ6\r\n"),
            (b"EHLO\r\n", b"535 wrong\r\n"),
        ):
            self.assertEqual(self.exchange(driver, asked, answered), answered)
            if not answered.startswith(b"334"):
                self.assertEqual(self.exchange(driver, b"ehlo x\r\n", OFFER), hidden, asked)
        self.assertEqual(
            self.exchange(driver, b"EHLO x\r\nNOOP\r\n", OFFER + OFFER), hidden + OFFER
        )

    def test_hidingEndsWithALoginOrAMail(self) -> None:
        """
        Or what has one in it.
        """
        for last, answer in (
            (b"AUTH PLAIN AGEAYg==\r\n", b"235 welcome\r\n"),
            (b"AUTH PLAIN\r\nAGEAYg==\r\n", b"334 \r\n235-very\r\n235 welcome\r\n"),
            (b"MAIL FROM:<a@b>\r\n", b"250 ok\r\n"),
            (b"BDAT 10\r\n", b"503 no\r\n"),
            (b"NOOP\r\n", b"ok\r\n"),
            (b"NOOP\r\n" * 65, b"250 ok\r\n" * 65),
        ):
            driver = self.meet()
            self.exchange(driver, last, answer)
            self.assertEqual(self.exchange(driver, b"EHLO x\r\n", OFFER), OFFER)
            self.assertFalse(isFiltered(driver.network), last)
            self.assertFalse(isFiltered(driver.plain), last)

    def test_aMailIsNotTouched(self) -> None:
        """
        Neither its own bytes, nor odd ends of lines in it, nor what looks like a command.
        """
        driver = self.meet()
        driver.network.feed(b"EHLO x\r\n")
        driver.plain.feed(OFFER)
        driver.plain.takeWritten()
        mail = b"MAIL FROM:<a@b>\r\nDATA\r\nEHLO x\n.\n\r\0\r\r\n250 STARTTLS\r\n.\r\n"
        driver.network.feed(mail)
        self.assertEqual(driver.plain.takeWritten(), mail)


class LMTPClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c, with the other verb.
    """

    dialect = lmtp
    dialogue = [
        ("S", b"220 lmtp.example.org\r\n"),
        ("C", b"LHLO tunnel.example.net\r\n"),
        ("S", OFFER),
        ("C", b"STARTTLS\r\n"),
        ("S", GO),
    ]
    inside = [("T", b"220 server.example.org LMTP\r\n")]
    variants = ClientTests.variants
    failures = ClientTests.failures
    farewells = ClientTests.farewells


class LMTPServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s, with the other verb.
    """

    dialect = lmtp
    dialogue = [
        ("S", b"220 tunnel.example.net LMTP\r\n"),
        ("C", b"LHLO client.example.com\r\n"),
        ("S", HELLO),
        ("C", b"STARTTLS\r\n"),
        ("S", GO),
    ]
    inside = [("B", b"220 backend LMTP\r\n")]
    answers = {
        b"lhlo x\r\n": HELLO,
        b"LHLO\r\n": b"501 5.5.4 Syntax: LHLO hostname\r\n",
        b"EHLO x\r\n": b"500 5.5.1 LHLO expected\r\n",
        b"HELO x\r\n": b"500 5.5.1 LHLO expected\r\n",
    }
    needsTLS = {b"MAIL FROM:<a@b>\r\n": REFUSED}
    refusals = [(5, b"550 no\r\n", b"LHLO x\r\nQUIT\r\n", b"550 no\r\n221 2.0.0 Bye\r\n")]

    def test_theBackendsOfferIsHidden(self) -> None:
        """
        As in SMTP.
        """
        driver = self.start(len(self.whole))
        driver.network.feed(b"LHLO x\r\n")
        driver.plain.feed(b"250-x\r\n250 STARTTLS\r\n")
        self.assertEqual(driver.network.written, b"250 x\r\n")
