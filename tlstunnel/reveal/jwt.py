"""
JSON Web Tokens (RFC 7519), by which whoever shares a key with us believes what we say: signed with
HMAC and SHA-256 (RFC 7515; RFC 7518, section 3.2).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

#: The fewest bytes of a key.
SMALLEST_KEY = 32


def readKey(text: str) -> bytes:
    """
    The key that is C{k} of a JSON Web Key (RFC 7518, section 6.4.1).

    @raise ValueError: it is none; the message is a sentence for the user.
    """
    try:
        key = urlsafe_b64decode(f"{text}{'=' * (-len(text) % 4)}".encode("ascii"))
    except (binascii.Error, UnicodeEncodeError):
        key = b""
    if len(key) < SMALLEST_KEY or _encoded(key) != text.rstrip("="):
        raise ValueError(
            f"the key is not {SMALLEST_KEY} bytes or more in base64url; write there what is k in "
            "the JWK of the server"
        )
    return key


def sign(claims: Mapping[str, str | int], key: bytes) -> str:
    """
    A token that makes these claims.
    """
    words = ({"alg": "HS256", "typ": "JWT"}, claims)
    signed = ".".join(_encoded(json.dumps(word).encode()) for word in words)
    return f"{signed}.{_encoded(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
