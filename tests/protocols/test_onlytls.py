"""
Tests for L{tlstunnel.protocols.onlytls}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import ForeignProtocol, PlaintextAfterStartTLS, TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.onlytls import CLIENT_HELLO, SERVER_HELLO, OnlyTLS

#: What each side may begin with.
CLIENT = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03rest"
SERVER = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03rest"
ALERT = b"\x15\x03\x03\x00\x02\x02\x28"

#: What neither may.
OTHERS = (
    b"EHLO x\r\n",
    b"220 x\r\n",
    b" ",
    b"\x16\x02\x00\x00\x10\x01",
    b"\x16\x03\x01\x00\x00\x01",
    b"\x16\x03\x01\xff\xff\x01",
    b"\x17\x03\x03\x00\x10\x01",
    b"\x14\x03\x03\x00\x01\x01",
    b"\x15\x03\x03\x00\x20\x02",
    b"\x80\x2e\x01\x03\x03\x00",
)


class OnlyTLSTests(SynchronousTestCase):
    """
    L{OnlyTLS}.
    """

    def test_TLSPassesHoweverItIsCut(self) -> None:
        """
        Byte by byte, and all at once; and what follows is not looked at.
        """
        for hello, said in ((CLIENT_HELLO, CLIENT), (SERVER_HELLO, SERVER), (SERVER_HELLO, ALERT)):
            for pieces in ((said,), tuple(said[at : at + 1] for at in range(len(said)))):
                only = OnlyTLS(hello)
                self.assertEqual(b"".join(map(only.feed, pieces)), said)
                self.assertTrue(only.done)
                self.assertEqual(only.feed(b"anything"), b"anything")

    def test_nothingOfAnythingElsePasses(self) -> None:
        """
        Whoever says it; from a server it was put into the plaintext.
        """
        for said in (*OTHERS, SERVER):
            self.assertRaises(ForeignProtocol, OnlyTLS(CLIENT_HELLO).feed, said)
        for said in (*OTHERS, CLIENT):
            self.assertRaises(PlaintextAfterStartTLS, OnlyTLS(SERVER_HELLO).feed, said)

    @given(st.lists(st.binary(min_size=1), min_size=1))
    def test_whatPassesBeginsWithARecord(self, pieces: list[bytes]) -> None:
        """
        Whatever comes.
        """
        only = OnlyTLS(CLIENT_HELLO)
        passed = b""
        try:
            for piece in pieces:
                passed += only.feed(piece)
            passed += only.flush()
        except TunnelError:
            self.assertEqual(passed, b"")
        if passed:
            self.assertEqual(passed, b"".join(pieces))
            self.assertIn(passed[:2], (b"\x16\x03", b"\x15\x03"))

    def test_anEndInTheMiddleIsNothing(self) -> None:
        """
        Of what begins a record, nothing is passed on.
        """
        only = OnlyTLS(CLIENT_HELLO)
        self.assertEqual(only.feed(CLIENT[:5]) + only.flush(), b"")

    def test_theTimeForItEndsWithIt(self) -> None:
        """
        Once TLS has begun.
        """
        clock = Clock()
        isOver: list[bool] = []
        due = Deadlines(clock).after(10, lambda: isOver.append(True))
        only = OnlyTLS(CLIENT_HELLO, due)
        only.feed(CLIENT[:3])
        self.assertTrue(due.isPending)
        only.feed(CLIENT[3:])
        clock.advance(20)
        self.assertEqual(isOver, [])
