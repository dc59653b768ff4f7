"""
Does this certificate belong to that identity?

Only names are looked at here, and only those in the subject alternative name: never a common name.
Whether the certificate itself is to be believed is between OpenSSL and the anchors of the pool; the
authorities that it found above the certificate count here for what they constrain.

Everything fails closed: one name of the kind that counts that cannot be read spoils the whole
certificate, and whatever else goes wrong is a refusal too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import (
    DNS_ID,
    SRV_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    ServiceID,
    SRVPattern,
    verify_service_identity,
)

from tlstunnel.errors import IdentityRefused, quote
from tlstunnel.identity.constraints import areConstrained, permitDomain
from tlstunnel.identity.names import AccessList, Identity, Selector, normalDomain

#: SRVName, RFC 4985 section 2.
_SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")

#: A dNSName as RFC 9525 section 6.3 wants it: a wildcard is a complete left-most label.
_DNS_NAME = re.compile(r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)

#: The Mailbox of RFC 5280 section 4.2.1.6, without quotation and without address literals.
_MAILBOX = re.compile(r"([!#-'*+./0-9=?A-Z^-~-]+)@([A-Za-z0-9_.-]+(?<!\.))")


class _Unreadable(Exception):
    """A name that counts is not what its kind demands."""


def _alternativeNames(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return extension.value


def _dnsNames(names: x509.SubjectAlternativeName) -> tuple[list[DNSPattern], list[str]]:
    """
    Read all dNSNames.

    @return: the exact ones, and for each wildcard what follows its asterisk, from the dot onwards.
    """
    exact, wild = [], []
    for name in names.get_values_for_type(x509.DNSName):
        if not _DNS_NAME.fullmatch(name):
            raise _Unreadable(f"dNSName {name}")
        if name.startswith("*"):
            wild.append(name[1:].lower())
        else:
            exact.append(DNSPattern.from_bytes(name.encode("ascii")))
    return exact, wild


def _ia5String(der: bytes) -> str:
    """Take the text out of an IA5String (X.690) whose lengths are known to be right."""
    if der[0] != 0x16:
        raise _Unreadable("SRVName that is no IA5String")
    header = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return der[header:].decode("ascii")


def _srvNames(names: x509.SubjectAlternativeName) -> list[SRVPattern]:
    found = []
    for other in names.get_values_for_type(x509.OtherName):
        if other.type_id == _SRV_NAME:
            name = _ia5String(other.value)
            if not _DNS_NAME.fullmatch(name):
                raise _Unreadable(f"SRVName {name}")
            found.append(SRVPattern.from_bytes(name.encode("ascii")))
    return found


def _addresses(names: x509.SubjectAlternativeName) -> list[IPAddressPattern]:
    found = []
    for address in names.get_values_for_type(x509.IPAddress):
        if not isinstance(address, IPv4Address | IPv6Address):
            raise _Unreadable(f"iPAddress {address}")
        found.append(IPAddressPattern(address))
    return found


def _mailboxes(names: x509.SubjectAlternativeName) -> list[Identity]:
    found = []
    for name in names.get_values_for_type(x509.RFC822Name):
        match = _MAILBOX.fullmatch(name)
        if match is None:
            raise _Unreadable(f"rfc822Name {name}")
        found.append(Identity(match[1], normalDomain(match[2])))
    return found


def _anyIs(patterns: Iterable[CertificatePattern], reference: ServiceID) -> bool:
    """Ask service-identity whether one of the names of a certificate is C{reference}."""
    for pattern in patterns:
        try:
            verify_service_identity([pattern], [reference], [])
        except VerificationError:
            continue
        return True
    return False


@dataclass(frozen=True)
class _Presented:
    """
    What a certificate says, and who stands behind it.

    @ivar names: its names.
    @ivar authorities: the certificates above it.
    @ivar service: the service whose SRVNames count; L{None} for none.
    """

    names: x509.SubjectAlternativeName
    authorities: Sequence[x509.Certificate]
    service: str | None

    def services(self) -> list[SRVPattern]:
        """The SRVNames that count: none below an authority that was given constraints."""
        if self.service is None or areConstrained(self.authorities):
            return []
        return _srvNames(self.names)

    def proves(self, expected: Identity) -> bool:
        """Whether one of the names is that of C{expected}."""
        if expected.user is not None:
            return expected in _mailboxes(self.names)
        if expected.address is not None:
            return _anyIs(_addresses(self.names), IPAddress_ID(expected.domain))
        exact, wild = _dnsNames(self.names)
        if _anyIs(exact, DNS_ID(expected.domain)):
            return True
        # RFC 9525, section 6.3: it stands for one label, of any kind.
        _, dot, parent = expected.domain.partition(".")
        if dot + parent in wild and permitDomain(self.authorities, expected.domain):
            return True
        return self.service is not None and _anyIs(
            self.services(), SRV_ID(f"_{self.service}.{expected.domain}")
        )

    def select(self, expected: Selector) -> Identity | None:
        """The first of the names that C{expected} matches."""
        if expected.user is not None:
            candidates = _mailboxes(self.names)
        else:
            # A wildcard says which hosts may show this certificate, not who is showing it.
            exact, _ = _dnsNames(self.names)
            candidates = [Identity(None, each.pattern.decode()) for each in exact]
            candidates += [Identity(None, str(each.pattern)) for each in _addresses(self.names)]
            candidates += [
                Identity(None, each.dns_pattern.pattern.decode())
                for each in self.services()
                if each.name_pattern.decode() == self.service
            ]
        return next((each for each in candidates if expected.matches(each)), None)


def _quote(text: str) -> str:
    return quote(text.encode("utf-8", "backslashreplace"))


def namesIn(certificate: x509.Certificate) -> list[str]:
    """
    List what a certificate says of whom it is for, for people to read: names as they stand there,
    raw and untrusted.

    @raise Exception: whatever an unreadable certificate makes C{cryptography} raise.
    """
    names = _alternativeNames(certificate)
    return [] if names is None else [str(getattr(name, "value", name)) for name in names]


def verifyIdentity(
    certificate: x509.Certificate,
    expected: Identity | Selector | AccessList,
    service: str | None = None,
    authorities: Sequence[x509.Certificate] = (),
) -> Identity:
    """
    Demand that a certificate belongs to whom we expect.

    A domain is a dNSName (RFC 9525); an address is an iPAddress; C{user@domain} is an rfc822Name.
    A wildcard stands for a domain only where C{authorities} permit that.  Where a service is given,
    a domain may be an SRVName for it (RFC 4985), unless an authority has name constraints, which do
    not bind such names.  Of a selector, any name of the certificate will do that it matches, but a
    wildcard is never that of anybody; of a list, the first selector that matches one counts.

    @param service: the service as in SRV records, without the underscore: C{xmpp-server}.
    @param authorities: those in the verified chain, up to and with the anchor.
    @return: who that is: C{expected}, or the first of those that a selector matches.
    @raise IdentityRefused: it does not belong there, or could not be read, or anything else.
    """
    found: Identity | None = None
    try:
        names = _alternativeNames(certificate)
        if names is None:
            raise IdentityRefused(
                "the certificate has no subject alternative name", cause="no name"
            )
        presented = _Presented(names, authorities, service)
        if isinstance(expected, Identity):
            found = expected if presented.proves(expected) else None
        else:
            several = expected.selectors if isinstance(expected, AccessList) else (expected,)
            selected = map(presented.select, several)
            found = next((each for each in selected if each is not None), None)
        has = ", ".join(namesIn(certificate)) if found is None else ""
    except (IdentityRefused, KeyboardInterrupt, SystemExit):
        raise
    except (_Unreadable, CertificateError) as error:
        raise IdentityRefused(f"the certificate has a bad name: {_quote(str(error))}") from None
    except BaseException as error:  # also the panics of cryptography's Rust, which are no Exception
        raise IdentityRefused(f"the certificate is unreadable: {_quote(str(error))}") from error
    if found is None:
        raise IdentityRefused(
            f"the certificate is for {_quote(has)}, and not for {expected}", cause="wrong name"
        )
    return found


@lru_cache(maxsize=256)
def coversName(certificate: x509.Certificate, hostname: str) -> bool:
    """
    Whether our own certificate is for the name that a client asks for with SNI (RFC 6066).

    This decides nothing but whether the client is served, and it will do its own verification.
    Addresses are not allowed in SNI, but some clients (lftp) send them.
    """
    asked = hostname.lower().removesuffix(".")
    names = _alternativeNames(certificate)
    if names is None:
        return False
    ours = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    ours += map(str, names.get_values_for_type(x509.IPAddress))
    label, _, parent = asked.partition(".")
    return asked in ours or (bool(label) and f"*.{parent}" in ours)
