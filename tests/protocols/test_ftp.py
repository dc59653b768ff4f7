"""
The ftp dialect: its negotiation, and what becomes of the control connection inside TLS.
"""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import (
    BackendRefused,
    Farewell,
    LimitReached,
    Malformed,
    Oversize,
    PlaintextAfterStartTLS,
    PreAuthenticated,
    Quit,
    Refused,
    ServerSpokeFirst,
    Temporary,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.ftp import ftp
from tlstunnel.protocols.ftpcontrol import (
    MAX_AWAITED_REPLIES,
    MAX_REPLY_BYTES,
    MAX_UNREAD_BYTES,
)
from tlstunnel.protocols.ftpports import passivePort
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, inside, said, server, split
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver

GREETING = b"220-Welcome\r\n 221 is text, like\r\nthis\r\n\r\n220-and this\r\n220 ready\r\n"
CLIENT = [("S", GREETING), ("C", b"AUTH TLS\r\n"), ("S", b"234 Proceed with negotiation\r\n")]
SERVER = [
    ("S", b"220 tunnel.example.net ready\r\n"),
    ("C", b"FEAT\r\n"),
    ("S", b"211-Features\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End\r\n"),
    ("C", b"AUTH TLS\r\n"),
    ("S", b"234 Proceed with negotiation\r\n"),
]
PROTECTED = b"200 PBSZ=0\r\n200 Protection set to Private\r\n"


# What a line can have in it.
ANY = bytes(set(range(256)) - set(b"\r\n\0"))


def app() -> Driver:
    """
    Mode -c, the app greeted.
    """
    driver = inside(client(ftp), CLIENT)
    driver.network.feed(PROTECTED)
    assert driver.stage == "relay", driver.error
    driver.plain.takeWritten()
    driver.network.takeWritten()
    return driver


def backend() -> Driver:
    """
    Mode -s, the backend met, no protection asked for.
    """
    driver = inside(server(ftp), SERVER)
    driver.plain.feed(b"220 backend\r\n")
    assert driver.stage == "relay", driver.error
    driver.network.takeWritten()
    return driver


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


class AnswersInsideTests(SynchronousTestCase):
    """
    Commands that the tunnel answers itself inside TLS.
    """

    def answers(self, driver: Driver, fed: MemoryLeg, passed: MemoryLeg, line: bytes) -> bytes:
        """
        What C{line} is answered; nothing of it may pass.
        """
        # What is served in between keeps refusals from adding up.
        fed.feed(b"NOOP\r\n")
        self.assertEqual(passed.takeWritten(), b"NOOP\r\n")
        passed.feed(b"200 ok\r\n")
        fed.takeWritten()
        fed.feed(line + b"\r\n")
        self.assertIsNone(driver.error)
        self.assertEqual(passed.takeWritten(), b"", line)
        return fed.takeWritten()

    def test_theAppHearsNothingOfTLS(self) -> None:
        """
        In client mode.
        """
        driver = app()
        for line, code in (
            (b"AUTH TLS", b"534 "),
            (b"auth SSL", b"534 "),
            (b"PBSZ 0", b"200 "),
            (b"PROT C", b"200 "),
            (b"prot c", b"200 "),
            (b"PROT P", b"536 "),
            (b"PROT", b"536 "),
            (b"CCC", b"533 "),
            (b"ADAT x", b"503 "),
            (b"MIC x", b"533 "),
            (b"CONF x", b"533 "),
            (b"ENC x", b"533 "),
            (b"PORT 127,0,0,1,4,1", b"502 "),
            (b"EPRT |1|127.0.0.1|1025|", b"502 "),
            (b"LPRT 4,4,127,0,0,1,2,4,1", b"502 "),
            (b"LPSV", b"502 "),
            (b"SPSV", b"502 "),
            (b"CPSV", b"502 "),
            (b"SSCN ON", b"502 "),
            (b"REIN", b"502 "),
            (b"PASV x", b"501 "),
            (b"EPSV 3", b"501 "),
        ):
            answer = self.answers(driver, driver.plain, driver.network, line)
            self.assertTrue(answer.startswith(code), (line, answer))
            self.assertTrue(answer.endswith(b"\r\n"))

    def test_theClientHasToProtectData(self) -> None:
        """
        In server mode the order is PBSZ, PROT P, data.
        """
        driver = backend()
        for line, code in (
            (b"AUTH TLS", b"534 "),
            (b"PASV", b"521 "),
            (b"EPSV", b"521 "),
            (b"LIST", b"521 "),
            (b"NLST x", b"521 "),
            (b"MLSD", b"521 "),
            (b"RETR x", b"521 "),
            (b"STOR x", b"521 "),
            (b"STOU", b"521 "),
            (b"APPE x", b"521 "),
            (b"PROT P", b"503 "),
            (b"PROT C", b"503 "),
            (b"PROT X", b"504 "),
            (b"PROT", b"504 "),
            (b"PBSZ 0", b"200 PBSZ=0"),
            (b"PROT C", b"534 "),
            (b"PROT S", b"536 "),
            (b"PROT E", b"536 "),
            (b"RETR x", b"521 "),
            (b"PORT 127,0,0,1,4,1", b"502 "),
            (b"prot p", b"200 "),
            (b"PROT C", b"534 "),
            (b"CCC", b"534 "),
            (b"PORT 127,0,0,1,4,1", b"502 "),
            (b"EPRT |1|127.0.0.1|1025|", b"502 "),
            (b"REIN", b"502 "),
        ):
            answer = self.answers(driver, driver.network, driver.plain, line)
            self.assertTrue(answer.startswith(code), (line, answer))
        driver.network.feed(b"RETR x\r\n")
        self.assertEqual(driver.plain.takeWritten(), b"RETR x\r\n")

    def test_whatIsReadOtherwiseBySomeIsNoCommand(self) -> None:
        """
        Nobody gets a command past us by a form that only the server understands.
        """
        for line in (
            b" PORT 1,2,3,4,5,6",
            b"\tPORT 1,2,3,4,5,6",
            b"PORT\t1,2,3,4,5,6",
            b"NOOP\rPORT 1,2,3,4,5,6",
            b"NOOP\0PORT 1,2,3,4,5,6",
            b"NOOP \rPORT 1,2,3,4,5,6",
            b"\xffPORT 1,2,3,4,5,6",
            b"\x0bPORT",
            b"",
            b" ",
            b"-",
            b"X" * 17,
        ):
            driver = backend()
            answer = self.answers(driver, driver.network, driver.plain, line)
            self.assertEqual(answer, b"500 Not a command\r\n", line)

    def test_linesMayEndInLFOnly(self) -> None:
        """
        The server gets CRLF.
        """
        driver = backend()
        driver.network.feed(b"USER x\nPASS y\r\n")
        self.assertEqual(driver.plain.takeWritten(), b"USER x\r\nPASS y\r\n")
        driver.plain.feed(b"331 ?\n230 ok\n")
        self.assertEqual(driver.network.takeWritten(), b"331 ?\r\n230 ok\r\n")

    def test_theUrgentMarkIsDropped(self) -> None:
        """
        There is no urgent data in TLS; the command remains.
        """
        driver = app()
        driver.plain.feed(b"\xff\xf4\xff\xf2ABOR\r\n")
        self.assertEqual(driver.network.takeWritten(), b"ABOR\r\n")
        driver.plain.feed(b"\xff\xf4\xff\xf2PORT 1,2,3,4,5,6\r\n")
        self.assertEqual(driver.network.takeWritten(), b"")

    def test_ourAnswersKeepTheirPlace(self) -> None:
        """
        A client that does not wait for replies gets them in the order of its commands.
        """
        for pieces in split(b"USER x\r\nPBSZ 0\r\nCCC\r\nPASS y\r\nPROT C\r\n"):
            driver = app()
            for piece in pieces:
                driver.plain.feed(piece)
            self.assertEqual(driver.network.takeWritten(), b"USER x\r\nPASS y\r\n")
            self.assertEqual(driver.plain.takeWritten(), b"")
            driver.network.feed(b"150 wait\r\n331 ?\r\n")
            answers = driver.plain.takeWritten()
            self.assertEqual(re.findall(rb"(?m)^\d+", answers), [b"150", b"331", b"200", b"533"])
            driver.network.feed(b"230 in\r\n")
            self.assertEqual(re.findall(rb"(?m)^\d+", driver.plain.takeWritten()), [b"230", b"200"])

    def test_aLineWithoutEndIsNotWaitedForForever(self) -> None:
        """
        Neither of the client nor of the server.
        """
        for leg in ("plain", "network"):
            driver = app()
            driver.plain.feed(b"NOOP\r\n")
            getattr(driver, leg).feed(b"2" * 8193)
            self.assertIsInstance(driver.error, Oversize)

    def test_anUnfinishedCommandIsNotForwarded(self) -> None:
        """
        What it was to become nobody knows, least of all which file it was to delete.
        """
        driver = backend()
        driver.network.feed(b"DELE snark.txt")
        driver.network.end()
        self.assertEqual(driver.plain.takeWritten(), b"")
        self.assertTrue(driver.plain.ended)

    def test_aClientThatReadsNothingIsCutOff(self) -> None:
        """
        What we answer is not kept without limit.
        """
        driver = app()
        driver.plain.capacity = 0
        answer = b"200 PBSZ=0\r\n"
        for _ in range(MAX_UNREAD_BYTES // len(answer)):
            driver.plain.feed(b"PBSZ 0\r\n")
        self.assertIsNone(driver.error)
        driver.plain.feed(b"PBSZ 0\r\n")
        self.assertIsInstance(driver.error, Oversize)

    def test_refusalsInARowAreLimited(self) -> None:
        """
        As before TLS, and with a word before the end; what is served in between makes a new start.
        """
        for command, most in ((b"PORT 1,2,3,4,5,6\r\n", 10), (b"\r\n", 3)):
            for driver, leg, served in (
                (app(), "plain", b"NOOP\r\n"),
                (app(), "plain", b"PBSZ 0\r\n"),
                (backend(), "network", b"NOOP\r\n"),
            ):
                client = getattr(driver, leg)
                for _ in range(3):
                    client.feed(command * (most - 1) + served)
                self.assertIsNone(driver.error)
                client.feed(command * most + b"QUIT\r\n")
                self.assertIsInstance(driver.error, TooManyErrors)

    def test_theClientIsToldWhyItIsCutOff(self) -> None:
        """
        Behind the answers to what it had said before.
        """
        driver = backend()
        driver.network.feed(b"\r\n" * 9)
        self.assertEqual(
            driver.network.takeWritten(), b"500 Not a command\r\n" * 2 + b"421 Too many errors\r\n"
        )
        self.assertEqual(driver.network.ending, "aborted")

    def test_answersThatAreDueAtOnceAreOneWrite(self) -> None:
        """
        Each would be a record of its own.
        """
        driver = backend()
        written = []
        self.patch(driver.network, "write", lambda data: written.append(bytes(data)))
        driver.network.feed(b"PBSZ 0\r\nPROT P\r\nCCC\r\n")
        self.assertEqual([len(data.splitlines()) for data in written], [3])

    def test_commandsThatNobodyAnswersAreLimited(self) -> None:
        """
        Those for the server as well as those for us behind them.
        """
        for command in (b"NOOP\r\n", b"PBSZ 0\r\n"):
            driver = app()
            driver.plain.feed(b"NOOP\r\n")
            driver.plain.feed(command * (MAX_AWAITED_REPLIES - 1))
            self.assertIsNone(driver.error)
            driver.plain.feed(command)
            self.assertIsInstance(driver.error, Oversize)


class RepliesTests(SynchronousTestCase):
    """
    What the server says to the app.
    """

    def test_featuresAreHidden(self) -> None:
        """
        What makes no sense beside a tunnel, whatever form the list has, and in no other reply.
        """
        driver = app()
        driver.plain.feed(b"FEAT\r\nSTAT\r\n")
        driver.network.feed(
            b"211-Features:\r\n AUTH TLS;SSL\r\n EPSV\r\n PBSZ\r\n211-PROT C;P;\r\n EPRT\r\n"
            b" ccc\r\nAUTH SSL\r\n UTF8\r\n SPSV\r\n AUTHX\r\n\r\n211 End\r\n"
            b"211-Status\r\n AUTH TLS\r\n211 End\r\n"
        )
        self.assertEqual(
            driver.plain.takeWritten(),
            b"211-Features:\r\n EPSV\r\n UTF8\r\n AUTHX\r\n\r\n211 End\r\n"
            b"211-Status\r\n AUTH TLS\r\n211 End\r\n",
        )

    def test_textIsNotMistakenForAnEnd(self) -> None:
        """
        Lines within a reply that some clients would take for its last are padded, as RFC 959 has
        it.
        """
        driver = app()
        driver.plain.feed(b"HELP\r\n")
        driver.network.feed(
            b"214-Commands\r\n227 Entering Passive Mode (192,0,2,7,4,1)\r\n214-USER\r\n"
            b"2145\r\n229-x\r\n214\r\n"
        )
        self.assertEqual(
            driver.plain.takeWritten(),
            b"214-Commands\r\n 227 Entering Passive Mode (192,0,2,7,4,1)\r\n214-USER\r\n"
            b" 2145\r\n 229-x\r\n214 \r\n",
        )

    def test_aCRIsNoEndOfALine(self) -> None:
        """
        Python's ftplib would take it for one.
        """
        driver = app()
        driver.plain.feed(b"NOOP\r\n")
        driver.network.feed(b"200 ok\r227 Entering Passive Mode (192,0,2,7,4,1)\r\n")
        self.assertEqual(
            driver.plain.takeWritten(), b"200 ok 227 Entering Passive Mode (192,0,2,7,4,1)\r\n"
        )

    def test_whatIsNoReplyEndsTheConnection(self) -> None:
        """
        A client might understand it otherwise.
        """
        for line in (b"hello", b"22", b"227Entering", b"620 x", b"020 x", b" 220 x", b"2x0 x"):
            driver = app()
            driver.plain.feed(b"NOOP\r\n")
            driver.network.feed(line + b"\r\n")
            self.assertIsInstance(driver.error, Malformed, line)
            self.assertEqual(driver.plain.takeWritten(), b"")

    def test_emptyLinesBetweenRepliesMeanNothing(self) -> None:
        """
        Some servers end each reply with one, also the last that the tunnel has asked for itself,
        and that at any time.
        """
        for late in (False, True):
            driver = inside(client(ftp), CLIENT)
            driver.network.feed(PROTECTED[:-2] + (b"\r\n" if late else b"\r\n\r\n"))
            if late:
                driver.network.feed(b"\r\n\n")
            self.assertEqual(driver.plain.takeWritten(), b"220 server.example.org ready\r\n")
            driver.plain.feed(b"USER x\r\nPWD\r\n")
            driver.network.feed(b"331 now\r\n\r\n \r\n")
            driver.network.feed(b'257-"/"\r\n\r\n257 is it\r\n\r\n')
            self.assertIsNone(driver.error)
            self.assertEqual(driver.plain.takeWritten(), b'331 now\r\n257-"/"\r\n\r\n257 is it\r\n')

    def test_anEmptyLineBehindTheGoAheadIsPlaintext(self) -> None:
        """
        There, of all places, nothing may follow (rule 3).
        """
        driver = client(ftp)
        driver.network.feed(b"220 ready\r\n\r\n")
        driver.network.feed(b"234 go\r\n\r\n")
        self.assertIsInstance(driver.error, PlaintextAfterStartTLS)

    def test_aReplyThatNobodyAskedForPasses(self) -> None:
        """
        That of a time limit.
        """
        driver = app()
        driver.plain.feed(b"NOOP\r\n")
        driver.network.feed(b"200 ok\r\n421 Timeout\r\n")
        self.assertEqual(driver.plain.takeWritten(), b"200 ok\r\n421 Timeout\r\n")

    @settings(deadline=None)
    @given(st.binary(max_size=60), st.binary(max_size=60))
    def test_garbageRaisesNothing(self, commands: bytes, replies: bytes) -> None:
        """
        From whichever side it comes: the connection goes on, or ends with a reason.
        """
        for driver in (app(), backend()):
            driver.plain.feed(b"PASV\r\n" + commands)
            driver.network.feed(replies)
            driver.plain.end()
            driver.network.end()
            self.assertTrue(driver.ended)
            if driver.error is not None:
                self.assertNotEqual(driver.error.reason, "internal")


class PassiveTests(SynchronousTestCase):
    """
    Data connections.
    """

    def test_ports(self) -> None:
        """
        Spellings of real servers, and what is none.
        """
        for code, text, port in (
            (b"227", b"227 Entering Passive Mode (127,0,0,1,4,1)", 1025),
            (b"227", b"227 Entering Passive Mode (127,0,0,1,4,1).", 1025),
            (b"227", b"227 Entering Passive Mode 127,0,0,1,4,1", 1025),
            (b"227", b"227 Entering Passive Mode. 127,0,0,1,255,255", 65535),
            (b"227", b"227 =127,0,0,1,0,21", 21),
            (b"227", b"227 Entering Passive Mode ( 192,168,  1, 10, 4 ,  1 )", 1025),
            (b"227", b"227 Entering Passive Mode (192,168,001,010,004,001)", 1025),
            (b"227", b"227 (127,0,0,1 4,1)", 0),
            (b"227", b"227 Passive mode OK (1,2,3,4,5,6) { 1 }", 1286),
            (b"227", b"227-Entering227 (0,0,0,0,4,1)", 1025),
            (b"227", b"227 (127,0,0,1,0,0)", 0),
            (b"227", b"227 (127,0,0,1,256,1)", 0),
            (b"227", b"227 (999,0,0,1,4,1)", 0),
            (b"227", b"227 (127,0,0,1,4)", 0),
            (b"227", b"227 (1127,0,0,1,4,1000)", 0),
            (b"227", b"227 (|||1025|)", 0),
            (b"227", b"227", 0),
            (b"229", b"229 Entering Extended Passive Mode (|||1025|)", 1025),
            (b"229", b"229 Entering Extended Passive Mode (||| 1025 |)", 1025),
            (b"229", b"229 Extended Passive mode OK (!!!65535!)", 65535),
            (b"229", b"229 (|||65536|)", 0),
            (b"229", b"229 (|||0|)", 0),
            (b"229", b"229 (||1025|)", 0),
            (b"229", b"229 (|1|127.0.0.1|1025|)", 0),
            (b"229", b"229 |||1025|", 0),
            (b"229", b"229 (|||1025!)", 0),
            (b"229", b"229 (|||-1|)", 0),
            (b"229", b"229 (127,0,0,1,4,1)", 0),
        ):
            self.assertEqual(passivePort(code, text), port, text)

    @given(st.sampled_from([b"227", b"229"]), st.binary(max_size=60))
    def test_garbageIsNoPort(self, code: bytes, text: bytes) -> None:
        """
        Whatever it is, what comes out is a port or none.
        """
        self.assertIn(passivePort(code, text), range(65536))

    def test_theReplyNamesOurPort(self) -> None:
        """
        At the address at which the control connection was accepted; the server's goes nowhere.
        """
        for pieces in split(b"227 Entering Passive Mode (10,9,8,7,4,1).\r\n"):
            driver = app()
            driver.plain.feed(b"pasv\r\n")
            self.assertEqual(driver.network.takeWritten(), b"PASV\r\n")
            for piece in pieces:
                driver.network.feed(piece)
            self.assertEqual(
                driver.plain.takeWritten(), b"227 Entering Passive Mode (192,0,2,1,195,80)\r\n"
            )
            self.assertEqual(driver.channels.opened, [1025])

    def test_theReplyToEPSVHasNoAddress(self) -> None:
        """
        The client's family is not the server's.
        """
        for command in (b"EPSV", b"EPSV 1", b"epsv 2", b"EPSV "):
            driver = app()
            driver.channels.host = "2001:db8::1"
            driver.plain.feed(command + b"\r\n")
            self.assertEqual(driver.network.takeWritten(), b"EPSV\r\n")
            driver.network.feed(b"229-Entering\r\n229 Extended Passive Mode (|||1025|)\r\n")
            self.assertEqual(
                driver.plain.takeWritten(), b"229 Entering Extended Passive Mode (|||50000|)\r\n"
            )
            self.assertEqual(driver.channels.opened, [1025])

    def test_inServerModeItIsTheSame(self) -> None:
        """
        Once the client has protected data.
        """
        driver = backend()
        driver.network.feed(b"PBSZ 0\r\nPROT P\r\nEPSV\r\n")
        self.assertEqual(driver.plain.takeWritten(), b"EPSV\r\n")
        driver.network.takeWritten()
        driver.plain.feed(b"229 ok (|||1025|)\r\n")
        self.assertEqual(
            driver.network.takeWritten(), b"229 Entering Extended Passive Mode (|||50000|)\r\n"
        )
        self.assertEqual(driver.channels.opened, [1025])

    def test_theOtherFormIsTriedWhereTheServerRefuses(self) -> None:
        """
        The client gets the reply to what it has asked for.
        """
        for asked, other, reply, expected in (
            (b"PASV", b"EPSV", b"229 (|||1025|)", b"227 Entering Passive Mode (192,0,2,1,195,80)"),
            (
                b"EPSV",
                b"PASV",
                b"227 (1,2,3,4,4,1)",
                b"229 Entering Extended Passive Mode (|||50000|)",
            ),
        ):
            for refusal in (b"500 ?", b"502-no\r\n502 no", b"522 no", b"425 no"):
                driver = app()
                driver.plain.feed(asked + b"\r\n")
                driver.network.takeWritten()
                driver.network.feed(refusal + b"\r\n")
                self.assertEqual(driver.network.takeWritten(), other + b"\r\n")
                self.assertEqual(driver.plain.takeWritten(), b"")
                driver.network.feed(reply + b"\r\n")
                self.assertEqual(driver.plain.takeWritten(), expected + b"\r\n")
                self.assertEqual(driver.channels.opened, [1025])

    def test_whereBothAreRefusedTheFirstRefusalIsTold(self) -> None:
        """
        And the next command starts afresh.
        """
        driver = app()
        for _ in range(2):
            driver.plain.feed(b"EPSV\r\n")
            driver.network.feed(b"500-first\r\n500 refusal\r\n")
            driver.network.feed(b"502 second\r\n")
            self.assertEqual(driver.network.takeWritten(), b"EPSV\r\nPASV\r\n")
            self.assertEqual(driver.plain.takeWritten(), b"500-first\r\n500 refusal\r\n")
        self.assertEqual(driver.channels.opened, [])

    def test_whereNoCommandIsServedNothingIsTried(self) -> None:
        """
        Before the login, and at the end.
        """
        for reply in (b"530 Log in\r\n", b"421 Bye\r\n"):
            driver = app()
            driver.plain.feed(b"PASV\r\n")
            driver.network.feed(reply)
            self.assertEqual(driver.network.takeWritten(), b"PASV\r\n")
            self.assertEqual(driver.plain.takeWritten(), reply)

    def test_aReplyWithoutAPortIsARefusal(self) -> None:
        """
        It does not pass as it is.
        """
        for reply in (b"227 somewhere", b"227 (1,2,3,4,0,0)", b"228 (4,4,1,2,3,4,2,4,1)"):
            driver = app()
            driver.plain.feed(b"PASV\r\n")
            driver.network.feed(reply + b"\r\n")
            self.assertEqual(driver.plain.takeWritten(), b"425 The server names no port\r\n")
            self.assertEqual(driver.channels.opened, [])

    def test_whereWeCannotListenTheClientIsTold(self) -> None:
        """
        With the reason, and without an end of the connection.
        """
        driver = app()
        driver.channels.refusal = LimitReached("too many data connections")
        driver.plain.feed(b"PASV\r\n")
        driver.network.feed(b"227 (1,2,3,4,4,1)\r\n")
        self.assertEqual(
            driver.plain.takeWritten(), b"425 Cannot listen: too many data connections\r\n"
        )
        self.assertIsNone(driver.error)

    def test_whereThereIsNoAddressNothingIsAsked(self) -> None:
        """
        PASV is of IPv4, and a UNIX socket has no ports.
        """
        for host, command, code in (
            ("2001:db8::1", b"PASV", b"522 "),
            ("", b"PASV", b"502 "),
            ("", b"EPSV", b"502 "),
        ):
            driver = app()
            driver.channels.host = host
            driver.plain.feed(command + b"\r\n")
            self.assertEqual(driver.network.takeWritten(), b"")
            self.assertTrue(driver.plain.takeWritten().startswith(code))

    def test_onlyEPSVIsForTheServerToPromise(self) -> None:
        """
        EPSV ALL opens nothing (RFC 2428, section 4).
        """
        driver = app()
        driver.plain.feed(b"EPSV all\r\n")
        self.assertEqual(driver.network.takeWritten(), b"EPSV ALL\r\n")
        driver.network.feed(b"200 ok\r\n")
        self.assertEqual(driver.plain.takeWritten(), b"200 ok\r\n")

    def test_aDataConnectionThatNobodyAskedForEndsThisOne(self) -> None:
        """
        The client would connect past the tunnel, in clear.
        """
        for asked in (b"NOOP\r\n", b"EPSV ALL\r\n"):
            for reply in (b"227 (1,2,3,4,4,1)\r\n", b"229 (|||1025|)\r\n", b"228 x\r\n"):
                driver = app()
                driver.plain.feed(asked)
                driver.network.feed(reply)
                self.assertIsInstance(driver.error, Malformed)
                self.assertEqual(driver.plain.takeWritten(), b"")
                self.assertEqual(driver.channels.opened, [])

    def test_aServerMayAnswerABORTwice(self) -> None:
        """
        Or once: then PASV is found nevertheless.
        """
        driver = app()
        driver.plain.feed(b"RETR x\r\nABOR\r\nPASV\r\n")
        driver.network.feed(b"150 here\r\n426 aborted\r\n227 (1,2,3,4,4,1)\r\n")
        self.assertEqual(
            driver.plain.takeWritten(),
            b"150 here\r\n426 aborted\r\n227 Entering Passive Mode (192,0,2,1,195,80)\r\n",
        )

    def test_ourAnswersAreNotLostThere(self) -> None:
        """
        A client that counts replies would wait for them.
        """
        driver = app()
        driver.plain.feed(b"RETR x\r\nABOR\r\nPBSZ 0\r\nPASV\r\n")
        driver.network.feed(b"150 here\r\n426 aborted\r\n227 (1,2,3,4,4,1)\r\n")
        self.assertEqual(
            re.findall(rb"(?m)^\d+", driver.plain.takeWritten()), [b"150", b"426", b"200", b"227"]
        )

    def test_aReplyThatWaitsIsLimited(self) -> None:
        """
        It is not passed on before it is complete, and not kept without limit.
        """
        driver = app()
        driver.plain.feed(b"PASV\r\n")
        driver.network.feed(b"227-\r\n")
        for _ in range(9):
            driver.network.feed(b"x" * 1000 + b"\r\n")
        self.assertIsInstance(driver.error, Oversize)

    def test_emptyLinesOfAReplyCount(self) -> None:
        """
        They have nothing but their ends, and are kept all the same.
        """
        driver = app()
        driver.plain.feed(b"PASV\r\n")
        driver.network.feed(b"227-\r\n" + b"\r\n" * (MAX_REPLY_BYTES // 2 - 3))
        self.assertIsNone(driver.error)
        driver.network.feed(b"\r\n")
        self.assertIsInstance(driver.error, Oversize)
