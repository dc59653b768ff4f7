"""
Tests for L{tlstunnel.identity.ocsp}: which responses of OCSP are believed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from time import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, authorityRecipe, intermediate, make, root
from tests.revoked import HOUR, makeAnswer
from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.ocsp import BAD, LARGEST_ANSWER, judge, questionAbout, responderOf

MINUTE = timedelta(minutes=1)
CHARGED = (ExtendedKeyUsageOID.OCSP_SIGNING,)

LEAF = make(Recipe(), root())
SIBLING = make(Recipe(), root())
BELOW = make(Recipe(), intermediate())
RESPONDER = make(Recipe(purposes=CHARGED), root())
EXPIRED = make(Recipe(purposes=CHARGED, start=-3 * HOUR, end=-HOUR), root())
NAMESAKE = make(authorityRecipe("Root"))
OF_NAMESAKE = make(Recipe(purposes=CHARGED), NAMESAKE)
RESPONDER_ABOVE = make(Recipe(purposes=CHARGED), root())
RSA = make(authorityRecipe("RSA", key="rsa2048"))
OF_RSA = make(Recipe(), RSA)
EDWARDS = make(authorityRecipe("Edwards", key="ed25519"))
OF_EDWARDS = make(Recipe(), EDWARDS)

# What is answered about a certificate of the root, and why it is refused.
BAD_ONES: tuple[tuple[str, bytes, str], ...] = (
    ("another certificate", makeAnswer(SIBLING), "not about this"),
    ("the issuer only", makeAnswer(intermediate()), "not about this"),
    (
        "another issuer of that name",
        makeAnswer(LEAF, issuer=NAMESAKE, signer=root()),
        "not about this",
    ),
    ("another authority", makeAnswer(LEAF, signer=NAMESAKE), "not signed"),
    (
        "a certificate of the same authority that is not for this",
        makeAnswer(LEAF, signer=SIBLING, carried=(SIBLING,)),
        "not signed",
    ),
    ("the certificate itself", makeAnswer(LEAF, signer=LEAF, carried=(LEAF,)), "not signed"),
    (
        "whom another authority has charged",
        makeAnswer(LEAF, signer=OF_NAMESAKE, carried=(OF_NAMESAKE,)),
        "not signed",
    ),
    (
        "who is charged no more",
        makeAnswer(LEAF, signer=EXPIRED, carried=(EXPIRED,)),
        "not signed",
    ),
    ("who is charged and unknown", makeAnswer(LEAF, signer=RESPONDER), "not signed"),
    ("stale", makeAnswer(LEAF, start=-3 * HOUR, end=-HOUR), "expired"),
    ("from the future", makeAnswer(LEAF, start=HOUR), "future"),
    ("without an end", makeAnswer(LEAF, end=None), "nextUpdate"),
    (
        "unknown",
        makeAnswer(LEAF, status=ocsp.OCSPCertStatus.UNKNOWN),
        "is not known",
    ),
    (
        "no answer",
        ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(
            Encoding.DER
        ),
        "TRY_LATER",
    ),
    ("garbage", b"garbage", "unreadable"),
    ("nothing", b"", "unreadable"),
    ("too much", makeAnswer(LEAF) + bytes(LARGEST_ANSWER), "too large"),
)


def withPlaces(*urls: str, isOCSP: bool = True) -> x509.Certificate:
    """A certificate that names places."""
    method = (
        AuthorityInformationAccessOID.OCSP if isOCSP else AuthorityInformationAccessOID.CA_ISSUERS
    )
    places = [x509.AccessDescription(method, x509.UniformResourceIdentifier(each)) for each in urls]
    access = x509.AuthorityInformationAccess(places)
    return make(Recipe(extra=((access, False),)), root()).certificate


class JudgingTests(SynchronousTestCase):
    """Responses about a certificate."""

    def assertGood(self, der: bytes, about: Issued = LEAF, issuer: Issued | None = None) -> None:
        """It is believed."""
        answer = judge(der, about.certificate, (issuer or root()).certificate, time())
        self.assertEqual(answer.der, der)
        self.assertLess(answer.start, answer.end)

    def assertBad(self, der: bytes, reason: str, cause: str = BAD) -> None:
        """It is refused."""
        refused = self.assertRaises(
            IdentityRefused, judge, der, LEAF.certificate, root().certificate, time()
        )
        self.assertIn(reason, refused.detail)
        self.assertEqual(refused.cause, cause)

    def test_good(self) -> None:
        """From the issuer, or from whom it has charged."""
        self.assertGood(makeAnswer(LEAF))
        self.assertGood(makeAnswer(LEAF, signer=RESPONDER, carried=(SIBLING, RESPONDER)))
        self.assertGood(makeAnswer(LEAF, algorithm=hashes.SHA256()))
        self.assertGood(makeAnswer(BELOW, issuer=intermediate()), BELOW, intermediate())

    def test_anyKindOfKey(self) -> None:
        """That authorities have."""
        self.assertGood(makeAnswer(OF_RSA, issuer=RSA), OF_RSA, RSA)
        self.assertGood(makeAnswer(OF_EDWARDS, issuer=EDWARDS), OF_EDWARDS, EDWARDS)

    def test_aResponderIsChargedByTheIssuerAlone(self) -> None:
        """Not by an authority above it."""
        der = makeAnswer(
            BELOW, issuer=intermediate(), signer=RESPONDER_ABOVE, carried=(RESPONDER_ABOVE,)
        )
        self.assertRaises(
            IdentityRefused, judge, der, BELOW.certificate, intermediate().certificate, time()
        )

    def test_eachThatIsBad(self) -> None:
        """One after the other."""
        for name, der, reason in BAD_ONES:
            with self.subTest(name):
                self.assertBad(der, reason)

    def test_revoked(self) -> None:
        """Also where the response is old: nothing makes it good again."""
        for end in timedelta(days=7), -MINUTE:
            der = makeAnswer(LEAF, status=ocsp.OCSPCertStatus.REVOKED, end=end)
            self.assertBad(der, "was revoked", "revoked")

    def test_clocksDiffer(self) -> None:
        """By some minutes."""
        self.assertGood(makeAnswer(LEAF, start=MINUTE))

    def test_aBitMakesItBad(self) -> None:
        """Every one of the signature counts."""
        der = bytearray(makeAnswer(LEAF))
        der[-3] ^= 1
        self.assertRaises(
            IdentityRefused, judge, bytes(der), LEAF.certificate, root().certificate, time()
        )

    @given(st.binary(max_size=40), st.integers(0, 300))
    def test_noGarbageBreaksAnything(self, garbage: bytes, at: int) -> None:
        """It is refused, or it is good."""
        good = makeAnswer(LEAF)
        for der in (garbage, good[:at], good[:at] + garbage + good[at + len(garbage) :]):
            with contextlib.suppress(IdentityRefused):
                judge(der, LEAF.certificate, root().certificate, time())


class AskingTests(SynchronousTestCase):
    """Where to ask, and what."""

    def assertResponder(self, expected: str, urls: Sequence[str], isOCSP: bool = True) -> None:
        """That is found."""
        self.assertEqual(responderOf(withPlaces(*urls, isOCSP=isOCSP)), expected)

    def test_whereTheCertificateSays(self) -> None:
        """With a port, a path and a query."""
        for url in ("http://a.example", "http://a.example:8080/b?c", "http://[::1]:80/"):
            self.assertResponder(url, [url])
        self.assertResponder("http://b.example/", ["ldap://a.example/", "http://b.example/"])

    def test_nowhere(self) -> None:
        """It says nothing, or nothing of use."""
        self.assertEqual(responderOf(LEAF.certificate), "")
        self.assertResponder("", ["http://a.example/"], isOCSP=False)
        for url in (
            "https://a.example/",
            "file:///etc/passwd",
            "http:///a",
            "http://user@a.example/",
            "http://a.example:99999/",
            "http://a.example/ b",
            "http://a.example/\r\nb:c",
        ):
            self.assertResponder("", [url])

    def test_theQuestion(self) -> None:
        """Is about the certificate, in the form that every responder knows."""
        asked = ocsp.load_der_ocsp_request(questionAbout(LEAF.certificate, root().certificate))
        self.assertEqual(asked.serial_number, LEAF.certificate.serial_number)
        self.assertIsInstance(asked.hash_algorithm, hashes.SHA1)
        self.assertEqual(len(asked.extensions), 0)
