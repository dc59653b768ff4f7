"""
Tests for L{tlstunnel.net.linewire}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.legs import SocketCase
from tests.poolservice.test_handed import AloneCase
from tlstunnel.net.linewire import LineWire
from tlstunnel.tls.records import RECORD_BYTES


class _Choosy:
    """
    Stands for TLS that takes all of a record or nothing, and wants what it has begun with again.
    """

    received = 7

    def __init__(self, takes: list[bool]) -> None:
        self.takes = takes
        self.records: list[bytes] = []
        self.begun = b""

    def write(self, data: memoryview) -> int:
        """
        As the test says.
        """
        record = bytes(data)
        assert record.startswith(self.begun)
        if self.takes and not self.takes.pop():
            self.begun = record
            return 0
        self.begun = b""
        self.records.append(record)
        return len(record)


class LineWireTests(SynchronousTestCase):
    """
    Lines and records.
    """

    @given(
        st.lists(st.one_of(st.binary(max_size=5), st.sampled_from((b"\n", b"ab\n"))), max_size=20),
        st.lists(st.booleans(), max_size=10),
    )
    def test_noRecordHasMoreThanOneLine(self, pieces: list[bytes], takes: list[bool]) -> None:
        """
        Whatever the socket takes, and nothing is lost.
        """
        below: Any = _Choosy(takes)
        wire = LineWire(below)
        waiting = b""
        for piece in pieces:
            waiting += piece
            waiting = waiting[wire.write(waiting) :]
        while waiting:
            waiting = waiting[wire.write(memoryview(waiting)) :]
        self.assertEqual(b"".join(below.records), b"".join(pieces))
        for record in below.records:
            self.assertNotIn(b"\n", record[:-1])

    def test_aLongLineIsSeveral(self) -> None:
        """
        A record has no room for more.
        """
        below: Any = _Choosy([])
        line = b"x" * (RECORD_BYTES + 1) + b"\n"
        self.assertEqual(LineWire(below).write(line), len(line))
        self.assertEqual(list(map(len, below.records)), [RECORD_BYTES, 2])

    def test_allElseIsThatOfTheWireBelow(self) -> None:
        """
        Such as what is counted.
        """
        below: Any = _Choosy([])
        self.assertEqual(LineWire(below).received, 7)


class LineCase(SocketCase):
    """
    With TLS, on a socket.
    """

    inTLS = True
    far: Any

    def test_thePeerReadsLineByLine(self) -> None:
        """
        As one does that takes what a read gives for a line, also where it is slow.
        """
        self.open()
        self.leg.separateLines()
        lines = [b"%d %s\n" % (number, b"x" * (number % 700)) for number in range(3000)]
        self.leg.write(b"".join(lines))
        assert not self.leg.isFlushed
        tls = self.far.tls
        heard: list[bytes] = []

        def hear() -> bool:
            while True:
                try:
                    heard.append(tls.recv(65536))
                except SSL.WantReadError:
                    return len(heard) >= len(lines)

        self.until(hear)
        assert heard == lines
        assert self.leg.sent == sum(map(len, lines))
        assert self.leg.isTLS


class TLS13Tests(LineCase, SynchronousTestCase):
    """
    TLS 1.3.
    """


class TLS12Tests(LineCase, SynchronousTestCase):
    """
    TLS 1.2.
    """

    version = SSL.TLS1_2_VERSION


class HandedTests(LineCase, AloneCase, SynchronousTestCase):
    """
    A leg that a program has handed over.
    """
