"""
BER: what is written is read again, and whatever else comes is refused with an error of ours.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Malformed
from tlstunnel.protocols.ber import (
    BOOLEAN,
    INTEGER,
    OCTETS,
    SEQUENCE,
    beginning,
    element,
    elements,
    header,
    integer,
    measure,
    truth,
)

_TAGS = st.integers(0, 255)
_ELEMENT = st.tuples(_TAGS, st.binary(max_size=300))

BROKEN = {
    "a tag alone": b"\x04",
    "more than there is": b"\x04\x02x",
    "a length that is cut": b"\x04\x82\x01",
    "an indefinite length": b"\x04\x80\x00\x00",
    "a length that X.690 reserves": b"\x04\xff" + b"\0" * 127,
    "a length of sixteen million": b"\x04\x84\x00\xff\xff\xff",
}


class BERTests(SynchronousTestCase):
    """
    Elements.
    """

    @given(st.lists(_ELEMENT, max_size=8))
    def test_whatIsWrittenIsReadAgain(self, several: list[tuple[int, bytes]]) -> None:
        """
        In order, each with its tag.
        """
        written = b"".join(element(tag, content) for tag, content in several)
        self.assertEqual(list(elements(written)), several)

    @given(st.binary(max_size=200))
    def test_whateverComesIsReadOrRefused(self, data: bytes) -> None:
        """
        And nothing of it twice.
        """
        try:
            found = list(elements(data))
        except Malformed:
            return
        self.assertLessEqual(sum(len(content) + 2 for _, content in found), len(data))

    def test_brokenOnesAreRefused(self) -> None:
        """
        Of every kind.
        """
        for what, data in BROKEN.items():
            with self.subTest(what):
                self.assertRaises(Malformed, list, elements(data))

    def test_aLengthMayHaveZeroesBeforeIt(self) -> None:
        """
        As Active Directory writes them.
        """
        self.assertEqual(header(b"\x04\x84\0\0\0\x01x", 0, 7), (OCTETS, 6, 7))

    @given(st.integers(0, 2**40))
    def test_numbersAreNeverNegative(self, number: int) -> None:
        """
        However large their first byte is.
        """
        ((tag, content),) = elements(integer(number))
        self.assertEqual((tag, int.from_bytes(content, "big", signed=True)), (INTEGER, number))

    def test_truths(self) -> None:
        """
        All bits, or none.
        """
        self.assertEqual((truth(True), truth(False)), (b"\x01\x01\xff", b"\x01\x01\0"))
        self.assertEqual(BOOLEAN, 1)

    @given(st.integers(0, 2**31), st.binary(max_size=3))
    def test_aLengthIsKnownWithItsLastByte(self, size: int, more: bytes) -> None:
        """
        And not before.
        """
        start = beginning(SEQUENCE, size)
        self.assertEqual(measure(start + more), (len(start), size))
        for cut in range(len(start)):
            self.assertIsNone(measure(start[:cut]))
