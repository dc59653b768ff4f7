"""
The ftp dialect: its negotiation.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.ftpdialogues import ANY, CLIENT, GREETING, PROTECTED, SERVER
from tlstunnel.errors import (
    BackendRefused,
    Farewell,
    Malformed,
    Oversize,
    PreAuthenticated,
    Quit,
    Refused,
    ServerSpokeFirst,
    Temporary,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.ftp import ftp
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, inside, said

Answers = list[tuple[bytes, type[TunnelError] | None]]

GREETINGS: Answers = [
    (b"220 ready\r\n", None),
    (b"220\r\n", None),
    (b"220-\n220 \n", None),
    (GREETING, None),
    (b"120 in 2 minutes\r\n220 ready\r\n", None),
    (b"120-in\r\n120 2 minutes\r\n220-ready\r\n220 now\r\n", None),
    (b"120 in 2 minutes\r\n120 in 1 minute\r\n", Refused),
    (b"120 in 2 minutes\r\n421 not today\r\n", Temporary),
    (b"120 in 2 minutes\r\n230 welcome\r\n", PreAuthenticated),
    (b"230 welcome\r\n", PreAuthenticated),
    (b"230-220 ready\r\n220 ready\r\n230 welcome\r\n", PreAuthenticated),
    (b"421 too many users\r\n", Temporary),
    (b"500 no\r\n", Refused),
    (b"331 password?\r\n", Refused),
    (b"221 bye\r\n", Refused),
    (b"220=ready\r\n", Malformed),
    (b"22 ready\r\n", Malformed),
    (b"22\r\n", Malformed),
    (b" 220 ready\r\n", Malformed),
    (b"\r\n\n220 ready\r\n", None),
    (b"SSH-2.0-x\r\n", Malformed),
    (b"220 a\rb\r\n", Malformed),
    (b"220 a\0b\r\n", Malformed),
    (b"220-" + b"x" * 2048 + b"\r\n", Oversize),
    (b"220-x\r\n" + b"x\r\n" * 128, Oversize),
]

TO_AUTH: Answers = [
    (b"234 go\r\n", None),
    (b"234-go\r\nnow\r\n234 really\r\n", None),
    (b"\r\n234 go\r\n", None),
    (b"334 ADAT=\r\n", Refused),
    (b"421 no\r\n", Temporary),
    (b"431 not now\r\n", Temporary),
    (b"200 ok\r\n", Refused),
    (b"220 ok\r\n", Refused),
    (b"500 what?\r\n", Refused),
    (b"502 no\r\n", Refused),
    (b"504 no\r\n", Refused),
    (b"530 log in\r\n", Refused),
    (b"534 no\r\n", Refused),
    (b"500-no\r\n234 go\r\n500 no\r\n", Refused),
    (b"2345 go\r\n", Malformed),
    (b"234go\r\n", Malformed),
]

BOTH = [(0, *each) for each in GREETINGS] + [(2, *each) for each in TO_AUTH]


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c, up to the greeting of the app; data connections are protected before that.
    """

    dialect = ftp
    dialogue = CLIENT
    inside = [
        ("C", b"PBSZ 0\r\n"),
        ("S", b"200-PBSZ=0\r\n200 yes\r\n"),
        ("C", b"PROT P\r\n"),
        ("S", b"200 Protection set to Private\r\n"),
        ("T", b"220 server.example.org ready\r\n"),
    ]
    early = b"CWD " + b"x" * 1000 + b"\r\n"
    # Commands and replies, for the tunnel reads along; the bytes in them pass.
    payload = (b"CWD " + ANY + b"\r\n", b"250-" + ANY + b"\r\n" + ANY + b"\r\n250 ok\r\n")
    variants = [(place, answer) for place, answer, failure in BOTH if failure is None]
    failures = [
        *((place, answer, failure) for place, answer, failure in BOTH if failure is not None),
        (4, b"500 what?\r\n", Refused),
        (4, b"503 no\r\n", Refused),
        (4, b"220 spliced\r\n", Refused),
        (6, b"534 no\r\n", Refused),
        (6, b"536 no\r\n", Refused),
        (6, b"431 no\r\n", Temporary),
    ]
    endless = [(0, b"220-x\r\n"), (2, b"234-x\r\n"), (4, b"200-x\r\n")]
    farewells = [
        b"421 Timeout (900 seconds): closing control connection.\r\n",
        b"421-a\r\n421 b\r\n",
    ]

    def test_aServerMayTakeItsLeaveInsteadOfProtectingData(self) -> None:
        """
        That, too, is a farewell inside TLS before the app has spoken.
        """
        for place in (4, 6):
            driver = self.start(place)
            driver.network.feed(b"421-Too many\r\n421 users\r\n")
            self.assertIsInstance(driver.error, Farewell)
            self.assertEqual(driver.plain.written, b"421 users\r\n")
            self.assertEqual(driver.plain.ending, "closed")

    def test_aSplicedGreetingIsNotPassedOn(self) -> None:
        """
        Also where it comes in one segment with the answers.
        """
        driver = inside(client(ftp), CLIENT)
        driver.network.feed(PROTECTED + b"220 spliced\r\n")
        self.assertIsInstance(driver.error, ServerSpokeFirst)
        self.assertEqual(driver.plain.written, self.inside[-1][1])

    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes) -> None:
        """
        Whatever a server says, the switch is reached by 234 only.
        """
        driver = client(ftp)
        driver.network.feed(GREETING)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        if not garbage.startswith(b"234"):
            self.assertIsInstance(driver.error, TunnelError)


GO = b"234 Proceed with negotiation\r\n"
FEATURES = b"211-Features\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End\r\n"
REFUSED = b"530 AUTH TLS first\r\n"
MECHANISM = b"504 Unknown mechanism\r\n"
UNKNOWN = b"500 Unknown command\r\n"

ANSWERS = (
    (b"AUTH TLS", GO),
    (b"auth tls", GO),
    (b"AUTH TLS-C", GO),
    (b"AUTH TLS ", GO),
    (b"AUTH SSL", MECHANISM),
    (b"AUTH TLS-P", MECHANISM),
    (b"AUTH TLSX", MECHANISM),
    (b"AUTH TLS now", MECHANISM),
    (b"AUTH GSSAPI", MECHANISM),
    (b"AUTH", MECHANISM),
    (b"FEAT", FEATURES),
    (b"feat", FEATURES),
    (b"NOOP", b"200 Ok\r\n"),
    (b"USER x", REFUSED),
    (b"user x", REFUSED),
    (b"PASS x", REFUSED),
    (b"PBSZ 0", REFUSED),
    (b"PROT P", REFUSED),
    (b"CCC", REFUSED),
    (b"OPTS UTF8 ON", REFUSED),
    (b"HOST example.org", REFUSED),
    (b"PASV", REFUSED),
    (b"EPSV", REFUSED),
    (b"PORT 1,2,3,4,5,6", REFUSED),
    (b"RETR x", REFUSED),
    (b"SYST", REFUSED),
    (b"XYZZY", UNKNOWN),
    (b"AUTHTLS", UNKNOWN),
    (b"", UNKNOWN),
    (b" AUTH TLS", UNKNOWN),
)


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s, up to the greeting of the backend.
    """

    dialect = ftp
    dialogue = SERVER
    inside = [("B", b"120 a moment\r\n220-hello\r\n211 features\r\n220 ready\r\n")]
    payload = (b"CWD " + ANY + b"\r\n", b"250-" + ANY + b"\r\n" + ANY + b"\r\n250 ok\r\n")
    variants = [
        *((3, line + b"\r\n") for line, answer in ANSWERS if answer == GO),
        (5, b"220\n"),
    ]
    answers = {
        line + b"\r\n": answer for line, answer in ANSWERS if answer not in (GO, REFUSED, MECHANISM)
    }
    needsTLS = {
        line + b"\r\n": answer for line, answer in ANSWERS if answer in (REFUSED, MECHANISM)
    }
    farewells = [
        (b"QUIT\r\n", b"221 Bye\r\n", Quit),
        (b"X\r\nY\r\nZ\r\n", UNKNOWN * 2 + b"421 Too many errors\r\n", TooManyErrors),
    ]
    refusals = [
        (5, b"421 no\r\n", b"USER a\r\nQUIT\r\n", b"421 no\r\n221 Bye\r\n"),
        (5, b"120 wait\r\n500 no\r\n", b"USER a\r\nQUIT\r\n", b"500 no\r\n221 Bye\r\n"),
    ]
    failures = [
        (5, b"230 come in\r\n", BackendRefused),
        (5, b"SSH-2.0-x\r\n", Malformed),
    ]
    endless = [(1, b"NOOP\r\n"), (5, b"220-x\r\n")]

    def test_aSecondRequestIsForTheBackend(self) -> None:
        """
        Not here: the backend has nothing to do with TLS.
        """
        driver = self.start(len(self.whole))
        self.assertEqual(said(driver, b"AUTH TLS\r\n"), b"534 TLS is up already\r\n")
        self.assertEqual(driver.plain.written, b"")
