"""
The part of the conformance suite that both roles share: see L{tlstunnel.testing.conformance}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tlstunnel.errors import Oversize, PlaintextAfterStartTLS, Reset, TimedOut, TunnelError
from tlstunnel.testing.course import Course, dialsEarly
from tlstunnel.testing.dialogues import crumbs, split
from tlstunnel.testing.memory import Driver
from tlstunnel.tls.records import RECORD_BYTES

#: What TLS begins with.
CLIENT_HELLO = bytes.fromhex("16030100050100000100")

#: Seconds that a handshake may take.
HANDSHAKE = 15.0

#: Connections that are fed with garbage, for each role.
GARBAGE = 100

# More than any limit there is.
_TOO_MUCH = 1 << 19

_EXTRAS = (
    b"x",
    b" ",
    b"\r\n",
    b"\0",
    CLIENT_HELLO,
    b" " + CLIENT_HELLO,
    b"* OK\r\n",
    b"RSET\r\n",
    b"220 go\r\n",
)

_EDITS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9), st.binary(max_size=9)))


def edited(text: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    """
    C{text}, some of which was replaced.
    """
    for at, count, put in edits:
        at %= len(text) + 1
        text = text[:at] + put + text[at + count :]
    return text


class Rules(Course):
    """
    What holds in both roles.
    """

    def test_itReachesTheSwitchAndTheRelay(self) -> None:
        """
        Up to the switch nothing of either side has passed to the other, and no backend was
        dialled; every word that is said is that of the dialogue (rules 1, 2).
        """
        driver = self.start(len(self.dialogue))
        self.assertSwitched(driver)
        assert not driver.backendDialled or dialsEarly(driver)
        self.go(driver, len(self.dialogue), len(self.whole))
        self.arrive(driver)
        assert driver.stage == "relay", driver.error
        assert driver.network.written == b"", driver.network.written
        assert driver.plain.written == b"", driver.plain.written

    def test_segmentsDoNotMatter(self) -> None:
        """
        However it is cut, the outcome is the same, and nothing is said to a message that is not
        complete (rules 9, 17).
        """
        for place in self.heard():
            who, text = self.whole[place]
            for pieces in split(text):
                driver = self.awaiting(place)
                for piece in pieces:
                    assert driver.error is None, (pieces, driver.error)
                    if place < len(self.dialogue):
                        assert driver.network.written + driver.plain.written == b"", pieces
                    driver.feed(who, piece)
                self.go(driver, place + 1, len(self.whole))
                self.arrive(driver)
                assert driver.stage == "relay", (pieces, driver.error)

    def test_pausesDoNotMatter(self) -> None:
        """
        Byte by byte, with some time between them, and a long one before the greeting (rule 17).
        """
        driver = self.start()
        for place, (who, text) in enumerate(self.whole):
            if place == len(self.dialogue):
                self.enter(driver)
            if place not in self.heard():
                driver.play(self.whole[place : place + 1])
                continue
            for at in range(len(text)):
                driver.clock.advance(0.01)
                driver.feed(who, text[at : at + 1])
        self.arrive(driver)
        assert driver.stage == "relay", driver.error

    def test_messagesThatComeTogetherAreTakenApart(self) -> None:
        """
        All that the peer says in clear may come in one segment (rule 17).
        """
        if not self.pipelined:
            return
        places = self.heardInClear()
        driver = self.start()
        for place in range(len(self.dialogue)):
            if place in places[:1]:
                driver.network.feed(b"".join(self.whole[each][1] for each in places))
            elif place not in places:
                driver.play(self.whole[place : place + 1])
        self.assertSwitched(driver)

    def test_otherWordsForTheSameLeadToTheSame(self) -> None:
        """
        What is advertised decides nothing, and nothing of it is remembered inside TLS (rules 5, 6).
        """
        for place, words in self.variants:
            who = self.speaker(place)
            for pieces in ((words,), crumbs(words)):
                driver = self.awaiting(place)
                for piece in pieces:
                    assert driver.error is None, (words, driver.error)
                    driver.feed(who, piece)
                self.go(driver, place + 1, len(self.whole))
                self.arrive(driver)
                assert driver.stage == "relay", (words, driver.error)
                assert driver.network.written + driver.plain.written == b"", words

    # The switch

    def test_nothingMayFollowTheLastMessage(self) -> None:
        """
        One byte in the same segment is too much, whether the buffer has it or still the socket,
        and whatever the segments before: the peer gets no go-ahead, but a reset (rule 3).
        """
        last = self.lastWords()
        if last is None:
            return
        place, text = last
        for extra in _EXTRAS:
            for size in (RECORD_BYTES, len(text)):
                driver = self.start(place)
                if not driver.role.exact:
                    driver.network.readSize = size
                driver.network.feed(text + extra)
                self.checkFollowed(driver, extra)
        for cut in range(1, len(text)):
            driver = self.start(place)
            driver.network.feed(text[:cut])
            driver.network.feed(text[cut:] + _EXTRAS[0])
            self.checkFollowed(driver, _EXTRAS[0])

    def checkFollowed(self, driver: Driver, extra: bytes) -> None:
        """
        What became of a connection on which C{extra} followed in the same segment.
        """
        if self.tlsMayFollow:
            self.assertSwitched(driver, extra)
            self.checkLeftToTLS(driver, extra)
        else:
            self.assertFailed(driver, PlaintextAfterStartTLS, extra)
            assert driver.network.ending == "aborted", extra
            if self.mode == "server":
                assert driver.network.written == b"", (driver.network.written, extra)

    def test_whatFollowsLaterReachesNothingButTLS(self) -> None:
        """
        In the next segment it is no plaintext any more: TLS will not like it (rule 3).
        """
        for extra in _EXTRAS:
            driver = self.start(len(self.dialogue))
            driver.network.feed(extra)
            self.assertSwitched(driver, extra)
            self.checkLeftToTLS(driver, extra)

    def checkLeftToTLS(self, driver: Driver, extra: bytes) -> None:
        """
        C{extra} is in the socket for OpenSSL, and in nothing else.
        """
        assert driver.network.pendingInput(1000) == extra, extra
        assert driver.role.unread == b"", extra
        self.go(driver, len(self.dialogue), len(self.whole))
        self.arrive(driver)
        driver.network.takeWritten()
        assert driver.stage == "relay", driver.error
        assert driver.plain.written == b"", (extra, driver.plain.written)

    def test_insideTLSAllBytesPass(self) -> None:
        """
        In both directions, whatever they are; no limit applies any more (rules 7, 8, 14).
        """
        driver = self.start(len(self.whole))
        self.arrive(driver)
        first, answer = self.payload
        asking, answering = (
            (driver.plain, driver.network)
            if self.mode == "client"
            else (driver.network, driver.plain)
        )
        driver.clock.advance(1e6)
        for _ in range(3):
            asking.feed(first)
            assert answering.takeWritten() == first
            answering.feed(answer)
            assert asking.takeWritten() == answer
        driver.clock.advance(1e6)
        assert driver.error is None and not driver.ended, driver.error

    # Who says nothing, or too little, or too much

    def test_silenceEndsInEveryState(self) -> None:
        """
        Not earlier than it may, and no later (rule 8).
        """
        for place in self.heard():
            driver = self.awaiting(place)
            if driver.stage == "relay":
                continue
            limit = self.limitAt(place)
            driver.clock.advance(limit - 2)
            assert driver.error is None, (place, driver.error)
            driver.clock.advance(2.1)
            self.assertFailed(driver, TimedOut, place)

    def test_aHandshakeThatHangsEnds(self) -> None:
        """
        After some time in all (rule 8).
        """
        driver = self.start(len(self.dialogue))
        driver.clock.advance(HANDSHAKE - 0.1)
        self.assertSwitched(driver)
        driver.clock.advance(0.2)
        self.assertFailed(driver, TimedOut)

    def test_whoDripsGetsNoMoreTime(self) -> None:
        """
        Limits count from a fixed start (rule 8).
        """
        for place in self.heard():
            who, text = self.whole[place]
            driver = self.awaiting(place)
            step = (self.limitAt(place) - 2) / len(text)
            for at in range(len(text) - 1):
                driver.clock.advance(step)
                driver.feed(who, text[at : at + 1])
                assert driver.error is None, (place, driver.error)
            if driver.stage != "relay":
                driver.clock.advance(step + 2.1)
                self.assertFailed(driver, TimedOut, place)

    def test_theEndIsAFailureInEveryState(self) -> None:
        """
        After every byte that whoever is waited for can have sent (rules 4, 17).
        """
        for place in self.heard():
            who, text = self.whole[place]
            for length in range(len(text)):
                driver = self.awaiting(place)
                driver.feed(who, text[:length])
                if driver.stage == "relay":
                    break
                (driver.network if who in "CS" else driver.plain).end()
                self.assertFailed(driver, TunnelError, place, length)
                assert driver.error is not None
                assert driver.error.reason == "closed", driver.error

    def test_aResetIsAFailureInEveryState(self) -> None:
        """
        Of the peer on the network (rule 4).
        """
        for place in self.states():
            driver = self.start(place)
            if driver.network.speaker is not None:
                driver.network.reset()
                self.assertFailed(driver, Reset, place)

    def test_endlessWordsAreNotKept(self) -> None:
        """
        Whatever somebody says without an end, it ends before much memory was taken (rule 8).
        """
        generic = (b"x", b"\n", b"\r\n", b"\0", b"<", b"x\r\n", b"\xff", b"0\x82\xff\xff")
        pieces = [(place, piece) for place in self.heard() for piece in generic]
        for place, piece in [*pieces, *self.endless]:
            driver = self.awaiting(place)
            if driver.stage == "relay":
                continue
            self.flood(driver, place, piece)
            if (place, piece) in self.endless:
                assert isinstance(driver.error, Oversize), (place, piece, str(driver.error))

    def flood(self, driver: Driver, place: int, piece: bytes) -> None:
        """
        Say C{piece} again and again; it must end.
        """
        who = self.speaker(place)
        conversation = driver.role if who in "CS" else driver.role.plain
        chunk = piece * max(1, 1000 // len(piece))
        said = 0
        while driver.error is None and driver.stage != "relay":
            assert said < _TOO_MUCH, (place, piece)
            driver.feed(who, chunk)
            said += len(chunk)
            kept = len(conversation.unread)
            assert kept <= conversation.maxBytes + RECORD_BYTES, (place, piece, kept)
        assert said <= conversation.maxBytes + 2 * RECORD_BYTES, (place, piece, said)

    # Garbage

    def test_noGarbageBreaksAnything(self) -> None:
        """
        Any bytes in any state end in one of our own errors, or in patience; and nobody hears of
        them before the peer is verified (rules 1, 2, 4, 12).
        """
        hears = any(who == "T" for who, _ in self.dialogue)
        places = self.heard() or [0]

        @settings(deadline=None, max_examples=GARBAGE, database=None)
        @given(st.sampled_from(places), st.binary(max_size=60), _EDITS, st.booleans())
        def feed(place: int, garbage: bytes, edits: Any, edit: bool) -> None:
            driver = self.awaiting(place)
            if not self.heard():
                return
            who, text = self.whole[place]
            driver.feed(who, edited(text, edits) if edit else garbage)
            (driver.network if who in "CS" else driver.plain).end()
            assert driver.error is None or driver.error.reason != "internal", driver.error
            if not driver.network.handshaken:
                assert hears or driver.plain.written == b"", driver.plain.written
                assert not driver.backendDialled or dialsEarly(driver)
            if driver.error is not None:
                driver.plain.takeWritten()
                self.assertFailed(driver, TunnelError)

        feed()

    def test_noGarbageInsideTLSBreaksAnything(self) -> None:
        """
        Whatever either side says once both may speak, it passes, or ends with one of our errors.
        """

        @settings(deadline=None, max_examples=GARBAGE, database=None)
        @given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40), st.booleans())))
        def feed(words: list[tuple[bool, bytes, bool]]) -> None:
            driver = self.start(len(self.whole))
            self.arrive(driver)
            for fromNetwork, text, isLine in words:
                leg = driver.network if fromNetwork else driver.plain
                leg.feed(text + b"\r\n" * isLine)
            driver.network.end()
            driver.plain.end()
            assert driver.ended
            assert driver.error is None or driver.error.reason != "internal", driver.error

        feed()
