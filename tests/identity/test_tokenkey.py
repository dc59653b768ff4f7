"""
Tests for L{tlstunnel.identity.tokenkey}.
"""

from __future__ import annotations

import copy

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.identity.tokenkey import TokenECKey, TokenRSAKey


def onCurve(curve: ec.EllipticCurve) -> TokenECKey:
    """
    A key whose token is a key of ours.
    """
    key = ec.generate_private_key(curve)
    length = (curve.key_size + 7) // 8

    def sign(digest: bytes) -> bytes:
        numbers = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
        return b"".join(each.to_bytes(length) for each in numbers)

    return TokenECKey(key.public_key(), sign)


def forRSA() -> TokenRSAKey:
    """
    The same for RSA.
    """
    key = rsa.generate_private_key(65537, 2048)
    return TokenRSAKey(key.public_key(), lambda text: key.sign(text, padding.PKCS1v15(), SHA256()))


class TokenKeyTests(SynchronousTestCase):
    """
    Keys that only sign.
    """

    def test_requestsAreSigned(self) -> None:
        """
        On each curve, whose numbers have different lengths.
        """
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        for key in (onCurve(ec.SECP256R1()), onCurve(ec.SECP521R1()), forRSA()):
            request = builder.sign(key, SHA256())
            self.assertTrue(request.is_signature_valid)
            self.assertEqual(request.public_key(), key.public_key())
            self.assertEqual(key.key_size, key.public_key().key_size)

    def test_nothingElseIsDone(self) -> None:
        """
        What the token would have to be asked for in another way, or does not give away.
        """
        curve, other = onCurve(ec.SECP256R1()), forRSA()
        self.assertEqual(curve.curve.name, "secp256r1")
        for each in (
            lambda: curve.sign(b"", ec.ECDSA(SHA384())),
            lambda: curve.exchange(ec.ECDH(), curve.public_key()),
            lambda: other.sign(b"", padding.PKCS1v15(), SHA384()),
            lambda: other.decrypt(b"", padding.PKCS1v15()),
            *(key.private_numbers for key in (curve, other)),
            *((lambda key=key: copy.copy(key)) for key in (curve, other)),
        ):
            self.assertRaises(UnsupportedAlgorithm, each)
