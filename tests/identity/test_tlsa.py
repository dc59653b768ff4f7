"""
Tests for L{tlstunnel.identity.tlsa}: which records count, and what they match.
"""

from __future__ import annotations

from hashlib import sha256, sha512

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, alternative, dns, forPSS, make, root
from tlstunnel.identity.spki import publicKeyOf
from tlstunnel.identity.tlsa import TLSA, TLSARecords, counting

LEAF = make(Recipe(san=alternative(dns("mx.example.org"))), root())


def record(text: str, issued: Issued = LEAF) -> TLSA:
    """The record, such as C{3 1 1}, that a domain has for a certificate."""
    usage, selector, matching = map(int, text.split())
    certificate = issued.certificate
    whole = certificate.public_bytes(Encoding.DER)
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    data = (whole, key)[selector]
    if matching:
        data = (sha256, sha512)[matching - 1](data).digest()
    return TLSA(usage, selector, matching, data)


class RecordTests(SynchronousTestCase):
    """One of them."""

    def test_whatIsReadIsWhatStandsThere(self) -> None:
        """Three numbers, and data."""
        read = TLSA.parse(bytes([3, 1, 1]) + b"d" * 32)
        self.assertEqual(read, TLSA(3, 1, 1, b"d" * 32))
        self.assertEqual(str(read), "3 1 1")

    @given(some.binary(max_size=300))
    def test_whateverStandsThere(self, wire: bytes) -> None:
        """It is a record, or a ValueError; and what is usable matches or does not."""
        try:
            read = TLSA.parse(wire)
        except ValueError:
            self.assertLess(len(wire), 4)
            return
        self.assertEqual(bytes([read.usage, read.selector, read.matching]) + read.data, wire)
        self.assertFalse(read.isUsable and read.matches(LEAF.certificate))
        self.assertIsNone(read.authority)

    def test_eachKindMatchesItsOwnCertificateAlone(self) -> None:
        """Usages, selectors and matching types."""
        other = root("Other")
        for usage in 2, 3:
            for selector in 0, 1:
                for matching in 0, 1, 2:
                    one = record(f"{usage} {selector} {matching}")
                    self.assertTrue(one.isUsable)
                    self.assertTrue(one.matches(LEAF.certificate), one)
                    self.assertFalse(one.matches(other.certificate), one)

    def test_whatIsNotUsable(self) -> None:
        """Usages of the web's PKI, unknown numbers, digests of the wrong length."""
        for numbers in (0, 1, 1), (1, 1, 1), (4, 1, 1), (255, 1, 1), (3, 2, 1), (3, 1, 3):
            self.assertFalse(TLSA(*numbers, b"d" * 32).isUsable, numbers)
        for matching, right in (1, 32), (2, 64):
            for length in range(1, 70):
                one = TLSA(3, 1, matching, b"d" * length)
                self.assertEqual(one.isUsable, length == right)

    def test_aWholeAuthorityIsThere(self) -> None:
        """Of all kinds only one has it."""
        self.assertEqual(record("2 0 0", root()).authority, root().certificate)
        for kind in "2 1 0", "2 0 1", "3 0 0":
            self.assertIsNone(record(kind, root()).authority)
        self.assertIsNone(TLSA(2, 0, 0, b"no certificate").authority)


class CountingTests(SynchronousTestCase):
    """All of them (RFC 7671, section 9)."""

    def test_theStrongestDigestCounts(self) -> None:
        """For each usage and selector; those without a digest always do."""
        for given_, expected in (
            ("3 1 1, 3 1 2", "3 1 2"),
            ("3 1 2, 3 1 1", "3 1 2"),
            ("3 1 1, 3 0 2", "3 1 1, 3 0 2"),
            ("2 1 1, 3 1 2", "2 1 1, 3 1 2"),
            ("3 1 0, 3 1 1, 3 1 2", "3 1 0, 3 1 2"),
            ("3 1 1, 3 1 1", "3 1 1"),
            ("3 0 0", "3 0 0"),
        ):
            found = counting(map(record, given_.split(", ")))
            self.assertEqual(", ".join(map(str, found)), expected)

    def test_whatIsNotUsableMakesNothingWeak(self) -> None:
        """A digest that cannot be one is no reason to pass over another."""
        broken = TLSA(3, 1, 2, b"short")
        self.assertEqual(counting([broken, record("3 1 1")]), (record("3 1 1"),))
        self.assertEqual(counting([broken, TLSA(1, 1, 1, b"d" * 32)]), ())

    def test_inWords(self) -> None:
        """Each kind once, and the name."""
        records = (record("3 1 1"), TLSA(3, 1, 1, b"d" * 32), record("2 0 1"))
        text = str(TLSARecords("_25._tcp.mx.example.org", records))
        self.assertEqual(text, "TLSA 3 1 1, 2 0 1 of _25._tcp.mx.example.org")


class KeyTests(SynchronousTestCase):
    """The public key as it stands in a certificate."""

    def test_eachKindOfKey(self) -> None:
        """It is what libraries make of it."""
        for kind in "ec", "ed25519", "rsa2048":
            certificate = make(Recipe(key=kind), root()).certificate
            self.assertEqual(publicKeyOf(certificate), self.info(certificate))

    def test_aKeyThatLibrariesWriteInAnotherWay(self) -> None:
        """That of RSASSA-PSS is not what cryptography makes of it."""
        certificate = forPSS(make(Recipe(key="rsa2048"), root()), root()).certificate
        found = publicKeyOf(certificate)
        self.assertIn(found, certificate.tbs_certificate_bytes)
        self.assertNotEqual(found, self.info(certificate))

    def info(self, certificate: x509.Certificate) -> bytes:
        """What cryptography writes."""
        key = certificate.public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
