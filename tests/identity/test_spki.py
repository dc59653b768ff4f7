"""
Tests for L{tlstunnel.identity.spki}: how much there is in a certificate.
"""

from __future__ import annotations

from functools import reduce
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, der, make
from tlstunnel.identity.spki import hasMoreElements

KEY = make(Recipe()).key

#: As long as ten thousand elements, and one of them.
LONG = 20_000


def _with(value: bytes) -> x509.Certificate:
    """
    A certificate with an extension.
    """
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.18"), value)
    return make(Recipe(extra=((extension, False),)), key=KEY).certificate


class HasMoreElementsTests(SynchronousTestCase):
    """
    A certificate has some tens of elements, and one extension of ours.
    """

    def count(self, value: bytes) -> int:
        """
        How many elements a certificate has, if more than there are in a usual one.
        """
        certificate = _with(value)
        counts = (most for most in range(200) if not hasMoreElements(certificate, most))
        return next(counts, 200)

    def test_allThatIsInsideCounts(self) -> None:
        """
        Wherever it is.
        """
        filling = der(0x0C, bytes(LONG))
        none = self.count(filling)
        item = der(0x02, b"\1")
        for value, more in (
            (der(0x86, b"a"), 1),
            (der(0x30, der(0x86, b"a"), item), 3),
            (der(0xA4, der(0x31, der(0x30, item, item))), 5),
            (der(0x04, der(0x30, item)), 3),
        ):
            self.assertEqual(self.count(value + filling) - none, more)

    def test_soManyAreNotMore(self) -> None:
        """
        But one less is.
        """
        certificate: Any = SimpleNamespace(tbs_certificate_bytes=der(0x30, der(0x86, b"") * 999))
        self.assertTrue(hasMoreElements(certificate, 999))
        self.assertFalse(hasMoreElements(certificate, 1000))

    def test_manyAreMore(self) -> None:
        """
        Side by side, or each inside the one before.
        """
        beside = der(0x30, der(0x86, b"") * (LONG // 2))
        inside = reduce(lambda value, _: der(0x30, value), range(LONG // 5), b"")
        for value in (beside, inside):
            self.assertTrue(hasMoreElements(_with(value), 3000))

    def test_oneThatIsLongIsOne(self) -> None:
        """
        What counts is not how many bytes there are.
        """
        for tag in (0x0C, 0x1F, 0x86):
            self.assertFalse(hasMoreElements(_with(der(tag, bytes(LONG))), 200))

    def test_whatCannotBeReadCountsAsFarAsItCan(self) -> None:
        """
        Else what nobody reads any further would hide what was read before.
        """
        for broken in (b"\x30", b"\x30\x05", b"\x30\x84", der(0x30, b"\x86\x09")):
            many = der(0x86, b"") * 1000
            self.assertTrue(hasMoreElements(_with(many + broken + bytes(LONG)), 1000))
            self.assertTrue(hasMoreElements(_with(der(0x30, many + broken)), 1000))
            # The last is read first.
            self.assertTrue(hasMoreElements(_with(der(0x30, many) + der(0x30, broken)), 1000))

    @given(st.binary(max_size=100), st.integers(0, 60))
    def test_nothingRaises(self, value: bytes, most: int) -> None:
        """
        Whatever there is.
        """
        self.assertIn(hasMoreElements(_with(value), most), (True, False))
