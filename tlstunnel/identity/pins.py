"""
Pins: the SHA-256 of public keys, as curl writes them (C{--pinnedpubkey}).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509

from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.names import KeyIdentity
from tlstunnel.identity.spki import publicKeyOf

#: How many keys are shown.
SHOWN = 4

_BEGIN = "sha256//"

_HOW = (
    "'tlstunnel identity check' shows that of an identity of ours; of a certificate get it with "
    "openssl x509 -in FILE -pubkey -noout | openssl pkey -pubin -outform der | "
    "openssl dgst -sha256 -binary | base64"
)


def parsePin(text: str) -> KeyIdentity:
    """
    Read C{sha256//BASE64}.

    @raise ValueError: it is something else; the message is a sentence for the user.
    """
    if not text.startswith(_BEGIN):
        raise ValueError(f"{text!r} is no pin, which begins with {_BEGIN}; {_HOW}")
    try:
        digest = base64.b64decode(text.removeprefix(_BEGIN), validate=True)
    except (binascii.Error, ValueError):
        several = "; give several one by one" if ";" in text else f"; {_HOW}"
        raise ValueError(f"{text!r} is not in Base64 behind {_BEGIN}{several}") from None
    if len(digest) != sha256().digest_size:
        raise ValueError(f"{text!r} has {len(digest)} bytes, and a SHA-256 has 32; {_HOW}")
    return KeyIdentity.of(digest)


def keyOf(certificate: x509.Certificate) -> KeyIdentity:
    """
    Whoever has the key of C{certificate}, under the SHA-256 of its SubjectPublicKeyInfo (RFC 7469,
    section 2.4).

    @raise ValueError: it has none.
    """
    return KeyIdentity.of(sha256(publicKeyOf(certificate)).digest())


@dataclass(frozen=True)
class Pins:
    """
    The keys that a peer may have.

    @ivar keys: at least one.
    """

    keys: frozenset[KeyIdentity]

    @classmethod
    def of(cls, keys: Iterable[KeyIdentity]) -> Pins | None:
        """Those, or L{None} if there are none."""
        found = frozenset(keys)
        return cls(found) if found else None

    def check(self, certificate: x509.Certificate) -> KeyIdentity:
        """
        Demand that the key of a certificate is among them.

        @return: whoever has it.
        @raise IdentityRefused: it is not, or cannot be read.
        """
        try:
            key = keyOf(certificate)
        except ValueError as error:
            raise IdentityRefused(f"the key of the certificate is unknown: {error}") from None
        if key not in self.keys:
            raise IdentityRefused(
                f"the key of the certificate is {key}, which is not pinned", cause="other key"
            )
        return key

    def __str__(self) -> str:
        shown = sorted(map(str, self.keys))
        if len(shown) > SHOWN:
            shown[SHOWN - 1 :] = [f"{len(shown) - SHOWN + 1} others"]
        return " or ".join(shown)
