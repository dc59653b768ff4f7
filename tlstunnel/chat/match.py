"""
Matching as chat(8) does it: one byte after the other, without doing so.

After each byte chat(8) asks in this order: does what this expect has read end with a REPORT string?
with the expected string?  with an ABORT string?  L{Window} gives the same answers, from whatever
chunks the input comes in, and in a time that is linear in their length.  No connections here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def _firstEnd(
    window: bytearray, strings: Sequence[bytes], start: int, stop: int
) -> tuple[int, int] | None:
    """
    Of all places from C{start} to C{stop} where one of C{strings} ends, the first; of all strings
    that end there, the first.  A string may begin before C{start}.

    @return: the place behind the string, and the string's index.
    """
    best = None
    for index, string in enumerate(strings):
        at = window.find(string, max(0, start - len(string) + 1), stop)
        if at >= 0:
            best = (at + len(string), index)
            stop = best[0] - 1
    return best


class Reports:
    """
    The REPORT strings of a script that is running.  Each is found once; what follows it, up to the
    next control character, belongs to it, also across expects.
    """

    def __init__(self) -> None:
        self._strings: list[bytes] = []
        self._gathered: bytearray | None = None

    def add(self, string: bytes) -> None:
        """Look for C{string} from now on."""
        self._strings.append(string)

    def clear(self, string: bytes) -> None:
        """Look for C{string} no longer."""
        self._strings = [other for other in self._strings if other != string]

    def scan(self, window: bytearray, start: int, stop: int) -> list[bytes]:
        """
        Look at bytes that are being consumed.

        @param window: what the present expect has read.
        @param start: where the bytes not looked at begin.
        @param stop: where they end.
        @return: the reports that these bytes complete.
        """
        complete = []
        while start < stop:
            if self._gathered is None:
                found = _firstEnd(window, self._strings, start, stop)
                if found is None:
                    break
                start, index = found
                self._gathered = bytearray(self._strings.pop(index))
                continue
            control = _CONTROL.search(window, start, stop)
            self._gathered += window[start : control.start() if control else stop]
            start = control.end() if control else stop
            if control:
                complete.append(self.flush())
        return complete

    def flush(self) -> bytes:
        """The report that is being gathered, complete or not; empty if there is none."""
        gathered, self._gathered = self._gathered, None
        return bytes(gathered or b"")


@dataclass(frozen=True)
class Found:
    """
    The end of a search.

    @ivar consumed: how many of the bytes fed last belong to it; the others are unread.
    @ivar abort: the index of the ABORT string that was found; L{None} for the expected string.
    """

    consumed: int
    abort: int | None


class Window:
    """
    All that one expect string has read; it begins empty.

    @param expected: the string to find; not empty.
    @param aborts: the ABORT strings, in order of definition; none is empty.
    """

    def __init__(self, expected: bytes, aborts: Sequence[bytes], reports: Reports) -> None:
        self._strings = (expected, *aborts)
        self._reports = reports
        self._seen = bytearray()
        #: The reports that the bytes fed last completed.
        self.reported: list[bytes] = []

    def feed(self, data: bytes) -> Found | None:
        """
        Read on.

        @return: what was found; L{None} if nothing was, and all of C{data} is consumed.
        """
        start = len(self._seen)
        self._seen += data
        found = _firstEnd(self._seen, self._strings, start, len(self._seen))
        stop = found[0] if found else len(self._seen)
        self.reported = self._reports.scan(self._seen, start, stop)
        if found is None:
            return None
        return Found(stop - start, found[1] - 1 if found[1] else None)
