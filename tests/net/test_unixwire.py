"""
Tests for L{tlstunnel.net.unixwire} and L{tlstunnel.net.unixleg}, on real sockets.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.legs import PlainUNIXCase, SocketFarEnd
from tlstunnel.errors import Reset
from tlstunnel.net import unixleg
from tlstunnel.net.kernel import unread
from tlstunnel.net.leg import Leg
from tlstunnel.net.unixleg import UNIXLeg
from tlstunnel.net.unixwire import MOST_KEPT_BYTES, ROOMY_BYTES, Kept
from tlstunnel.net.wire import END, NOTHING, IWire

MIB = 1 << 20


class KeptTests(SynchronousTestCase):
    """
    The last byte stays.
    """

    def setUp(self) -> None:
        """
        One wire.
        """
        self.near, self.far = socket.socketpair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.wire = Kept(self.near)

    def read(self, size: int = MIB, isPeeking: bool = False) -> tuple[bytes, Any]:
        """
        Once.
        """
        data, event = self.wire.read(size, isPeeking)
        return bytes(data), event

    def test_itIsAWire(self) -> None:
        """
        Like others.
        """
        verifyObject(IWire, self.wire)

    def test_theLastByteStaysAndIsReadOnce(self) -> None:
        """
        However many come after it.
        """
        for data in b"x", b"y", b"several", b"z":
            self.far.send(data)
            self.assertEqual(self.read(), (data, None))
            self.assertEqual((unread(self.near), self.wire.isDry), (1, True))
            self.assertEqual(self.read(), (b"", None))
        self.assertEqual(self.wire.received, 10)
        self.near.close()
        self.assertRaises(ConnectionResetError, self.far.recv, 1)

    def test_noMoreIsReadThanIsAskedFor(self) -> None:
        """
        What is left is not taken for what was read.
        """
        self.far.send(b"abcdef")
        for count, expected in ((1, b"a"), (2, b"bc"), (1, b"d")):
            self.assertEqual(self.read(count), (expected, None))
            self.assertFalse(self.wire.isDry)
        self.assertEqual(self.read(2), (b"ef", None))
        self.assertTrue(self.wire.isDry)

    def test_whatIsPeekedAtStays(self) -> None:
        """
        And is new the next time.
        """
        self.far.send(b"a")
        self.read()
        self.far.send(b"bc")
        for _ in range(2):
            self.assertEqual(self.read(1, isPeeking=True), (b"b", None))
            self.assertFalse(self.wire.isDry)
        self.assertEqual(self.wire.received, 1)
        self.assertEqual(self.read(), (b"bc", None))

    def test_nothingStaysOfWhatItsSenderMayNotSpare(self) -> None:
        """
        Of a large piece, in however many reads; the next small one can spare a byte again.
        """
        for size in MOST_KEPT_BYTES + 1, 20000:
            self.far.send(bytes(20000))
            while unread(self.near) > self.wire.kept:
                self.assertLessEqual(len(self.read(size)[0]), size)
            self.assertEqual((self.wire.kept, unread(self.near)), (0, 0))
            self.far.send(bytes(MOST_KEPT_BYTES))
            self.assertEqual(len(self.read()[0]), MOST_KEPT_BYTES)
            self.assertEqual(self.wire.kept, 1)

    def test_aSenderWithALargeBufferCanSpareAnyPiece(self) -> None:
        """
        Once it has shown that it has one.
        """
        sent = self.far.send(bytes(MIB))
        if sent < ROOMY_BYTES:
            self.far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOMY_BYTES)
            sent += self.far.send(bytes(MIB))
        self.assertGreaterEqual(unread(self.near), ROOMY_BYTES)
        self.assertEqual(len(self.read()[0]), sent)
        self.assertEqual(unread(self.near), 1)
        self.far.send(bytes(20000))
        self.assertEqual(len(self.read()[0]), 20000)
        self.assertEqual(unread(self.near), 1)

    def test_theEndComesBehindAll(self) -> None:
        """
        And not before the system has told of it.
        """
        self.far.send(b"x")
        self.far.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read(), (b"x", None))
        self.assertEqual(self.read(), (b"", None))
        self.wire.isEnding = True
        self.assertEqual(self.read(), (b"", END))
        self.assertEqual(unread(self.near), 1)

    def test_aResetComesBehindAllToo(self) -> None:
        """
        Whoever closes with something unread takes no notice of the rest.
        """
        self.near.send(b"unread")
        self.far.send(b"x")
        self.far.close()
        self.wire.isEnding = True
        self.assertEqual(self.read(), (b"x", None))
        self.assertFalse(self.wire.isDry)
        data, event = self.read()
        self.assertEqual(data, b"")
        self.assertIsInstance(event, Reset)

    def test_filesThatAreSentAlongHideNothing(self) -> None:
        """
        A read ends with them, and what is behind them is not forgotten.
        """
        for _ in range(2):
            socket.send_fds(self.far, [b"one"], [self.far.fileno()])
            socket.send_fds(self.far, [b"two"], [self.far.fileno()])
            self.far.send(b"three")
            got = b""
            while not self.wire.isDry or not got:
                got += self.read()[0]
            self.assertEqual(got, b"onetwothree")
            self.assertEqual(unread(self.near), 1)

    def test_aFileThatIsSentWithAByteHidesNothing(self) -> None:
        """
        That byte is left unread, so that the next read ends behind it.
        """
        for isPeeking in False, True:
            socket.send_fds(self.far, [b"1"], [self.far.fileno()])
            self.assertEqual(self.read(), (b"1", None))
            self.far.send(bytes(MOST_KEPT_BYTES + 1))
            if isPeeking:
                self.assertEqual(self.read(1, isPeeking=True), (b"\0", None))
            self.assertEqual(len(self.readAll()), MOST_KEPT_BYTES + 1)

    def readAll(self) -> bytes:
        """
        As a leg does, that is told of news once.
        """
        got = self.read()[0]
        for _ in range(10):
            if self.wire.isDry:
                return got
            got += self.read()[0]
        raise AssertionError("it is never dry")

    def test_anUrgentByteKeepsItsPlace(self) -> None:
        """
        As over TCP.
        """
        for before, behind in (b"", b""), (b"a", b""), (b"", b"bcd"), (b"a", b"bcd"):
            self.far.send(before)
            self.assertEqual(self.read(), (before, None))
            try:
                self.far.send(b"!", socket.MSG_OOB)
            except OSError:
                raise SkipTest("UNIX sockets know no urgent data here") from None
            self.far.send(behind)
            self.assertEqual(self.readAll(), b"!" + behind)
            self.assertEqual(unread(self.near), 1)

    def test_nothingIsLostOrDoubledWhateverIsSentAlong(self) -> None:
        """
        Whenever it is read.
        """

        @settings(max_examples=200, deadline=None)
        @given(
            st.lists(
                st.tuples(
                    st.sampled_from((b"", b"1", b"22", bytes(MOST_KEPT_BYTES), bytes(9000))),
                    st.sampled_from(("alone", "with a file", "urgently")),
                    st.booleans(),
                ),
                max_size=12,
            )
        )
        def check(pieces: list[tuple[bytes, str, bool]]) -> None:
            sent = got = b""
            for piece, how, isRead in pieces:
                if not piece or how == "alone":
                    self.far.send(piece)
                elif how == "with a file":
                    socket.send_fds(self.far, [piece], [self.far.fileno()])
                else:
                    self.far.send(piece, socket.MSG_OOB)
                sent += piece
                if isRead:
                    got += self.readAll()
            self.assertEqual(got + self.readAll(), sent)

        try:
            self.far.send(b"!", socket.MSG_OOB)
        except OSError:
            raise SkipTest("UNIX sockets know no urgent data here") from None
        self.readAll()
        check()

    def test_aSocketThatIsClosedGivesNothing(self) -> None:
        """
        Nor does it raise.
        """
        self.near.close()
        self.assertEqual(self.wire.read(1, False), (NOTHING, None))


class UNIXLegTests(PlainUNIXCase, SynchronousTestCase):
    """
    What only a plain leg on a UNIX socket does.
    """

    marksEnd = False
    leg: UNIXLeg
    far: SocketFarEnd

    def seen(self) -> tuple[bool, bool]:
        """
        Whether the far end sees an end, and a reset, behind whatever there is.
        """
        self.turns()
        self.far.receive()
        return self.far.hasEnd, self.far.hasReset

    def test_anAbortIsAResetForWhoHasSpoken(self) -> None:
        """
        Whether it was read or not.
        """
        for isRead in True, False:
            self.open()
            self.far.send(b"x")
            if isRead:
                self.leg.resumeProducing()
                self.until(lambda: self.speaker.heard)
            self.leg.write(b"half")
            self.leg.abortConnection()
            self.assertEqual(self.seen(), (False, True))

    def test_whoHasSaidNothingIsHeld(self) -> None:
        """
        If it got something, and no end.
        """
        self.open()
        self.leg.write(b"half")
        self.leg.abortConnection()
        self.assertEqual(self.seen(), (False, False))
        self.assertTrue(self.leg.isClosed)
        self.far.send(b"x")
        self.assertEqual(self.seen(), (False, True))

    def test_whoGotNothingOrAllIsNotHeld(self) -> None:
        """
        Nor whoever knows from its protocol.
        """
        self.open()
        self.leg.abortConnection()
        self.assertEqual(self.seen(), (True, False))
        self.open()
        self.leg.write(b"all")
        self.leg.loseWriteConnection()
        self.leg.abortConnection()
        self.assertEqual(self.seen(), (True, False))
        self.legs.renew("", True, 0)
        self.open()
        self.leg.write(b"half")
        self.leg.abortConnection()
        self.assertEqual(self.seen(), (True, False))

    def test_anOrderlyCloseIsNoReset(self) -> None:
        """
        Whoever has spoken, and also ended, sees an end.
        """
        for isEnded in True, False:
            self.open()
            self.leg.resumeProducing()
            self.far.send(b"x")
            if isEnded:
                self.far.end()
                self.until(lambda: self.leg.inputEnded)
            self.until(lambda: self.speaker.heard)
            self.leg.loseConnection()
            self.assertEqual(self.seen(), (True, False))
            self.assertEqual(self.leg.sock.fileno() > -1, not isEnded)

    def test_whatWasPassedOnIsNotPending(self) -> None:
        """
        Though it lies there.
        """
        self.open()
        self.leg.resumeProducing()
        self.far.send(b"x")
        self.until(lambda: self.speaker.heard)
        self.leg.pauseProducing()
        self.assertEqual(self.leg.pendingInput(), b"")
        self.far.send(b"yz")
        self.assertEqual(self.leg.pendingInput(), b"y")
        self.assertEqual(self.leg.pendingInput(9), b"yz")

    def test_itDoesNotSpin(self) -> None:
        """
        The byte that stays is no news.
        """
        self.open()
        self.leg.resumeProducing()
        self.far.send(b"x")
        self.until(lambda: self.speaker.heard)
        self.turns()
        looks: list[UNIXLeg] = []
        self.patch(UNIXLeg, "doRead", looks.append)
        self.turns()
        self.assertEqual(looks, [])

    def test_itIsALegLikeOthersWithoutEpoll(self) -> None:
        """
        There is nothing else to be done.
        """
        self.patch(unixleg, "AVAILABLE", False)
        self.open()
        self.assertIs(type(self.leg), Leg)

    def test_pausesLoseAndDoubleNothing(self) -> None:
        """
        Wherever they fall, whatever the sizes of what is sent and read.
        """

        @settings(max_examples=40, deadline=None)
        @given(
            st.lists(
                st.tuples(
                    st.sampled_from((0, 1, 2, 4095, 4096, 4097, 65536, 65537)),
                    st.sampled_from((1, 3, 4096, 16384, MIB)),
                    st.booleans(),
                ),
                max_size=8,
            ),
            st.booleans(),
        )
        def check(steps: list[tuple[int, int, bool]], pausesItself: bool) -> None:
            self.open()
            if pausesItself:
                self.speaker.then = lambda _: self.leg.pauseProducing()
            self.leg.resumeProducing()
            sent = b""
            for size, readSize, isPaused in steps:
                data = os.urandom(size)
                self.leg.readSize = readSize
                if isPaused:
                    self.leg.pauseProducing()
                while data:
                    try:
                        count = self.far.sock.send(data)
                    except BlockingIOError:
                        self.leg.readSize = max(readSize, 4096)
                        self.leg.resumeProducing()
                        self.turn()
                        continue
                    sent, data = sent + data[:count], data[count:]
                    if not isPaused:
                        self.turn()
                self.leg.resumeProducing()
            self.leg.readSize = MIB
            self.far.end()

            def isOver() -> bool:
                self.leg.resumeProducing()
                return self.leg.inputEnded

            self.until(isOver)
            assert self.speaker.heard == sent
            self.leg.abortConnection()

        check()
