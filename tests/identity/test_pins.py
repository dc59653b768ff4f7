"""
Tests for L{tlstunnel.identity.pins}; with curl and openssl they are in L{tests.interop.test_who}.
"""

from __future__ import annotations

import base64
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, forPSS, make, root
from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.names import KeyIdentity
from tlstunnel.identity.pins import Pins, keyOf, parsePin
from tlstunnel.identity.spki import publicKeyOf

ZEROES = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


class PinTests(SynchronousTestCase):
    """
    Reading pins, and finding that of a certificate.
    """

    def test_aPinIsRead(self) -> None:
        """
        As curl writes it.
        """
        self.assertEqual(parsePin(ZEROES), KeyIdentity.of(bytes(32)))

    def test_everythingElseIsRefused(self) -> None:
        """
        With what to do about it.
        """
        for text, problem in (
            ("", "begins with sha256//"),
            ("sha1//AAAA", "begins with sha256//"),
            ("/etc/key.pem", "begins with sha256//"),
            (ZEROES.removeprefix("sha256//"), "begins with sha256//"),
            ("sha256//", "has 0 bytes"),
            ("sha256//AAAA", "has 3 bytes"),
            (ZEROES.removesuffix("="), "not in Base64"),
            (ZEROES.replace("A", "*"), "not in Base64"),
            (ZEROES.replace("A", "\u00fc"), "not in Base64"),
            (f"{ZEROES};{ZEROES}", "give several one by one"),
            (f" {ZEROES}", "begins with"),
        ):
            with self.subTest(text):
                error = self.assertRaises(ValueError, parsePin, text)
                self.assertIn(problem, str(error))
                if ";" not in text:
                    self.assertIn("openssl dgst -sha256 -binary | base64", str(error))

    def test_itIsTheHashOfTheSubjectPublicKeyInfo(self) -> None:
        """
        Whatever kind of key it is (RFC 7469, section 2.4).
        """
        for kind in "ec", "rsa2048", "ed25519":
            issued = make(Recipe(key=kind))
            info = issued.key.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
            self.assertIn(info, issued.certificate.tbs_certificate_bytes)
            expected = base64.b64encode(sha256(info).digest()).decode()
            self.assertEqual(str(keyOf(issued.certificate)), f"sha256//{expected}")

    def test_itIsTheKeyAsItStandsInTheCertificate(self) -> None:
        """
        Which of RSASSA-PSS is not as cryptography would write it.
        """
        issued = forPSS(make(Recipe(key="rsa2048"), root()), root())
        digest = sha256(publicKeyOf(issued.certificate)).digest()
        self.assertEqual(keyOf(issued.certificate), KeyIdentity.of(digest))
        info = issued.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.assertNotEqual(digest, sha256(info).digest())

    def test_anotherCertificateOfTheSameKeyIsTheSame(self) -> None:
        """
        It is the key that is pinned; another key is refused.
        """
        issued = make(Recipe())
        pins = Pins.of([parsePin(ZEROES), keyOf(issued.certificate)])
        assert pins is not None
        again = make(Recipe(), key=issued.key).certificate
        self.assertEqual(pins.check(again), keyOf(issued.certificate))
        other = make(Recipe()).certificate
        error = self.assertRaises(IdentityRefused, pins.check, other)
        self.assertIn(f"{keyOf(other)}, which is not pinned", str(error))

    def test_manyAreShownInPart(self) -> None:
        """
        In a line of the log there is little room.
        """
        several = [KeyIdentity.of(bytes([number]) * 32) for number in range(9)]
        self.assertEqual(str(Pins(frozenset(several[:2]))), f"{several[0]} or {several[1]}")
        shown = str(Pins(frozenset(several)))
        self.assertEqual((shown.count("sha256//"), shown[-8:]), (3, "6 others"))

    def test_noneAreNone(self) -> None:
        """
        Then any key will do.
        """
        self.assertIsNone(Pins.of([]))

    @given(st.binary(min_size=32, max_size=32))
    def test_textIsReadBack(self, digest: bytes) -> None:
        """
        The text of a key is that key.
        """
        key = KeyIdentity.of(digest)
        self.assertEqual(parsePin(str(key)), key)

    @given(
        st.text(max_size=60) | st.text("A=+/\n ", max_size=50).map(lambda each: f"sha256//{each}")
    )
    def test_anyTextIsReadOrRefused(self, text: str) -> None:
        """
        No text makes anything but a pin or a C{ValueError}.
        """
        try:
            found = parsePin(text)
        except ValueError as error:
            self.assertTrue(str(error).isprintable())
        else:
            self.assertEqual(len(found.digest), 32)
