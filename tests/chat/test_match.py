"""
Matching: the same answers as one byte after the other, from any chunks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.chat.match import Found, Reports, Window


def byteByByte(
    data: bytes, expected: bytes, aborts: Sequence[bytes], reports: list[bytes]
) -> tuple[Found | None, list[bytes]]:
    """What chat(8) does, word for word."""
    window = b""
    logged: list[bytes] = []
    gathered: bytes | None = None
    for byte in data:
        window += bytes([byte])
        if gathered is None:
            for report in reports:
                if window.endswith(report):
                    gathered = report
                    reports = [other for other in reports if other is not report]
                    break
        elif byte < 0x20 or byte == 0x7F:
            logged.append(gathered)
            gathered = None
        else:
            gathered += bytes([byte])
        if window.endswith(expected):
            return Found(len(window), None), logged
        for index, abort in enumerate(aborts):
            if window.endswith(abort):
                return Found(len(window), index), logged
    return None, logged


def inChunks(
    chunks: Sequence[bytes], expected: bytes, aborts: Sequence[bytes], strings: Sequence[bytes]
) -> tuple[Found | None, list[bytes]]:
    """What a L{Window} does; what was consumed counts from the start."""
    reports = Reports()
    for string in strings:
        reports.add(string)
    window = Window(expected, aborts, reports)
    before = 0
    logged = []
    for chunk in chunks:
        found = window.feed(chunk)
        logged += window.reported
        if found is not None:
            return Found(before + found.consumed, found.abort), logged
        before += len(chunk)
    return None, logged


def find(data: bytes, expected: bytes, *aborts: bytes) -> Found | None:
    """What is found in C{data}, in one chunk."""
    return inChunks([data], expected, aborts, [])[0]


_string = st.text("ab\n", min_size=1, max_size=4).map(str.encode)


class Matching(SynchronousTestCase):
    """
    Which string ends first, and what is consumed.
    """

    def test_nothingBehindTheMatchIsConsumed(self) -> None:
        """This makes the hand-over to TLS exact."""
        self.assertEqual(find(b"xx220 ok", b"220 "), Found(6, None))

    def test_expectWinsOverAbortOnTheSameByte(self) -> None:
        """As in chat(8)."""
        self.assertEqual(find(b"ab", b"ab", b"ab"), Found(2, None))
        self.assertEqual(find(b"ab", b"b", b"ab"), Found(2, None))

    def test_abortThatEndsEarlierWins(self) -> None:
        """Even one byte."""
        self.assertEqual(find(b"abc", b"abc", b"x", b"b"), Found(2, 1))

    def test_abortsAreTriedInOrderOfDefinition(self) -> None:
        """Of two that end together the first one counts."""
        self.assertEqual(find(b"ab", b"x", b"b", b"ab"), Found(2, 0))

    def test_reportBelongsToTheLineThatItIsIn(self) -> None:
        """It fires once, and ends at a control character."""
        found, logged = inChunks([b"CONN", b"ECT 9600\r\nCONNECT 1\r\nx"], b"x", [], [b"CONNECT"])
        self.assertEqual((found, logged), (Found(26, None), [b"CONNECT 9600"]))

    def test_reportGoesOnInTheNextExpect(self) -> None:
        """What is gathered is not bound to one expect."""
        reports = Reports()
        reports.add(b"CON")
        Window(b"N", [], reports).feed(b"CON")
        window = Window(b"\n", [], reports)
        window.feed(b"NECT\r\n")
        self.assertEqual(window.reported, [b"CONNECT"])

    def test_clearedReportIsNotLogged(self) -> None:
        """Nor is it looked for."""
        reports = Reports()
        reports.add(b"a")
        reports.clear(b"a")
        self.assertEqual(reports.scan(bytearray(b"ax\n"), 0, 3), [])
        self.assertEqual(reports.flush(), b"")

    @given(
        st.text("ab\n", max_size=24).map(str.encode),
        st.lists(st.integers(0, 24), max_size=4),
        _string,
        st.lists(_string, max_size=3),
        st.lists(_string, max_size=3, unique=True),
    )
    def test_anyChunksGiveTheAnswersOfSingleBytes(
        self,
        data: bytes,
        cuts: list[int],
        expected: bytes,
        aborts: list[bytes],
        reports: list[bytes],
    ) -> None:
        """Over a small alphabet, so that everything overlaps."""
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        chunks = [data[a:b] for a, b in pairwise(places)]
        self.assertEqual(
            inChunks(chunks, expected, aborts, reports),
            byteByByte(data, expected, aborts, list(reports)),
        )

    def test_matchingIsNotQuadratic(self) -> None:
        """
        64 KiB in single bytes against fifty ABORT strings that all but match: eight times the
        input takes about eight times as long, where a search from the start each time would take
        sixty-four times.
        """
        aborts = [b"a" * 40 + b"%d" % number for number in range(50)]

        def duration(size: int) -> float:
            started = time.process_time()
            found, _ = inChunks([b"a"] * size, b"a" * 40 + b"\n", aborts, [])
            self.assertIsNone(found)
            return time.process_time() - started

        self.assertLess(duration(32768), 32 * duration(4096) + 0.5)
