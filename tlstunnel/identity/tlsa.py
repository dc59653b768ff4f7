"""
TLSA records: what a domain says, in DNS, of the certificate that its server shows (RFC 6698).

Which of them can be used, and what they match, is here, as RFC 7671 has it.  Where they come from,
and whether that is to be believed, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256, sha512

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tlstunnel.identity.spki import publicKeyOf

# Usages (RFC 7218, section 2.1): the certificate of an authority, or that of the server itself.
# Those below 2 would have to be judged by the public web PKI too.
_TA, _EE = 2, 3

# Selectors: all of the certificate, or its public key.
_CERTIFICATE, _KEY = 0, 1

# Matching types: all of it, or a digest.
_FULL = 0
_DIGESTS = {1: sha256, 2: sha512}


@dataclass(frozen=True)
class TLSA:
    """
    One record.

    @ivar usage: whose certificate it is about: 2 for an authority's, 3 for the server's own.
    @ivar selector: what of it: 0 for all, 1 for the public key.
    @ivar matching: how C{data} has that: 0 as it is, 1 as its SHA-256, 2 as its SHA-512.
    @ivar data: what it has to be.
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    @classmethod
    def parse(cls, wire: bytes) -> TLSA:
        """
        Read the data of a resource record (RFC 6698, section 2.1).

        @raise ValueError: it is too short.
        """
        if len(wire) < 4:
            raise ValueError("a TLSA record is too short")
        return cls(wire[0], wire[1], wire[2], wire[3:])

    @property
    def isUsable(self) -> bool:
        """
        Whether we know what it demands (RFC 7671, sections 4 and 5): of the usages 0 and 1, which
        mean the authorities of the web, we know nothing, as SMTP does (RFC 7672, section 3.1.3).
        """
        digest = _DIGESTS.get(self.matching)
        if digest is None:
            isWhole = self.matching == _FULL
        else:
            isWhole = digest().digest_size == len(self.data)
        return self.usage in (_TA, _EE) and self.selector in (_CERTIFICATE, _KEY) and isWhole

    @property
    def isOfServer(self) -> bool:
        """
        Whether it is about the server's own certificate, of which names and dates are ignored then
        (RFC 7671, section 5.1).
        """
        return self.usage == _EE

    def matches(self, certificate: x509.Certificate) -> bool:
        """
        Whether C{certificate} is what it says.
        """
        isKey = self.selector == _KEY
        found = publicKeyOf(certificate) if isKey else certificate.public_bytes(Encoding.DER)
        digest = _DIGESTS.get(self.matching)
        return self.data == (found if digest is None else digest(found).digest())

    @property
    def authority(self) -> x509.Certificate | None:
        """
        The authority that it has as a whole, so that a server need not show it; else C{None}.
        """
        if (self.usage, self.selector, self.matching) != (_TA, _CERTIFICATE, _FULL):
            return None
        try:
            return x509.load_der_x509_certificate(self.data)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching}"


@dataclass(frozen=True)
class TLSARecords:
    """
    The records of one server that count.

    @ivar name: where they stand: C{_25._tcp.mx.example.org}.
    @ivar records: at least one.
    """

    name: str
    records: tuple[TLSA, ...]

    def __str__(self) -> str:
        kinds = dict.fromkeys(map(str, self.records))
        return f"TLSA {', '.join(kinds)} of {self.name}"


def counting(records: Iterable[TLSA]) -> tuple[TLSA, ...]:
    """
    Those that count: of the usable ones with a digest the strongest for each usage and selector,
    and all without (RFC 7671, section 9).
    """
    usable = [each for each in records if each.isUsable]
    strongest: dict[tuple[int, int], int] = {}
    for each in usable:
        kind = each.usage, each.selector
        strongest[kind] = max(each.matching, strongest.get(kind, _FULL))
    return tuple(
        dict.fromkeys(
            each
            for each in usable
            if each.matching in (_FULL, strongest[each.usage, each.selector])
        )
    )
