"""
The nut dialect.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import (
    ForeignProtocol,
    Malformed,
    Oversize,
    Quit,
    Refused,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.nut import nut
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, inside, server, split

CLIENT = [("C", b"STARTTLS\n"), ("S", b"OK STARTTLS\n")]
SERVER = [
    ("C", b"VER\n"),
    ("S", b"tlstunnel\n"),
    ("C", b"STARTTLS\n"),
    ("S", b"OK STARTTLS\n"),
]


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = nut
    dialogue = CLIENT
    variants = [(1, b"OK STARTTLS\r\n"), (1, b"OK  STARTTLS \n")]
    failures = [
        (1, b"ERR FEATURE-NOT-CONFIGURED\n", Refused),
        (1, b"ERR FEATURE-NOT-SUPPORTED\n", Refused),
        (1, b"ERR ALREADY-SSL-MODE\n", Refused),
        (1, b"ERR UNKNOWN-COMMAND\n", Refused),
        (1, b"err access-denied now\n", Refused),
        (1, b"ERR\n", Malformed),
        (1, b"ERROR\n", Malformed),
        (1, b"OK\n", Malformed),
        (1, b"OK STARTTLS NOW\n", Malformed),
        (1, b"OK STARTTLSX\n", Malformed),
        (1, b"ok starttls\n", Malformed),
        (1, b"OKSTARTTLS\n", Malformed),
        (1, b"\n", Malformed),
        (1, b"220 mx ESMTP\r\n", Malformed),
        (1, b"OK\rSTARTTLS\n", Malformed),
        (1, b"OK STARTTLS\0\n", Malformed),
        (1, b"OK " + b"x" * 2048 + b"\n", Oversize),
    ]

    def test_refusalsAreExplained(self) -> None:
        """
        In words, and with what the server has said.
        """
        for code, why in (
            (b"FEATURE-NOT-CONFIGURED", "no certificate"),
            (b"FEATURE-NOT-SUPPORTED", "built without TLS"),
            (b"ALREADY-SSL-MODE", "TLS is up already"),
            (b"UNKNOWN-COMMAND", "too old"),
            (b"ACCESS-DENIED", "expected OK STARTTLS"),
        ):
            driver = client(nut)
            driver.network.feed(b"ERR " + code + b"\n")
            self.assertIn(why, str(driver.error))
            self.assertIn(code.decode(), str(driver.error))

    def test_anAppThatAsksForTLSIsAnsweredByTheServer(self) -> None:
        """
        As upsc does, which goes on without.
        """
        driver = inside(client(nut), CLIENT)
        driver.network.takeWritten()
        driver.plain.feed(b"STARTTLS\n")
        self.assertEqual(driver.network.takeWritten(), b"STARTTLS\n")
        driver.network.feed(b"ERR ALREADY-SSL-MODE\n")
        self.assertEqual(driver.plain.written, b"ERR ALREADY-SSL-MODE\n")

    @settings(deadline=None)
    @given(st.one_of(st.binary(max_size=40), st.sampled_from((b"OK STARTTLS", b"OK \nSTARTTLS\n"))))
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes) -> None:
        """
        Whatever a server says, the switch is reached by the whole line only.
        """
        driver = client(nut)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        self.assertIsInstance(driver.error, TunnelError)


DENIED = b"ERR ACCESS-DENIED\n"
UNKNOWN = b"ERR UNKNOWN-COMMAND\n"
INVALID = b"ERR INVALID-ARGUMENT\n"


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s.
    """

    dialect = nut
    dialogue = SERVER
    variants = [(2, b"starttls\r\n"), (2, b" STARTTLS \n"), (0, b"ver\n")]
    answers = {
        b"HELP\n": b"Commands: HELP VER PROTVER STARTTLS LOGOUT\n",
        b"protver\r\n": b"1.3\n",
        b"NETVER\n": b"1.3\n",
        b"STARTTLS now\n": INVALID,
        b"VER 1\n": INVALID,
        b"STARTTLSX\n": UNKNOWN,
        b"\n": UNKNOWN,
        b"\xff\xfe\n": UNKNOWN,
    }
    needsTLS = {
        b"USERNAME admin\n": DENIED,
        b"USERNAME admin\nPASSWORD x\n": DENIED * 2,
        b"login ups\n": DENIED,
        b"ATTACH ups\n": DENIED,
        b"LIST UPS\n": DENIED,
        b"GET VAR ups ups.status\n": DENIED,
        b'SET VAR ups x "STARTTLS"\n': DENIED,
        b"FSD ups\n": DENIED,
    }
    farewells = [
        (b"LOGOUT\n", b"OK Goodbye\n", Quit),
        (b"detach\r\n", b"OK Goodbye\n", Quit),
        (b"A\nB\nC\n", UNKNOWN * 2, TooManyErrors),
    ]
    endless = [(0, b"HELP\n")]

    def test_nothingOfTheBackendIsSwallowed(self) -> None:
        """
        Nor of what it answers.
        """
        driver = inside(server(nut), SERVER)
        driver.network.takeWritten()
        driver.network.feed(b"STARTTLS\n")
        self.assertEqual(driver.plain.takeWritten(), b"STARTTLS\n")
        driver.plain.feed(b"ERR FEATURE-NOT-CONFIGURED\n")
        self.assertEqual(driver.network.written, b"ERR FEATURE-NOT-CONFIGURED\n")

    def test_aQueryIsNotTakenForHTTP(self) -> None:
        """
        Though some begin with GET, as most requests of HTTP do, which are cut off.
        """
        for command, isOurs in (
            (b"GET VAR ups ups.status\n", True),
            (b"GET TRACKING\n", True),
            (b"get var\n", True),
            (b"GET / HTTP/1.1\r\n", False),
            (b"GET http://a.example/ HTTP/1.1\r\n", False),
            (b"GET  VAR\n", False),
            (b"POST /\n", False),
        ):
            for pieces in split(command):
                driver = server(nut)
                for piece in pieces:
                    driver.network.feed(piece)
                self.assertEqual(driver.network.written, DENIED if isOurs else b"", command)
                self.assertEqual(isinstance(driver.error, ForeignProtocol), not isOurs, command)

    @settings(deadline=None)
    @given(st.binary(max_size=60).filter(lambda words: b"\n" not in words))
    def test_noGarbageIsMistakenForARequest(self, garbage: bytes) -> None:
        """
        Whatever a client says in a line.
        """
        driver = server(nut)
        driver.network.feed(garbage + b"\n")
        if garbage.strip().upper() != b"STARTTLS":
            self.assertEqual(driver.stage, "clear")
