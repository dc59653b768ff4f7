"""
Parts of a certificate, byte by byte as they stand there: its public key, which pins and TLSA
records are about, and what is counted before it is read: its names, and all its elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from cryptography import x509

# Tags of DER, and the bit of those that have others inside; which fields they are, but for the
# version, which may be missing (RFC 5280, section 4.1).
_SEQUENCE, _VERSION, _OCTETS = 0x30, 0xA0, 0x04
_CONSTRUCTED = 0x20
_ISSUER, _KEY = 2, 5

# Where the extensions are, and the one that is subjectAltName (sections 4.1 and 4.2.1.6).
_EXTENSIONS, _ALTERNATIVES = 0xA3, bytes.fromhex("551d11")

_DER = TypeVar("_DER", bytes, memoryview)


def publicKeyOf(certificate: x509.Certificate) -> bytes:
    """
    The SubjectPublicKeyInfo of a certificate: of some keys C{cryptography} makes other bytes, and
    of some it knows none.

    @raise ValueError: there is none.
    """
    return _field(certificate, _KEY)


def issuerOf(certificate: x509.Certificate) -> bytes:
    """
    The name of whoever has issued a certificate, as it stands there: one may have thousands of
    parts, of each of which C{cryptography} makes objects.

    @raise ValueError: there is none.
    """
    return _field(certificate, _ISSUER)


def _field(certificate: x509.Certificate, number: int) -> bytes:
    """
    A field that is a SEQUENCE.
    """
    ((_, _, inside),) = _elements(certificate.tbs_certificate_bytes)
    parts = [(tag, whole) for tag, whole, _ in _elements(inside)]
    if parts[0][0] == _VERSION:
        del parts[0]
    if len(parts) <= number or parts[number][0] != _SEQUENCE:
        raise ValueError("a certificate is not what it should be")
    return parts[number][1]


def countNames(certificate: x509.Certificate, most: int) -> int:
    """
    How many names are in the subject alternative name of a certificate, C{most} + 1 standing for
    more, without making objects of them all, as C{cryptography} does.

    @raise ValueError: it cannot be read.
    """
    ((_, _, inside),) = _elements(certificate.tbs_certificate_bytes)
    for tag, _, part in _elements(inside):
        if tag == _EXTENSIONS:
            ((_, _, extensions),) = _elements(part)
            for _, _, extension in _elements(extensions):
                (_, _, kind), *_, (_, _, content) = _elements(extension)
                if kind == _ALTERNATIVES:
                    ((_, _, names),) = _elements(content)
                    return sum(1 for _ in islice(_elements(names), most + 1))
    return 0


def hasMoreElements(certificate: x509.Certificate, most: int) -> bool:
    """
    Whether there are more than C{most} elements of DER in a certificate, also in its extensions,
    of each of which C{cryptography} makes objects.  What cannot be read counts as far as it can.
    """
    whole = certificate.tbs_certificate_bytes
    if len(whole) <= 2 * most:
        # Each takes two bytes at least.
        return False
    # As views, so that nothing is copied, however deep it is.
    inside = [memoryview(whole)]
    count = 0
    while inside:
        try:
            for tag, _, contents in _elements(inside.pop()):
                count += 1
                if count > most:
                    return True
                if tag & _CONSTRUCTED or tag == _OCTETS:
                    inside.append(contents)
        except ValueError:
            continue
    return False


def _elements(der: _DER) -> Iterator[tuple[int, _DER, _DER]]:
    """
    Go through the elements of DER (X.690) one behind the other, whose tags have one byte.

    @return: for each its tag, all of it, and its contents.
    """
    at = 0
    while at < len(der):
        if at + 1 == len(der):
            raise ValueError("a certificate is cut off")
        begin, length = at + 2, der[at + 1]
        if length & 0x80:
            begin += length & 0x7F
            length = int.from_bytes(der[at + 2 : begin], "big")
        end = begin + length
        if end > len(der):
            raise ValueError("a certificate is cut off")
        yield der[at], der[at:end], der[begin:end]
        at = end
