"""
Private keys in tokens as cryptography knows keys, so that it builds requests with them, which the
token signs.  They do nothing else: what a token never hands out, they refuse.

Knows no PKCS#11: whoever makes such a key says how it signs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, Hash

#: Signs a digest of SHA-256 (ECDSA: r and s, of the same length), or a text (RSA).
Sign = Callable[[bytes], bytes]


def _kept(*_: Any, **__: Any) -> NoReturn:
    raise UnsupportedAlgorithm("a key in a token only signs")


class TokenECKey(ec.EllipticCurvePrivateKey):
    """A key for ECDSA with SHA-256."""

    def __init__(self, public: ec.EllipticCurvePublicKey, sign: Sign) -> None:
        self._public = public
        self._sign = sign

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """That of the public half."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """That of the public half, in bits."""
        return self._public.key_size

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign, in DER."""
        if not isinstance(signature_algorithm, ec.ECDSA) or not isinstance(
            signature_algorithm.algorithm, SHA256
        ):
            _kept()
        digest = Hash(SHA256())
        digest.update(data)
        both = self._sign(digest.finalize())
        half = len(both) // 2
        return encode_dss_signature(int.from_bytes(both[:half]), int.from_bytes(both[half:]))

    exchange = _kept
    private_numbers = _kept
    private_bytes = _kept
    __copy__ = _kept
    __deepcopy__ = _kept


class TokenRSAKey(rsa.RSAPrivateKey):
    """A key for RSA with SHA-256, as PKCS #1 v1.5 pads."""

    def __init__(self, public: rsa.RSAPublicKey, sign: Sign) -> None:
        self._public = public
        self._sign = sign

    def public_key(self) -> rsa.RSAPublicKey:
        """The public half."""
        return self._public

    @property
    def key_size(self) -> int:
        """That of the public half, in bits."""
        return self._public.key_size

    def sign(self, data: Any, padding_: Any, algorithm: Any) -> bytes:
        """Sign."""
        if not isinstance(padding_, padding.PKCS1v15) or not isinstance(algorithm, SHA256):
            _kept()
        return self._sign(bytes(data))

    decrypt = _kept
    private_numbers = _kept
    private_bytes = _kept
    __copy__ = _kept
    __deepcopy__ = _kept
