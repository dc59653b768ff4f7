"""
Tests for L{tlstunnel.protocols.conversation}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tlstunnel.errors import Closed, Malformed, Oversize, Reset, TimedOut, TunnelError
from tlstunnel.interfaces import ITranscript
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.conversation import (
    HIDDEN,
    MAX_HELD_BYTES,
    MAX_PIECES_PER_TURN,
    Conversation,
)
from tlstunnel.testing.dialogues import split
from tlstunnel.testing.legs import MemoryLeg


class ConversationTests(SynchronousTestCase):
    """
    A conversation on a leg in memory.
    """

    def setUp(self) -> None:
        """
        A conversation, connected.
        """
        self.clock = Clock()
        self.conversation, self.leg = self.connect(Conversation)

    def connect(self, kind: type[Conversation]) -> tuple[Conversation, MemoryLeg]:
        """
        One more.
        """
        conversation, leg = kind(Deadlines(self.clock)), MemoryLeg()
        leg.speaker = conversation
        conversation.makeConnection(leg)
        return conversation, leg

    def run_(self, coroutine: Any) -> Deferred[Any]:
        """
        Run a coroutine as far as it goes.
        """
        return Deferred.fromCoroutine(coroutine)

    def test_aLineEndsWithLF(self) -> None:
        """
        One CR before it is removed with it (rule 16).
        """
        self.leg.feed(b"one\r\ntwo\nthree")
        self.assertEqual(self.successResultOf(self.run_(self.conversation.readLine())), b"one")
        self.assertEqual(self.successResultOf(self.run_(self.conversation.readLine())), b"two")
        pending = self.run_(self.conversation.readLine())
        self.assertNoResult(pending)
        self.leg.feed(b"\n")
        self.assertEqual(self.successResultOf(pending), b"three")

    def test_aTranscriptHasEverythingOnce(self) -> None:
        """
        Also what was read in parts, and put back.
        """
        told: list[tuple[str, bytes]] = []

        @implementer(ITranscript)
        class Transcript:
            def received(self, data: bytes) -> None:
                told.append(("received", data))

            def sent(self, data: bytes) -> None:
                told.append(("sent", data))

            def end(self, unread: bytes) -> None:
                raise NotImplementedError

        self.conversation.transcript = Transcript()
        self.leg.feed(b"EH")
        self.conversation.putBack(self.successResultOf(self.run_(self.conversation.readSome())))
        self.leg.feed(b"LO a\r\nrest")
        self.successResultOf(self.run_(self.conversation.readLine()))
        self.conversation.sendLine(b"250 a")
        self.conversation.isSecret = True
        self.conversation.write(b"secret")
        self.assertEqual(
            told,
            [
                ("received", b"EH"),
                ("received", b"LO a\r\n"),
                ("sent", b"250 a\r\n"),
                ("sent", HIDDEN),
            ],
        )

    def test_aBareCRorANULIsMalformed(self) -> None:
        """
        Neither can hide anything in a line (rule 16).
        """
        for line in (b"a\rb\n", b"a\r\r\n", b"a\0b\n"):
            self.leg.feed(line)
            self.failureResultOf(self.run_(self.conversation.readLine()), Malformed)

    def test_whatCanBeNoLineIsNotReadToItsEnd(self) -> None:
        """
        Whoever speaks binary may never send one; the line may begin with what is fine, in whatever
        pieces it comes.
        """
        for start in (b"a\rb", b"a\r\r", b"\0", b"ab\0c", b"\0" + b"x" * Conversation.maxLine):
            for pieces in ((start,), *split(start[:4])):
                conversation, leg = self.connect(Conversation)
                pending = self.run_(conversation.readLine())
                for piece in pieces:
                    leg.feed(piece)
                self.failureResultOf(pending, Malformed)

    def test_aLineMayBeCutBehindItsCR(self) -> None:
        """
        LF is still to come.
        """
        pending = self.run_(self.conversation.readLine())
        self.leg.feed(b"a\r")
        self.assertNoResult(pending)
        self.leg.feed(b"\n")
        self.assertEqual(self.successResultOf(pending), b"a")

    def test_aLongLineIsRefusedAsSoonAsItIsTooLong(self) -> None:
        """
        Nobody waits for its end.
        """
        pending = self.run_(self.conversation.readLine())
        self.leg.feed(b"x" * (Conversation.maxLine - 1))
        self.assertNoResult(pending)
        self.leg.feed(b"x")
        self.failureResultOf(pending, Oversize)

    def test_aLineOfExactlyTheLimitIsRead(self) -> None:
        """
        The limit counts the line's end.
        """
        self.leg.feed(b"x" * (Conversation.maxLine - 2) + b"\r\n")
        line = self.successResultOf(self.run_(self.conversation.readLine()))
        self.assertEqual(len(line), Conversation.maxLine - 2)

    def test_tooManyLinesAreRefused(self) -> None:
        """
        The number of lines is limited.
        """
        self.leg.feed(b"\n" * (Conversation.maxLines + 1))
        for _ in range(Conversation.maxLines):
            self.successResultOf(self.run_(self.conversation.readLine()))
        pending = self.run_(self.conversation.readLine())
        self.clock.advance(0)
        self.failureResultOf(pending, Oversize)

    def test_ofManyPiecesSomeAreReadInEachTurn(self) -> None:
        """
        Though all have arrived at once; and then as many again.
        """
        read: list[bytes] = []

        async def readAll() -> None:
            while True:
                read.append(await self.conversation.readExactly(1))

        pending = self.run_(readAll())
        self.addCleanup(pending.cancel)
        pending.addErrback(lambda _: None)
        self.leg.feed(bytes(3 * MAX_PIECES_PER_TURN))
        for turn in range(1, 4):
            self.assertEqual(len(read), turn * MAX_PIECES_PER_TURN)
            turns, self.clock.calls = self.clock.calls, []
            for call in turns:
                call.func()
        self.assertEqual(self.clock.calls, [])

    def test_whatIsLostBetweenTwoTurnsIsHeardOf(self) -> None:
        """
        Whoever waits for the next turn waits for the connection, too.
        """
        self.leg.feed(bytes(MAX_PIECES_PER_TURN + 1))
        for _ in range(MAX_PIECES_PER_TURN):
            self.successResultOf(self.run_(self.conversation.readExactly(1)))
        pending = self.run_(self.conversation.readExactly(1))
        self.assertNoResult(pending)
        self.leg.reset()
        self.failureResultOf(pending, Reset)
        self.clock.advance(0)

    def test_tooManyBytesAreRefused(self) -> None:
        """
        The number of bytes in all is limited, whatever they are read as.
        """
        for _ in range(Conversation.maxBytes // 1024):
            self.leg.feed(b"x" * 1024)
            self.successResultOf(self.run_(self.conversation.readExactly(1024)))
        pending = self.run_(self.conversation.readExactly(1))
        self.failureResultOf(pending, Oversize)

    def test_aClaimedLengthIsRefusedBeforeItArrives(self) -> None:
        """
        No memory is set aside for what a peer claims.
        """
        self.failureResultOf(self.run_(self.conversation.readExactly(1 << 40)), Oversize)

    def test_nobodyReadingBoundsWhatIsHeld(self) -> None:
        """
        What arrives while nobody reads is kept up to a limit, then the leg is paused (rule 2).
        """
        for _ in range(MAX_HELD_BYTES // 8192 + 4):
            self.leg.feed(b"x" * 8192)
        self.assertTrue(self.leg.paused)
        self.assertEqual(len(self.conversation.takeRest()), MAX_HELD_BYTES)

    def test_theEndOfInputFailsAReadThatWaits(self) -> None:
        """
        Who waits learns that nothing comes.
        """
        pending = self.run_(self.conversation.readLine())
        self.leg.feed(b"half a li")
        self.leg.end()
        error = self.failureResultOf(pending, Closed).value
        self.assertEqual(error.said, b"half a li")

    def test_whatArrivedBeforeTheEndCanStillBeRead(self) -> None:
        """
        The end comes last.
        """
        self.leg.feed(b"line\n")
        self.leg.end()
        self.assertEqual(self.successResultOf(self.run_(self.conversation.readLine())), b"line")
        self.failureResultOf(self.run_(self.conversation.readLine()), Closed)

    def test_aLossFailsThePendingReadAndEveryLaterOne(self) -> None:
        """
        A lost connection stays lost.
        """
        pending = self.run_(self.conversation.readLine())
        self.leg.lose(Reset("gone"))
        self.failureResultOf(pending, Reset)
        self.failureResultOf(self.run_(self.conversation.readLine()), Reset)

    def test_aLossWhileNobodyReadsIsTold(self) -> None:
        """
        Whoever is responsible need not wait for the next read.
        """
        told: list[TunnelError] = []
        self.conversation.whenLost = told.append
        self.leg.lose(Reset("gone"))
        self.assertEqual([error.reason for error in told], ["reset"])

    def test_trafficDoesNotExtendADeadline(self) -> None:
        """
        A peer that drips is cut off like one that is silent (rule 8).
        """

        async def talk() -> None:
            with self.conversation.within(10, "talking"):
                await self.conversation.readLine()

        pending = self.run_(talk())
        for _ in range(9):
            self.clock.advance(1)
            self.leg.feed(b"x")
        self.assertNoResult(pending)
        self.clock.advance(1)
        self.failureResultOf(pending, TimedOut)

    def test_aDeadlineIsForgottenWhenItsBlockEnds(self) -> None:
        """
        It does not strike later.
        """

        async def talk() -> bytes:
            with self.conversation.within(10, "talking"):
                await self.conversation.readLine()
            return await self.conversation.readLine()

        pending = self.run_(talk())
        self.leg.feed(b"first\n")
        self.clock.advance(100)
        self.leg.feed(b"second\n")
        self.assertEqual(self.successResultOf(pending), b"second")

    def test_exactReadingLeavesTheRestInTheSocket(self) -> None:
        """
        Where TLS may follow at once, nothing of it is read (rule 3).
        """

        class Exact(Conversation):
            exact = True

        conversation, leg = self.connect(Exact)
        pending = self.run_(conversation.readExactly(8))
        leg.feed(b"request!\x16\x03\x01")
        leg.deliver()
        self.assertEqual(self.successResultOf(pending), b"request!")
        self.assertEqual(conversation.takeRest(), b"")
        self.assertEqual(leg.pendingInput(10), b"\x16\x03\x01")

    def test_residueShowsWhatIsReadAndWhatIsNot(self) -> None:
        """
        The check at the switch sees the buffer and the socket (rule 3).
        """
        self.leg.feed(b"line\nrest")
        self.successResultOf(self.run_(self.conversation.readLine()))
        self.assertEqual(self.conversation.residue, b"rest")
        self.conversation.takeRest()
        self.assertEqual(self.conversation.residue, b"")
        self.leg.pauseProducing()
        self.leg.feed(b"unread")
        self.assertEqual(self.conversation.residue, b"unread")

    def test_whatIsPutBackIsReadAgain(self) -> None:
        """
        A look ahead takes nothing away.
        """
        self.leg.feed(b"line\n")
        data = self.successResultOf(self.run_(self.conversation.readSome()))
        self.conversation.putBack(data)
        self.assertEqual(self.successResultOf(self.run_(self.conversation.readLine())), b"line")

    def test_silenceIsReadAsNothing(self) -> None:
        """
        Once it has lasted; what arrives before is read at once, and the loss of the leg is an error
        at any time.
        """
        silent = self.run_(self.conversation.readWithin(5))
        self.clock.advance(4)
        self.assertNoResult(silent)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(silent), b"")
        broken = self.run_(self.conversation.readWithin(5))
        self.clock.advance(4)
        self.leg.feed(b"4")
        self.assertEqual(self.successResultOf(broken), b"4")
        lost = self.run_(self.conversation.readWithin(5))
        self.leg.lose(Reset("x"))
        self.failureResultOf(lost, Reset)

    @given(st.lists(st.binary(max_size=20), max_size=20), st.data())
    def test_segmentationIsIrrelevant(self, lines: list[bytes], data: st.DataObject) -> None:
        """
        However a stream is cut, the same lines are read, or the same failure is met (rule 17).
        """
        stream = b"\n".join(lines)
        whole = self.readAll([stream])
        cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=10)))
        pieces = [stream[i:j] for i, j in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        self.assertEqual(self.readAll(pieces), whole)
        self.assertEqual(self.readAll([bytes([byte]) for byte in stream]), whole)

    def readAll(self, pieces: list[bytes]) -> list[bytes | str]:
        """
        All lines of a stream that arrives in C{pieces}, and how it ended.
        """
        conversation, leg = self.connect(Conversation)
        read: list[bytes | str] = []

        async def reading() -> None:
            try:
                while True:
                    read.append(await conversation.readLine())
            except TunnelError as error:
                read.append(error.reason)

        done = self.run_(reading())
        for piece in pieces:
            leg.feed(piece)
        leg.end()
        self.successResultOf(done)
        return read
