"""
Certificate revocation lists (RFC 5280, section 5), each by itself: read, and asked about a
certificate.

What cannot be understood is refused when it is read, and never passed over: who has put a list
there wants it to count.  Which of several lists counts is for L{tlstunnel.identity.revocation}.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.pem import quietly, readFile

#: The largest file of lists, in bytes: some 1,500,000 revoked certificates.
LARGEST_FILE = 64 << 20

#: How a list begins in PEM form.
BEGIN = b"-----BEGIN X509 CRL-----"

_END = b"-----END X509 CRL-----"
_GET_ANOTHER = "get it again from its issuer, or another one that is complete"

# Critical extensions that are understood here, of a list and of what it says of one certificate.
_KNOWN = {ExtensionOID.ISSUING_DISTRIBUTION_POINT, ExtensionOID.AUTHORITY_KEY_IDENTIFIER}
_KNOWN_OF_ENTRIES = {CRLEntryExtensionOID.CRL_REASON, CRLEntryExtensionOID.INVALIDITY_DATE}

# What is in DER behind the name of each critical extension: TRUE, and the value begins.
_CRITICAL = b"\x01\x01\xff\x04"

# Keys of authorities for which a list remembers whether it is signed with them.
_KEYS_KEPT = 16


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


Canonical = tuple[frozenset[tuple[str, str]], ...]

#: The issuer, its key, and the scope of a list.
Subject = tuple[Canonical, bytes, bytes]


def canonical(name: x509.Name) -> Canonical:
    """
    What is the same in all ways to write a name (RFC 5280, section 7.1).
    """
    return tuple(
        frozenset(
            (each.oid.dotted_string, " ".join(str(each.value).split()).casefold()) for each in part
        )
        for part in name.rdns
    )


class DeltaList(Exception):
    """
    This is no list, but what has changed since one.
    """


class NotUnderstood(ValueError):
    """
    This is a list that we cannot go by.
    """


class RevocationList:
    """
    A list that was read, and understood.

    @ivar issuer: whose certificates it is about.
    @ivar start: when it was made, in seconds since 1970.
    @ivar end: when there should be another one.
    @ivar number: its crlNumber; -1 where it has none.
    @ivar scope: which of the certificates it is about; empty for all.
    """

    def __init__(self, found: x509.CertificateRevocationList) -> None:
        """
        @raise DeltaList: it is only the difference to another one.
        @raise NotUnderstood: it is about something that we do not know.
        @raise ValueError: it is broken.
        """
        extensions = found.extensions
        if _valueOf(extensions, x509.DeltaCRLIndicator) is not None:
            raise DeltaList
        _checkCritical(extensions, _KNOWN)
        # To look at each entry takes as long again as all the rest.
        if found.tbs_certlist_bytes.count(_CRITICAL) > sum(each.critical for each in extensions):
            for entry in found:
                _checkCritical(entry.extensions, _KNOWN_OF_ENTRIES)
        if found.next_update_utc is None:
            raise NotUnderstood("does not say when there will be another one (nextUpdate)")
        number = _valueOf(extensions, x509.CRLNumber)
        self.number = -1 if number is None else number.crl_number
        self.issuer = found.issuer
        self.start = found.last_update_utc.timestamp()
        self.end = found.next_update_utc.timestamp()
        self._key = _valueOf(extensions, x509.AuthorityKeyIdentifier)
        self._part = _valueOf(extensions, x509.IssuingDistributionPoint)
        if self._part is not None:
            _checkPart(self._part)
        self.scope = b"" if self._part is None else self._part.public_bytes()
        self._list = found
        self._serials = frozenset(each.serial_number for each in found)
        self._signed: dict[bytes, bool] = {}

    @property
    def edition(self) -> tuple[float, int]:
        """What is greater for the newer of two lists about the same."""
        return self.start, self.number

    @property
    def subject(self) -> Subject:
        """What is the same in all editions of a list."""
        key = None if self._key is None else self._key.key_identifier
        return canonical(self.issuer), key or b"", self.scope

    def isSignedBy(self, issuer: x509.Certificate) -> bool:
        """
        Whether the holder of a certificate has signed it, and may sign such lists.
        """
        key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        known = self._signed.get(key)
        if known is None:
            if len(self._signed) >= _KEYS_KEPT:
                self._signed.clear()
            known = self._signed[key] = self._verify(issuer)
        return known and maySign(issuer)

    def _verify(self, issuer: x509.Certificate) -> bool:
        try:
            with quietly():
                return self._list.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
        except (TypeError, ValueError, UnsupportedAlgorithm):
            return False

    def isAbout(self, certificate: x509.Certificate) -> bool:
        """
        Whether it says of a certificate of its issuer that it is revoked or that it is not.
        """
        part = self._part
        if part is None:
            return True
        isAuthority = _isAuthority(certificate)
        if part.only_contains_user_certs and isAuthority:
            return False
        if part.only_contains_ca_certs and not isAuthority:
            return False
        return not part.full_name or not _placesOf(certificate).isdisjoint(part.full_name)

    def isAll(self, certificate: x509.Certificate) -> bool:
        """
        Whether it says all that there is to say of a certificate that it is about: a certificate
        may be revoked elsewhere for other reasons, or by somebody else than its issuer.
        """
        part = self._part
        if part is None or not part.full_name:
            return True
        return not _placesOf(certificate, ofAll=True).isdisjoint(part.full_name)

    def revocationOf(self, certificate: x509.Certificate) -> str:
        """
        When and why a certificate that it is about was revoked; empty if it was not.
        """
        if certificate.serial_number not in self._serials:
            return ""
        if certificate.serial_number < 0:
            # Some authorities have issued such; cryptography finds no entry of theirs.
            return "an unknown day"
        entry = self._list.get_revoked_certificate_by_serial_number(certificate.serial_number)
        assert entry is not None
        reason = "unspecified"
        try:
            reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
        except (ValueError, x509.DuplicateExtension, x509.ExtensionNotFound):
            # Revoked it is, whatever else the entry says.
            pass
        if reason == x509.ReasonFlags.remove_from_crl.value:
            return ""
        since = f"{entry.revocation_date_utc:%Y-%m-%d %H:%M} UTC"
        return since if reason == "unspecified" else f"{since}, {reason}"


def maySign(issuer: x509.Certificate) -> bool:
    """
    Whether a certificate lets its holder sign lists (RFC 5280, section 4.2.1.3).
    """
    usage = _valueOf(issuer.extensions, x509.KeyUsage)
    return usage is None or usage.crl_sign


def _valueOf(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _checkCritical(extensions: x509.Extensions, known: set[x509.ObjectIdentifier]) -> None:
    """
    @raise NotUnderstood: one is critical, and not among those that are C{known} (RFC 5280, sections
        5.2 and 5.3).
    """
    for each in extensions:
        if each.critical and each.oid not in known:
            raise NotUnderstood(
                f"has a critical extension that is not known here ({each.oid.dotted_string})"
            )


def _checkPart(part: x509.IssuingDistributionPoint) -> None:
    """
    @raise NotUnderstood: it is not understood about what a list is.
    """
    if part.indirect_crl:
        raise NotUnderstood("is about the certificates of several issuers (indirectCRL)")
    if part.only_some_reasons:
        raise NotUnderstood("is about some reasons only (onlySomeReasons)")
    if part.only_contains_attribute_certs:
        raise NotUnderstood("is about attribute certificates, which nobody shows in TLS")
    if part.relative_name:
        raise NotUnderstood("has a distribution point with a relative name")


def _isAuthority(certificate: x509.Certificate) -> bool:
    constraints = _valueOf(certificate.extensions, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _placesOf(certificate: x509.Certificate, ofAll: bool = False) -> set[x509.GeneralName]:
    """
    Where a certificate says that lists about it are.

    @param ofAll: those alone that are its issuer's, and for whatever reason it is revoked.
    """
    points = _valueOf(certificate.extensions, x509.CRLDistributionPoints)
    return {
        name
        for point in points or ()
        if not (ofAll and (point.reasons or point.crl_issuer))
        for name in point.full_name or ()
    }


# Files do not change often, and tunnels share them: what is in use is not read again.
_inUse: WeakValueDictionary[bytes, RevocationList] = WeakValueDictionary()


def loadLists(path: Path) -> Iterator[RevocationList | str]:
    """
    Read all lists of a file, in PEM form (RFC 7468) or one in DER.

    @return: the lists; a sentence in the place of each that is passed over.
    @raise ConfigurationError: there are none, or one is broken or not understood.
    """
    for number, content in enumerate(_blocks(path), 1):
        digest = sha256(content).digest()
        known = _inUse.get(digest)
        if known is None:
            try:
                known = _inUse[digest] = _load(content)
            except DeltaList:
                yield (
                    f"{path}: list {number} is passed over, as it only says what has changed since "
                    "another one (a delta CRL); the complete one counts"
                )
                continue
            except ValueError as error:
                raise ConfigurationError(
                    str(path), f"list {number} {error}", _GET_ANOTHER
                ) from None
        yield known


def _load(content: bytes) -> RevocationList:
    read = x509.load_pem_x509_crl if content.startswith(BEGIN) else x509.load_der_x509_crl
    try:
        with quietly():
            return RevocationList(read(content))
    except NotUnderstood:
        raise
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise ValueError(f"is broken ({' '.join(str(error).split())})") from None


def _blocks(path: Path) -> list[bytes]:
    """
    The lists of a file, each still in its form.

    @raise ConfigurationError: there are none, or one begins and does not end.
    """
    content = readFile(path, largest=LARGEST_FILE)
    if content[:1] == b"\x30":
        return [content]
    begun = content.count(BEGIN)
    last = content.rpartition(b"\n")[2]
    if last and last != BEGIN and BEGIN.startswith(last):
        begun += 1
    # What is between two beginnings is no list, and a regular expression would take its time.
    found = [
        BEGIN + inside + _END
        for inside, end, _ in (each.partition(_END) for each in content.split(BEGIN)[1:])
        if end
    ]
    if begun != len(found):
        raise ConfigurationError(
            str(path),
            f"is cut or broken: {begun} lists begin there, and {len(found)} are complete",
            "get it again, as a whole",
        )
    if not found:
        raise ConfigurationError(
            str(path),
            "is empty" if not content else "holds no revocation list",
            "give a file in DER form, or with the line -----BEGIN X509 CRL----- in it",
        )
    return found
