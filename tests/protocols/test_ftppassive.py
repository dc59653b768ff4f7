"""
Tests for L{tlstunnel.protocols.ftpcontrol}: data connections that the client makes.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.ftpdialogues import app, backend
from tlstunnel.errors import LimitReached, Malformed, Oversize
from tlstunnel.protocols.ftpcontrol import MAX_REPLY_BYTES
from tlstunnel.protocols.ftpports import passivePort
from tlstunnel.testing.dialogues import split


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
