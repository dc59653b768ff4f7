"""
Tests for L{tlstunnel.identity.crl}: what is read of a revocation list, and what is refused.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, authorityRecipe, make, root
from tests.revoked import entry, makeList, part, pem, place
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import crl
from tlstunnel.identity.crl import RevocationList, loadLists

LEAF = make(Recipe(), root())
OTHER = make(Recipe(), root())
AUTHORITY = make(authorityRecipe("Below"), root())


class ReadingTests(SynchronousTestCase):
    """Files of lists."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def load(self, content: bytes) -> list[RevocationList | str]:
        """What a file with some content holds."""
        self.path.write_bytes(content)
        return list(loadLists(self.path))

    def assertRefused(self, content: bytes, reason: str) -> None:
        """Such a file is refused, in one line."""
        error = self.assertRaises(ConfigurationError, self.load, content)
        self.assertIn(str(self.path), str(error))
        self.assertIn(reason, str(error))
        self.assertNotIn("\n", str(error))

    def test_severalInPEMForm(self) -> None:
        """With any text around them."""
        found = self.load(b"one\n" + pem(makeList()) + b"two\n" + pem(makeList(number=2)))
        self.assertEqual([each.number for each in found if not isinstance(each, str)], [1, 2])

    def test_oneInDERForm(self) -> None:
        """As most authorities offer them."""
        (found,) = self.load(makeList(LEAF).public_bytes(Encoding.DER))
        assert not isinstance(found, str)
        self.assertTrue(found.revocationOf(LEAF.certificate))

    def test_whatIsInUseIsNotReadAgain(self) -> None:
        """Tunnels share it."""
        content = pem(makeList())
        self.assertIs(self.load(content)[0], self.load(content)[0])

    def test_withoutANumber(self) -> None:
        """Then only the time tells which is newer."""
        (found,) = self.load(pem(makeList(number=None)))
        assert not isinstance(found, str)
        self.assertEqual(found.number, -1)

    def test_nothing(self) -> None:
        """Who has put a file there wants it to count."""
        self.assertRefused(b"", "is empty")
        self.assertRefused(b"nothing\n", "holds no revocation list")

    def test_cut(self) -> None:
        """One that is just being written is not read in part."""
        content = pem(makeList(), makeList(number=2))
        self.assertRefused(content[:-40], "2 lists begin there, and 1 are complete")
        begun = len(pem(makeList())) + 10
        self.assertRefused(content[:begun], "2 lists begin there, and 1 are complete")

    def test_broken(self) -> None:
        """In both forms."""
        self.assertRefused(b"\x30\x03\x02\x01\x01", "list 1 is broken")
        content = pem(makeList())
        self.assertRefused(content[:60] + b"AAAA" + content[64:], "list 1 is broken")

    def test_tooLarge(self) -> None:
        """There is an end to it."""
        self.patch(crl, "LARGEST_FILE", 100)
        self.assertRefused(pem(makeList()), "too large")

    def test_whatChangedSinceAnotherOneIsPassedOver(self) -> None:
        """The complete one counts."""
        delta = ((x509.DeltaCRLIndicator(1), True),)
        found = self.load(pem(makeList(number=2, extra=delta), makeList()))
        self.assertIn("delta", str(found[0]))
        self.assertIsInstance(found[1], RevocationList)

    def test_whatIsNotUnderstoodIsRefused(self) -> None:
        """Else certificates would seem to be good."""
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        some = frozenset([x509.ReasonFlags.key_compromise])
        for reason, extra in (
            ("critical extension", ((unknown, True),)),
            ("several issuers", part(indirect=True)),
            ("some reasons", part(reasons=some)),
            ("attribute certificates", part(onlyAttributes=True)),
        ):
            with self.subTest(reason):
                self.assertRefused(pem(makeList(extra=extra)), reason)

    def test_soIsWhatItSaysOfACertificateInAnUnknownWay(self) -> None:
        """Also if that is about one that nobody asks for (RFC 5280, section 5.3)."""
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        other = x509.CertificateIssuer([x509.DirectoryName(OTHER.certificate.subject)])
        for extension in (unknown, other):
            for extra in ((), part(onlyUsers=True)):
                content = makeList(entry(7, extra=((extension, True),)), extra=extra)
                self.assertRefused(pem(content), "critical extension")

    def test_whatIsKnownMayBeCritical(self) -> None:
        """As the date since when a key is not to be trusted."""
        date = x509.InvalidityDate(datetime(2026, 1, 1))  # noqa: DTZ001 - it has no time zone
        (found,) = self.load(pem(makeList(entry(7, extra=((date, True),)))))
        self.assertIsInstance(found, RevocationList)

    def test_anotherExtensionIsNoHarm(self) -> None:
        """If it is not critical."""
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        (found,) = self.load(pem(makeList(extra=((unknown, False),))))
        self.assertIsInstance(found, RevocationList)

    @given(st.binary(max_size=300), st.integers(0, 400))
    def test_noGarbageBreaksAnything(self, garbage: bytes, at: int) -> None:
        """It is read, or refused."""
        good = makeList(LEAF).public_bytes(Encoding.DER)
        for content in (
            garbage,
            good[:at] + garbage,
            good[:at] + garbage + good[at + len(garbage) :],
        ):
            try:
                self.load(content)
            except ConfigurationError:
                pass


class SayingTests(SynchronousTestCase):
    """What a list says."""

    def test_whoIsOnItWasRevoked(self) -> None:
        """And nobody else."""
        found = RevocationList(makeList(LEAF))
        self.assertTrue(found.revocationOf(LEAF.certificate))
        self.assertEqual(found.revocationOf(OTHER.certificate), "")

    def test_whyIsSaid(self) -> None:
        """Held is revoked, and who is let go is not."""
        serial = LEAF.certificate.serial_number
        for reason, expected in (
            (x509.ReasonFlags.key_compromise, "keyCompromise"),
            (x509.ReasonFlags.certificate_hold, "certificateHold"),
        ):
            found = RevocationList(makeList(entry(serial, reason)))
            self.assertIn(expected, found.revocationOf(LEAF.certificate))
        found = RevocationList(makeList(entry(serial, x509.ReasonFlags.remove_from_crl)))
        self.assertEqual(found.revocationOf(LEAF.certificate), "")

    def test_aNegativeNumberIsOneToo(self) -> None:
        """In DER the first bit of a serial number is its sign, which some have forgotten."""
        signed = makeList(entry(0x7F123456))
        old, new = bytes.fromhex("02047f123456"), bytes.fromhex("0204ff123456")
        found = x509.load_der_x509_crl(signed.public_bytes(Encoding.DER).replace(old, new))
        certificate = Mock(serial_number=-0x00EDCBAA)
        self.assertTrue(RevocationList(found).revocationOf(certificate))

    def test_whoSignedIt(self) -> None:
        """A name is not enough, and neither is a key that is not for this."""
        found = RevocationList(makeList())
        namesake = make(authorityRecipe("Root"))
        careless = make(authorityRecipe("Root", usage=("key_cert_sign",)), key=root().key)
        self.assertTrue(found.isSignedBy(root().certificate))
        self.assertFalse(found.isSignedBy(namesake.certificate))
        self.assertFalse(found.isSignedBy(careless.certificate))

    def test_aboutWhom(self) -> None:
        """Lists may be about a part of the certificates of their issuer."""
        here, there = (
            make(Recipe(extra=place(f"http://{each}.example/crl")), root()).certificate
            for each in ("here", "there")
        )
        for extra, expected in (
            ((), [True, True, True, True]),
            (part(onlyUsers=True), [True, False, True, True]),
            (part(onlyAuthorities=True), [False, True, False, False]),
            (part("http://here.example/crl"), [False, False, True, False]),
        ):
            found = RevocationList(makeList(extra=extra))
            certificates = [LEAF.certificate, AUTHORITY.certificate, here, there]
            self.assertEqual([found.isAbout(each) for each in certificates], expected)

    def test_aPlaceForSomeReasonsOrOfOthers(self) -> None:
        """What is there does not say all that the issuer has to say."""
        url = "http://here.example/crl"
        found = RevocationList(makeList(extra=part(url)))
        some = frozenset([x509.ReasonFlags.key_compromise])
        others = [x509.DirectoryName(OTHER.certificate.subject)]
        names = [x509.UniformResourceIdentifier(url)]
        for reasons, issuer in ((some, None), (None, others)):
            points = x509.CRLDistributionPoints(
                [x509.DistributionPoint(names, None, reasons, issuer)]
            )
            leaf = make(Recipe(extra=((points, False),)), root())
            self.assertTrue(found.isAbout(leaf.certificate))
            self.assertFalse(found.isAll(leaf.certificate))

    def test_editions(self) -> None:
        """The later one is newer, and of two of the same time that with the greater number."""
        one = RevocationList(makeList(number=2))
        later = RevocationList(makeList(start=-timedelta(minutes=1)))
        self.assertGreater(later.edition, one.edition)
        self.assertEqual(one.subject, later.subject)
        self.assertNotEqual(one.subject, RevocationList(makeList(extra=part("http://x/"))).subject)
