"""
The public key of a certificate, byte by byte as it stands there: what pins and TLSA records are
about.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509

# Tags of DER, and how many fields there are before the public key (RFC 5280, section 4.1).
_SEQUENCE, _VERSION = 0x30, 0xA0
_BEFORE_THE_KEY = 5


def publicKeyOf(certificate: x509.Certificate) -> bytes:
    """
    The SubjectPublicKeyInfo of a certificate: of some keys C{cryptography} makes other bytes, and
    of some it knows none.

    @raise ValueError: there is none.
    """
    ((_, _, inside),) = _elements(certificate.tbs_certificate_bytes)
    parts = [(tag, whole) for tag, whole, _ in _elements(inside)]
    if parts[0][0] == _VERSION:
        del parts[0]
    if len(parts) <= _BEFORE_THE_KEY or parts[_BEFORE_THE_KEY][0] != _SEQUENCE:
        raise ValueError("a certificate has no public key")
    return parts[_BEFORE_THE_KEY][1]


def _elements(der: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """
    Go through the elements of DER (X.690) one behind the other, whose tags have one byte.

    @return: for each its tag, all of it, and its contents.
    """
    at = 0
    while at < len(der):
        begin, length = at + 2, der[at + 1]
        if length & 0x80:
            begin += length & 0x7F
            length = int.from_bytes(der[at + 2 : begin], "big")
        end = begin + length
        if end > len(der):
            raise ValueError("a certificate is cut off")
        yield der[at], der[at:end], der[begin:end]
        at = end
