"""
Tests for L{tlstunnel.tunnel.filtering}: what filters may take of a turn of the reactor, and that
everything keeps its order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.tunnel.filterstage import Direction, Turns, Upper
from tlstunnel.errors import Reset, TooManyErrors, TunnelError
from tlstunnel.interfaces import ISpeaker
from tlstunnel.protocols.filters import PIECE_BYTES, Filter
from tlstunnel.protocols.hiding import LineFilter
from tlstunnel.tls.records import RECORD_BYTES
from tlstunnel.tunnel.filtering import MAX_BYTES_PER_TURN, MAX_MESSAGES_PER_TURN, Filtering


class Searching(Filter):
    """
    Searches for a dot, and takes each byte behind it for a message.

    @ivar fed: the lengths of what it was fed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pieceBytes = 4096
        self.fed: list[int] = []
        self.isFound = False

    def feed(self, data: bytes) -> bytes:
        """
        A hundred messages at a time.
        """
        self.fed.append(len(data))
        self._kept += data
        end = len(self._kept)
        if not self.isFound:
            end = self._kept.find(b".") + 1 or end
            self.isFound = self._kept.endswith(b".", 0, end)
            passed = bytes(self._kept[:end])
        else:
            end = min(end, 100)
            self.messages += end
            passed = bytes(self._kept[:end]).upper()
        del self._kept[:end]
        self.pieceBytes = 0 if self._kept else PIECE_BYTES if self.isFound else 4096
        return passed


class Deaf(LineFilter):
    """
    Ends the connection at any line.
    """

    def line(self, line: bytes) -> bytes:
        """
        A line.
        """
        raise TooManyErrors("a line")


class FilteringTests(SynchronousTestCase):
    """
    L{Filtering}.
    """

    def start(self, *filters: Filter, direction: Direction | None = None) -> Filtering:
        """
        Filter a direction.
        """
        self.clock = Turns()
        self.direction = direction or Direction()
        self.source, self.sink = self.direction.source, self.direction.sink
        self.aborted: list[TunnelError] = []
        filtering = Filtering(self.direction, filters, self.clock, self.abort)
        self.source.resumeProducing()
        return filtering

    def abort(self, error: TunnelError) -> None:
        """
        As a relay does.
        """
        self.source.abortConnection()
        self.sink.abortConnection()
        self.aborted.append(error)

    def finish(self) -> int:
        """
        Let all turns happen that there are.

        @return: their number.
        """
        count = 0
        while self.clock.calls or self.source.deliver():
            self.clock.turn()
            count += 1
        return count

    def test_itSpeaksAndProduces(self) -> None:
        """
        On the source, and for the sink.
        """
        filtering = self.start(Upper())
        verifyObject(ISpeaker, filtering)
        verifyObject(IPushProducer, filtering)
        self.assertIs(self.source.speaker, filtering)
        self.assertIs(self.sink.producer, filtering)

    def test_aMessageOrTwoPassAtOnce(self) -> None:
        """
        No turn is needed for what comes within the budget.
        """
        self.start(Upper())
        self.source.feed(b"a\nb\nc")
        self.assertEqual(self.sink.written, b"A\nB\n")
        self.assertEqual(self.clock.calls, [])
        self.assertFalse(self.source.paused)

    def test_messagesInATurnAreLimited(self) -> None:
        """
        A piece more at most; the source is paused meanwhile, and goes on afterwards.
        """
        each = Upper()
        self.start(each)
        self.source.feed(b"x\n" * 3000)
        done = each.messages
        self.assertTrue(self.source.paused)
        most = MAX_MESSAGES_PER_TURN + PIECE_BYTES
        while self.clock.calls:
            self.assertTrue(0 < done <= most, done)
            self.assertTrue(self.source.paused)
            before = each.messages
            self.clock.turn()
            done = each.messages - before
        self.assertEqual(each.messages, 3000)
        self.assertFalse(self.source.paused)
        self.assertEqual(self.sink.written, b"X\n" * 3000)

    def test_bytesInATurnAreLimited(self) -> None:
        """
        Also where they are no message at all.
        """
        seen = []

        class Counting(Filter):
            def feed(self, data: bytes) -> bytes:
                seen.append(len(data))
                return data

        self.start(Counting())
        self.source.readSize = 1 << 20
        self.source.feed(bytes(100_000))
        while self.clock.calls:
            self.assertEqual(sum(seen), MAX_BYTES_PER_TURN)
            self.assertLessEqual(max(seen), PIECE_BYTES)
            seen.clear()
            self.clock.turn()
        self.assertEqual(self.sink.written, bytes(100_000))

    def test_aFilterThatOnlySearchesTakesLargerPieces(self) -> None:
        """
        Of what it lets lie it is asked again, before it is given more.
        """
        each = Searching()
        self.start(each)
        self.source.readSize = 1 << 20
        self.source.feed(b"x" * 100_000 + b"." + b"y" * 5000)
        self.assertEqual(each.fed, [4096] * 4)
        done = 0
        while self.clock.calls:
            each.fed.clear()
            before = each.messages
            self.clock.turn()
            done = each.messages - before
            self.assertLessEqual(done, MAX_MESSAGES_PER_TURN + PIECE_BYTES)
        self.assertEqual(each.messages, 5000)
        self.assertEqual(self.sink.written, b"x" * 100_000 + b"." + b"Y" * 5000)
        self.assertFalse(self.source.paused)

    def test_theSmallestPieceCounts(self) -> None:
        """
        Where one of several filters only searches, and another does not.
        """
        each = Searching()
        self.start(Upper(), each)
        self.source.readSize = 1 << 20
        self.source.feed(b"x\n" * 500)
        self.assertEqual(max(each.fed), PIECE_BYTES)

    def test_theEndWaitsForWhatWasLetLie(self) -> None:
        """
        Nothing passes behind it.
        """
        self.start(Searching())
        self.source.feed(b"." + b"y" * 3000)
        self.source.speaker.readConnectionLost()
        self.assertEqual(self.direction.told, [])
        while self.clock.calls:
            self.clock.turn()
        self.assertEqual(self.sink.written, b"." + b"Y" * 3000)
        self.assertEqual(self.direction.told, ["end"])

    def test_aFilterThatGoesOnForNothingHoldsUpNobody(self) -> None:
        """
        A turn ends nevertheless.
        """

        class Stuck(Filter):
            pieceBytes = 0

        self.start(Stuck())
        self.source.feed(b"x")
        self.assertEqual(len(self.clock.calls), 1)

    def test_theMessagesOfAllFiltersCount(self) -> None:
        """
        Two need twice the turns.
        """
        turns = []
        for filters in ((Upper(),), (Upper(), Upper())):
            self.start(*filters)
            self.source.feed(b"x\n" * 8000)
            turns.append(self.finish())
        self.assertGreaterEqual(turns[1], 2 * turns[0] - 2)

    def test_whatPassesInATurnIsOneWrite(self) -> None:
        """
        Else each message would be a segment, or a record.
        """
        self.start(Upper())
        writes: list[bytes] = []
        self.patch(self.sink, "write", lambda data: writes.append(bytes(data)))
        self.source.feed(b"x\n" * 1000)
        turns = 1 + self.finish()
        self.assertEqual(len(writes), turns)

    def test_readsAreSmallUntilTheFiltersAreGone(self) -> None:
        """
        Then they are large, and nothing stands between the legs any more.
        """
        direction = Direction()
        direction.source.readSize = 1 << 20
        self.start(Upper(), direction=direction)
        self.assertEqual(self.source.readSize, RECORD_BYTES)
        self.source.feed(b"x\n")
        self.assertEqual(self.source.readSize, RECORD_BYTES)
        self.source.feed(b"\nxyz")
        self.assertEqual(self.source.readSize, 1 << 20)
        self.assertIs(self.source.speaker, self.direction)
        self.assertIs(self.sink.producer, self.source)
        self.source.feed(b"\nz")
        self.assertEqual(self.sink.written, b"X\n\nxyz\nz")

    def test_oneFilterGoesAndTheOtherStays(self) -> None:
        """
        What the first kept back passes the second.
        """
        first, second = LineFilter(), Upper()
        self.start(first, second)
        self.source.feed(b"a")
        first.stop()
        self.source.feed(b"b\nc")
        self.assertEqual(self.sink.written, b"AB\n")
        self.source.feed(b"d\n\ne")
        self.assertEqual(self.sink.written, b"AB\nCD\n\ne")
        self.assertIs(self.source.speaker, self.direction)

    def test_theEndWaitsForTheBytesBeforeIt(self) -> None:
        """
        And what was kept back passes before it.
        """
        self.start(Upper())
        self.source.feed(b"x\n" * 3000 + b"last")
        self.source.speaker.readConnectionLost()
        self.assertEqual(self.direction.told, [])
        self.finish()
        self.assertEqual(self.sink.written, b"X\n" * 3000 + b"last")
        self.assertEqual(self.direction.told, ["end"])

    def test_aLossWaitsForTheBytesBeforeIt(self) -> None:
        """
        They arrived, and the other end shall have what can be had.
        """
        self.start(Upper())
        self.source.feed(b"x\n" * 3000)
        self.source.lose(Reset("by the test"))
        self.assertEqual(self.direction.told, [])
        self.finish()
        self.assertEqual(self.sink.written, b"X\n" * 3000)
        self.assertEqual(self.direction.told, ["Reset"])

    def test_aLossIsToldAtOnceWhereNothingWaits(self) -> None:
        """
        Without what was kept back: it was not complete.
        """
        self.start(Upper())
        self.source.feed(b"x\npart")
        self.source.lose(Reset("by the test"))
        self.assertEqual(self.direction.told, ["Reset"])
        self.assertEqual(self.sink.written, b"X\n")

    def test_theLostOutputOfTheSourceIsToldAtOnce(self) -> None:
        """
        It concerns the other direction.
        """
        self.start(Upper())
        self.source.feed(b"x\n" * 3000)
        self.source.speaker.writeConnectionLost()
        self.assertEqual(self.direction.told, ["output"])

    def test_aFilterEndsTheConnection(self) -> None:
        """
        Once, behind what had passed, and is fed no more.
        """
        each = Deaf()
        filtering = self.start(Filter(), each)
        self.source.feed(b"x" * PIECE_BYTES)
        self.source.feed(b"\n" * 3000)
        self.assertEqual([error.reason for error in self.aborted], ["too-many-errors"])
        self.source.speaker.dataReceived(b"\n")
        self.source.speaker.readConnectionLost()
        filtering.resumeProducing()
        self.finish()
        self.assertEqual((len(self.aborted), each.messages), (1, 1))
        self.assertEqual(self.direction.told, [])

    def test_aMistakeInAFilterEndsTheConnection(self) -> None:
        """
        By a name of its own; the log has the traceback.
        """

        class Broken(LineFilter):
            def line(self, line: bytes) -> bytes:
                raise ValueError(line)

            def held(self) -> bytes:
                raise ValueError

        for said in (b"x\n", b"x"):
            self.start(Broken())
            self.source.feed(said)
            self.source.end()
            self.assertEqual([error.reason for error in self.aborted], ["internal"])
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_aSinkThatIsFullStopsTheWork(self) -> None:
        """
        And so the source, until it has sent all.
        """
        filtering = self.start(Upper())
        self.source.feed(b"x\n" * 3000)
        filtering.pauseProducing()
        self.finish()
        written = len(self.sink.written)
        self.assertLess(written, 6000)
        self.assertTrue(self.source.paused)
        filtering.resumeProducing()
        self.finish()
        self.assertEqual(self.sink.written, b"X\n" * 3000)
        self.assertFalse(self.source.paused)

    def test_aSinkThatFillsInATurnIsNotFilledFurther(self) -> None:
        """
        As it does when it cannot send all that it is given.
        """
        filtering = self.start(Upper())
        writes: list[bytes] = []

        def write(data: bytes) -> None:
            writes.append(data)
            filtering.pauseProducing()

        self.patch(self.sink, "write", write)
        self.source.feed(b"x\n" * 3000)
        self.finish()
        for count in range(1, 5):
            self.assertEqual(len(writes), count)
            self.assertTrue(self.source.paused)
            filtering.resumeProducing()
            self.finish()

    def test_aSinkThatEmptiesDoesNotResumeASourceThatIsAhead(self) -> None:
        """
        Else what waits would grow with every read.
        """
        filtering = self.start(Upper())
        self.source.feed(b"x\n" * 3000)
        for _ in range(3):
            filtering.pauseProducing()
            filtering.resumeProducing()
            self.assertTrue(self.source.paused)

    def test_aSinkThatIsFullDoesNotHoldUpTheEnd(self) -> None:
        """
        What a source has said that says no more is limited anyway.
        """
        filtering = self.start(Upper())
        self.source.feed(b"x\n" * 3000)
        filtering.pauseProducing()
        self.source.speaker.readConnectionLost()
        self.finish()
        self.assertEqual(self.direction.told, ["end"])
        self.assertEqual(self.sink.written, b"X\n" * 3000)

    def test_aSinkThatWasFullBeforeIsWaitedFor(self) -> None:
        """
        It still has what was sent before the relay.
        """
        direction = Direction()
        direction.sink.capacity = 0
        direction.sink.write(b"before")
        filtering = self.start(Upper(), direction=direction)
        filtering.dataReceived(b"x\n")
        self.assertEqual(self.direction.sink.written, b"")
        self.direction.sink.capacity = None
        filtering.resumeProducing()
        self.assertEqual(self.direction.sink.written, b"beforeX\n")

    def test_whatTheSinkDoesNotTakeIsDropped(self) -> None:
        """
        The filters see nothing of it, and the source is read to its end.
        """
        each = Upper()
        self.start(each)
        self.source.feed(b"x\n" * 3000)
        before = each.messages
        self.direction.ended = True
        self.finish()
        self.source.feed(b"x\n" * 3000)
        self.source.end()
        self.assertEqual(each.messages, before)
        self.assertEqual(self.direction.told, ["end"])

    def test_nothingHappensOnceTheLegsAreClosed(self) -> None:
        """
        Also where a turn was still to come.
        """
        each = Upper()
        self.start(each)
        self.source.feed(b"x\n" * 3000)
        before = each.messages
        self.source.loseConnection()
        self.sink.loseConnection()
        self.assertEqual(self.finish(), 1)
        self.assertEqual(each.messages, before)
        self.assertEqual(self.direction.told, [])

    @settings(deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=40).map(lambda data: ("feed", data)),
                st.integers(0, 900).map(lambda count: ("feed", b"y\n" * count)),
                st.sampled_from(["pause", "resume", "turn"]).map(lambda name: (name, b"")),
            ),
            max_size=30,
        )
    )
    def test_whateverHappensAllArrivesOnceAndInOrder(self, events: list[tuple[str, bytes]]) -> None:
        """
        As one filter alone would have it, and then the end.
        """
        filtering = self.start(Upper())
        said = b"".join(data for _, data in events)
        alone = Upper()
        expected = alone.feed(said) + alone.flush()
        does: dict[str, Callable[[Any], object]] = {
            "feed": self.source.feed,
            "pause": lambda _: filtering.pauseProducing(),
            "resume": lambda _: filtering.resumeProducing(),
            "turn": lambda _: self.clock.turn(),
        }
        for name, data in events:
            does[name](data)
            self.assertTrue(expected.startswith(self.sink.written))
        self.source.end()
        filtering.resumeProducing()
        does["resume"](b"")
        self.finish()
        self.assertEqual(self.sink.written, expected)
        self.assertEqual(self.direction.told, ["end"])
