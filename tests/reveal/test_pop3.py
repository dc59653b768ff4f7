"""
The word pop3: where the client is, by XCLIENT, which clients cannot say.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.stage import begun, told
from tlstunnel.errors import BackendRefused, Malformed, Oversize, TunnelError
from tlstunnel.protocols.pop3 import pop3 as dialect
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.origin import Part
from tlstunnel.reveal.pop3 import XCLIENTGuard, pop3
from tlstunnel.testing.dialogues import OURS, split
from tlstunnel.testing.memory import Driver

GREETING = b"+OK [XCLIENT] ready\r\n"
CLEAR = [
    ("S", b"+OK " + OURS + b" ready\r\n"),
    ("C", b"STLS\r\n"),
    ("S", b"+OK Begin TLS negotiation\r\n"),
]
XCLIENT = b"XCLIENT ADDR=192.0.2.1 PORT=4711 CLIENT-TRANSPORT=TLS\r\n"
TAKEN = b"+OK Updated\r\n"
REFUSED = b"XREFUSED\r\n"


def introduced() -> Driver:
    """
    The backend has been told, and the relay has begun.
    """
    return told(pop3, [("B", GREETING), ("T", XCLIENT), ("B", TAKEN), ("S", GREETING)])


class IntroductionTests(SynchronousTestCase):
    """
    What the backend is told, before the client is heard.
    """

    def test_theBackendIsToldInsideImplicitTLS(self) -> None:
        """
        Its greeting is passed on, and its answer is not.
        """
        driver = introduced()
        driver.play([("C", b"CAPA\r\n"), ("T", b"CAPA\r\n"), ("B", b"+OK\r\n"), ("S", b"+OK\r\n")])

    def test_theBackendIsToldBehindStartTLS(self) -> None:
        """
        The client has been greeted before.
        """
        driver = begun([(pop3, Part())], dialect, CLEAR)
        driver.feed("C", b"CAPA\r\n")
        driver.play([("B", GREETING), ("T", XCLIENT), ("B", TAKEN), ("T", b"CAPA\r\n")])
        self.assertEqual((driver.stage, driver.network.written), ("relay", b""))

    def test_aClientOfAUNIXSocketHasNoAddress(self) -> None:
        """
        That it has TLS is told.
        """
        driver = begun([(pop3, Part())], peer=None)
        driver.play([("B", GREETING), ("T", b"XCLIENT CLIENT-TRANSPORT=TLS\r\n")])

    def test_whoeverIsToldByTheHeaderIsToldOnce(self) -> None:
        """
        Of the PROXY protocol; what clients must not say they must not say.
        """
        disclosure = Disclosure(words=("pop3",), proxyOut="v2")
        driver = begun([(pop3, pop3.prepare(disclosure))])
        driver.play([("B", GREETING), ("S", GREETING)])
        driver.play([("C", b"XCLIENT ADDR=203.0.113.9\r\n")])
        driver.play([("T", REFUSED)])

    def test_aBackendThatDoesNotTakeItIsNotServed(self) -> None:
        """
        Nor is one that says +OK and does not.
        """
        for answers in (
            [b"-ERR overloaded\r\n"],
            [GREETING, b"-ERR Unknown command.\r\n"],
            [GREETING, b"+OK You are not from trusted IP - ignoring\r\n"],
            [GREETING, b"OK\r\n"],
        ):
            with self.subTest(answers=answers):
                driver = begun([(pop3, Part())])
                driver.feed("C", b"CAPA\r\n")
                for each in answers:
                    driver.feed("B", each)
                self.assertIsInstance(driver.error, BackendRefused)
                self.assertNotIn(b"CAPA", driver.plain.written)


class GuardTests(SynchronousTestCase):
    """
    What clients say, cut anywhere.
    """

    def test_whatIsHarmlessPasses(self) -> None:
        """
        Byte by byte the same.
        """
        for said in (
            b"USER john\r\nPASS XCLIENT ADDR=1.2.3.4\r\n",
            b"AUTH PLAIN\r\nAGpvaG4AeA==\r\n",
            b"AUTH PLAIN\n*\n\r\n",
            b"USER xclient\r\nXCLIENTS ADDR=1\r\nTOP 1 0\r\n",
        ):
            for pieces in split(said):
                with self.subTest(pieces=pieces):
                    guard = XCLIENTGuard()
                    self.assertEqual(b"".join(map(guard.feed, pieces)), said)

    def test_whatOnlyWeSayIsRefused(self) -> None:
        """
        In its place, by the backend, which does not know what it gets instead.
        """
        for said in (
            b"XCLIENT ADDR=203.0.113.9\r\n",
            b"xclient ADDR=203.0.113.9\n",
            b"XClient\r\n",
            b" \tXCLIENT ADDR=203.0.113.9\r\n",
            b"XCLIENT\tADDR=203.0.113.9\r\n",
            b"XOIP 203.0.113.9\r\n",
            b"xoip\x0b203.0.113.9\r\n",
        ):
            for pieces in split(b"NOOP\r\n" + said + b"STAT\r\n"):
                with self.subTest(pieces=pieces):
                    guard = XCLIENTGuard()
                    passed = b"".join(map(guard.feed, pieces))
                    self.assertEqual(passed, b"NOOP\r\n" + REFUSED + b"STAT\r\n")

    def test_itIsRefusedBehindALoginToo(self) -> None:
        """
        All that clients say are lines.
        """
        driver = introduced()
        driver.play(
            [
                *(("C", b"USER j\r\nPASS x\r\n"), ("T", b"USER j\r\nPASS x\r\n")),
                *(("B", b"+OK\r\n+OK\r\n"), ("S", b"+OK\r\n+OK\r\n")),
                *(("C", b"STAT\r\nXCLIENT ADDR=1.2.3.4\r\n"), ("T", b"STAT\r\n" + REFUSED)),
            ]
        )

    def test_whatIsNoLineEndsTheConnection(self) -> None:
        """
        Others may see the end of a line where we see none.
        """
        for said, error in (
            (b"NOOP\rXCLIENT ADDR=203.0.113.9\r\n", Malformed),
            (b"XCLIENT\0 ADDR=203.0.113.9\r\n", Malformed),
            (b"\x16\x03\x01\x02\x00\x01\n", Malformed),
            (b"x" * 16400, Oversize),
        ):
            with self.subTest(said=said[:20]):
                with self.assertRaises(error) as caught:
                    XCLIENTGuard().feed(said)
                self.assertEqual(caught.exception.said, b"")

    def test_anUnfinishedLineIsNotTheLastWord(self) -> None:
        """
        Nobody has looked at it.
        """
        driver = introduced()
        driver.feed("C", b"XCLIENT ADDR=203.0.113.9")
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")

    @given(st.lists(st.binary(max_size=9) | st.sampled_from([b"XCLIENT", b"\n", b"xoip", b" "])))
    def test_noLineBeginsSo(self, pieces: list[bytes]) -> None:
        """
        Whatever a client says.
        """
        guard = XCLIENTGuard()
        passed = b""
        try:
            for piece in pieces:
                passed += guard.feed(piece)
        except TunnelError:
            pass
        for line in passed.upper().splitlines():
            self.assertFalse(line.split()[:1] in ([b"XCLIENT"], [b"XOIP"]), line)
