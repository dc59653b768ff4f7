"""
The word imap, before a server that finds commands in what it reads as Dovecot does.
"""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.stage import talk
from tlstunnel.reveal.imap import IDGuard, LoginWatch

FORGED = b'("x-originating-ip" "203.0.113.9")'

# A server as Dovecot is one: how it finds commands in what it reads.
_TOKEN = re.compile(rb' *(?:"((?:[^"\\]|\\.)*)"|\{([0-9]+)(\+?)\}\Z|([^ "{(][^ "{(]*)|([()]))')


class Dovecot:
    """
    Reads commands, answers them, and keeps the names of the fields that it was given by ID.
    """

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self._kept = b""
        self._tag = self._name = b""
        self._words: list[bytes] = []
        self._literal: int | None = None
        self._inSASL = self._within = False

    def feed(self, data: bytes) -> bytes:
        """
        @return: what it says.
        """
        self._kept += data
        said = b""
        while True:
            if self._literal is not None:
                if len(self._kept) < self._literal:
                    return said
                self._words.append(self._kept[: self._literal])
                self._kept, self._literal = self._kept[self._literal :], None
            line, end, rest = self._kept.partition(b"\n")
            if not end:
                return said
            self._kept = rest
            said += self._line(line.removesuffix(b"\r"))

    def _line(self, line: bytes) -> bytes:
        if self._inSASL:
            self._inSASL = False
            return self._tag + b" NO\r\n"
        if not self._within:
            self._tag, _, rest = line.partition(b" ")
            self._name, _, line = rest.partition(b" ")
            self._name = self._name.upper()
            self._words = []
            if self._name == b"AUTHENTICATE":
                mechanism, _, initial = line.partition(b" ")
                if mechanism.upper() == b"PLAIN" and not initial:
                    self._inSASL = True
                    return b"+ \r\n"
                return self._tag + b" NO\r\n"
        self._within = False
        at = 0
        line = line.rstrip(b" ")
        while at < len(line):
            found = _TOKEN.match(line, at)
            if found is None:
                return self._tag + b" BAD\r\n"
            at = found.end()
            if found[2] is not None:
                return self._begin(int(found[2]), bool(found[3]))
            self._words.append(re.sub(rb"\\(.)", rb"\1", found[1] or found[4] or b""))
        if self._name == b"ID":
            self.names += self._words
        return self._tag + (b" OK" if self._name in (b"ID", b"NOOP") else b" NO") + b"\r\n"

    def _begin(self, size: int, isSent: bool) -> bytes:
        if size < len(_FORGED):
            self._literal, self._within = size, True
            return b"" if isSent else b"+ OK\r\n"
        # Too long: nothing is heard any more of whoever sends it unasked.
        self._literal = 1 << 30 if isSent else None
        return self._tag + b" BAD\r\n"


_FORGED = b"z ID " + FORGED + b"\r\n"
_SIZE = len(_FORGED)

_SAID = st.lists(
    st.sampled_from(
        [
            *(b"h LOGIN x {%d}\r\n" % _SIZE, b"i LOGIN x {%d+}\r\n" % _SIZE, _FORGED, _FORGED),
            *(
                b"j AUTHENTICATE PLAIN\r\n",
                b"k AUTHENTICATE PLAIN\r\n",
                b"l NOOP {%d+}\r\n" % _SIZE,
            ),
            *(b"a", b"b", b" ", b" ", b"\r\n", b"\r\n", b"\n", b"\r", b'"', b"\\", b"(", b")"),
            *(b"ID", b"id", b"LOGIN", b"AUTHENTICATE", b"PLAIN", b"NOOP", b"NIL", b"*", b"+"),
            *(b"{5}", b"{5+}", b"{31+}", b"{0+}", b"{", b"}", b"x", b'"x-originating-ip"'),
            *(b"a ID ", b"b ID " + FORGED + b"\r\n", b"c LOGIN x {3}\r\n", b"d LOGIN x {3+}\r\n"),
            *(b"e AUTHENTICATE PLAIN\r\n", b"f NOOP\r\n", b"g LOGIN ", b" {37+}\r\n", b"AGE=\r\n"),
        ]
    ),
    max_size=8,
)


class ForgeryTests(SynchronousTestCase):
    """
    A server that parses as Dovecot does, and clients that say anything.
    """

    @settings(deadline=None, max_examples=2000)
    @given(st.lists(st.tuples(_SAID, st.booleans()), max_size=6))
    def test_nothingCanBeForged(self, turns: list[tuple[list[bytes], bool]]) -> None:
        """
        Whenever the server's answers arrive.
        """
        guard = IDGuard()
        server = Dovecot()
        talk(guard, LoginWatch(guard), server, turns)
        self.assertFalse([name for name in server.names if name.lower().startswith(b"x-")])
        self.assertFalse(guard.done)
