"""
Tests for L{tlstunnel.protocols.ftpcontrol}: what becomes of the control connection inside TLS.
"""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.ftpdialogues import CLIENT, PROTECTED, app, backend
from tlstunnel.errors import Malformed, Oversize, PlaintextAfterStartTLS, TooManyErrors
from tlstunnel.protocols.ftp import ftp
from tlstunnel.protocols.ftpcontrol import MAX_AWAITED_REPLIES, MAX_UNREAD_BYTES
from tlstunnel.testing.dialogues import client, inside, split
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver


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
