"""
The part of the conformance suite that is about peers that say nothing, or too little, or too much,
or garbage: see L{tlstunnel.testing.conformance}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlstunnel.errors import Oversize, Reset, TimedOut, TunnelError
from tlstunnel.testing.course import Course, became, dialsEarly
from tlstunnel.testing.memory import Driver
from tlstunnel.testing.pointers import lookAt
from tlstunnel.tls.records import RECORD_BYTES

#: Seconds that a handshake may take.
HANDSHAKE_SECONDS = 15.0

#: Connections that are fed with garbage, for each role.
GARBAGE_EXAMPLES = 100

# However slow the machine is.
_GARBAGE = settings(
    deadline=None,
    max_examples=GARBAGE_EXAMPLES,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# More than any limit there is.
_FLOOD_BYTES = 1 << 19

_EDITS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9), st.binary(max_size=9)))


def edited(text: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    """
    C{text}, some of which was replaced.
    """
    for at, count, put in edits:
        at %= len(text) + 1
        text = text[:at] + put + text[at + count :]
    return text


class Bounds(Course):
    """
    What ends a connection in both roles.
    """

    @lookAt(
        "which method reads: a greeting is for readGreeting, also where it is the go-ahead; "
        "the rest for negotiate; see limitAt",
        8,
    )
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
            self.assertGoesOn(driver, place, f"{limit - 2:g} s")
            driver.clock.advance(2.1)
            self.assertFailed(driver, TimedOut, place)

    @lookAt("switch, if it was overridden", 8)
    def test_aHandshakeThatHangsEnds(self) -> None:
        """
        After some time in all (rule 8).
        """
        driver = self.start(len(self.dialogue))
        driver.clock.advance(HANDSHAKE_SECONDS - 0.1)
        self.assertSwitched(driver)
        driver.clock.advance(0.2)
        self.assertFailed(driver, TimedOut)

    @lookAt(
        "which method reads: a greeting is for readGreeting, the rest for negotiate; see limitAt",
        8,
    )
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
                self.assertGoesOn(driver, place, text[: at + 1])
            if driver.stage != "relay":
                driver.clock.advance(step + 2.1)
                self.assertFailed(driver, TimedOut, place)

    @lookAt("what catches errors: reading raises Closed, which is to pass", 4, 17)
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
                assert driver.error.reason == "closed", f"the end is no {driver.error}"
                self.assertBlames(driver, who, place, length)

    @lookAt("what catches errors: reading raises Reset, which is to pass", 4)
    def test_aResetIsAFailureInEveryState(self) -> None:
        """
        Of the peer on the network (rule 4).
        """
        for place in self.states():
            driver = self.start(place)
            if driver.network.speaker is not None:
                driver.network.reset()
                self.assertFailed(driver, Reset, place)
                self.assertBlames(driver, "S" if self.mode == "client" else "C", place)

    @lookAt("maxLine, maxLines and maxBytes, and loops that read without them", 8)
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
                self.assertFailed(driver, Oversize, place, piece)

    def flood(self, driver: Driver, place: int, piece: bytes) -> None:
        """
        Say C{piece} again and again; it must end.
        """
        who = self.speaker(place)
        conversation = driver.role if who in "CS" else driver.role.plain
        chunk = piece * max(1, 1000 // len(piece))
        said = 0
        while driver.error is None and driver.stage != "relay":
            assert said < _FLOOD_BYTES, f"{piece!r} at {place} may be said for ever"
            driver.feed(who, chunk)
            said += len(chunk)
            kept = len(conversation.unread)
            assert kept <= conversation.maxBytes + RECORD_BYTES, (
                f"{kept} bytes are kept of {piece!r}"
            )
        assert said <= conversation.maxBytes + 2 * RECORD_BYTES, (
            f"{said} bytes are heard of {piece!r}"
        )

    # Garbage

    @lookAt(
        "what parses: whatever is wrong has to be a TunnelError; the log has the traceback of"
        " what is not",
        4,
        12,
    )
    def test_noGarbageBreaksAnything(self) -> None:
        """
        Any bytes in any state end in one of our own errors, or in patience; and nobody hears of
        them before the peer is verified (rules 1, 2, 4, 12).
        """
        hears = any(who == "T" for who, _ in self.dialogue)
        places = self.heard() or [0]

        @_GARBAGE
        @given(st.sampled_from(places), st.binary(max_size=60), _EDITS, st.booleans())
        def feed(place: int, garbage: bytes, edits: Any, edit: bool) -> None:
            driver = self.awaiting(place)
            if not self.heard():
                return
            who, text = self.whole[place]
            driver.feed(who, edited(text, edits) if edit else garbage)
            (driver.network if who in "CS" else driver.plain).end()
            assert driver.error is None or driver.error.reason != "internal", became(driver)
            if not driver.network.handshaken:
                if not hears:
                    self.assertSilent(driver.plain, "the plain leg", place)
                assert not driver.backendDialled or dialsEarly(driver), "the backend was dialled"
            if driver.error is not None:
                driver.plain.takeWritten()
                self.assertFailed(driver, TunnelError)
                self.assertBlames(driver, who, place)

        feed()

    @lookAt(
        "the filters in toPlain and toNetwork, and whether they raise anything but a TunnelError",
        7,
    )
    def test_noGarbageInsideTLSBreaksAnything(self) -> None:
        """
        Whatever either side says once both may speak, it passes, or ends with one of our errors.
        """

        @_GARBAGE
        @given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40), st.booleans())))
        def feed(words: list[tuple[bool, bytes, bool]]) -> None:
            driver = self.start(len(self.whole))
            self.arrive(driver)
            for fromNetwork, text, isLine in words:
                leg = driver.network if fromNetwork else driver.plain
                leg.feed(text + b"\r\n" * isLine)
            driver.network.end()
            driver.plain.end()
            assert driver.ended, "both sides have ended, and it goes on"
            assert driver.error is None or driver.error.reason != "internal", became(driver)

        feed()
