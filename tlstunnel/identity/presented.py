"""
What a certificate says of whom it is for: its names, as far as they count, in our words.

One name of a kind that counts that cannot be read spoils the whole certificate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from service_identity import VerificationError
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

from tlstunnel.errors import IdentityRefused
from tlstunnel.identity import spiffe
from tlstunnel.identity.constraints import areConstrained, permitDomain, permitURI
from tlstunnel.identity.names import Identity, Kind, normalDomain
from tlstunnel.identity.spki import countNames

#: SRVName, RFC 4985 section 2.
_SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")

#: A dNSName as RFC 9525 section 6.3 wants it: a wildcard is a complete left-most label.
_DNS_NAME = re.compile(r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)

#: What service-identity may take for an address, and then refuses.
_LIKE_ADDRESS = re.compile(r"[-0-9_.]+")

#: The Mailbox of RFC 5280 section 4.2.1.6, without quotation and without address literals.
_MAILBOX = re.compile(r"([!#-'*+./0-9=?A-Z^-~-]+)@([A-Za-z0-9_.-]+(?<!\.))")

#: Names that a certificate may have: each is looked at, and thousands keep everybody else waiting.
MOST_NAMES = 2000


class Unreadable(Exception):
    """A name that counts is not what its kind demands."""


def alternativeNames(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    """The subject alternative name of C{certificate}, if it has one."""
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
            raise Unreadable(f"dNSName {name}")
        if name.startswith("*"):
            wild.append(name[1:].lower())
        else:
            exact.append(_dnsPattern(name))
    return exact, wild


def _dnsPattern(name: str) -> DNSPattern:
    """
    The pattern of a name.  To let service-identity find out that it is no address takes ten times
    as long, so that is done only where it may be one.
    """
    text = name.encode("ascii")
    return (
        DNSPattern.from_bytes(text) if _LIKE_ADDRESS.fullmatch(name) else DNSPattern(text.lower())
    )


def _ia5String(der: bytes) -> str:
    """Take the text out of an IA5String (X.690) whose lengths are known to be right."""
    if der[0] != 0x16:
        raise Unreadable("SRVName that is no IA5String")
    header = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return der[header:].decode("ascii")


def _srvNames(names: x509.SubjectAlternativeName) -> list[SRVPattern]:
    found = []
    for other in names.get_values_for_type(x509.OtherName):
        if other.type_id == _SRV_NAME:
            name = _ia5String(other.value)
            if not _DNS_NAME.fullmatch(name):
                raise Unreadable(f"SRVName {name}")
            found.append(_srvPattern(name))
    return found


def _srvPattern(name: str) -> SRVPattern:
    service, dot, domain = name.partition(".")
    if not service.startswith("_") or not dot:
        return SRVPattern.from_bytes(name.encode("ascii"))
    return SRVPattern(service[1:].lower().encode("ascii"), _dnsPattern(domain))


def _addresses(names: x509.SubjectAlternativeName) -> list[IPAddressPattern]:
    found = []
    for address in names.get_values_for_type(x509.IPAddress):
        if not isinstance(address, IPv4Address | IPv6Address):
            raise Unreadable(f"iPAddress {address}")
        found.append(IPAddressPattern(address))
    return found


def _mailboxes(names: x509.SubjectAlternativeName) -> list[Identity]:
    found = []
    for name in names.get_values_for_type(x509.RFC822Name):
        match = _MAILBOX.fullmatch(name)
        if match is None:
            raise Unreadable(f"rfc822Name {name}")
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


def _workloads(certificate: x509.Certificate, names: x509.SubjectAlternativeName) -> list[Identity]:
    """
    Read the SPIFFE ID of an X.509-SVID (X509-SVID.md of SPIFFE, sections 2, 4.1 and 4.3): it has no
    other URI, signs and is no authority.
    """
    found = names.get_values_for_type(x509.UniformResourceIdentifier)
    signs = False
    if not any(_isSPIFFE(each) for each in found):
        return []
    if len(found) > 1:
        raise Unreadable(f"URIs: {len(found)}, and beside a SPIFFE ID there is no other")
    domain, path = _spiffeID(found[0])
    if not path or path.endswith("/"):
        raise Unreadable(f"SPIFFE ID without a path, or with a slash at its end: {found[0]}")
    for extension in certificate.extensions:
        usage = extension.value
        if isinstance(usage, x509.BasicConstraints) and usage.ca:
            raise Unreadable(f"SPIFFE ID, as it is that of an authority: {found[0]}")
        if isinstance(usage, x509.KeyUsage) and usage.digital_signature:
            signs = not (usage.key_cert_sign or usage.crl_sign)
    if not signs:
        raise Unreadable(f"SPIFFE ID, as its key is not for signing handshakes alone: {found[0]}")
    return [Identity(None, domain, path)]


def _spiffeID(uri: str) -> tuple[str, str]:
    try:
        return spiffe.split(uri)
    except ValueError as error:
        raise Unreadable(f"SPIFFE ID: {error}") from None


def _isSPIFFE(uri: str) -> bool:
    return uri.lower().startswith("spiffe:")


@dataclass(frozen=True)
class Presented:
    """
    What a certificate says, and who stands behind it.

    @ivar certificate: the certificate.
    @ivar names: its names.
    @ivar authorities: the certificates above it.
    @ivar service: the service whose SRVNames count; L{None} for none.
    """

    certificate: x509.Certificate
    names: x509.SubjectAlternativeName
    authorities: Sequence[x509.Certificate]
    service: str | None

    @classmethod
    def by(
        cls,
        certificate: x509.Certificate,
        authorities: Sequence[x509.Certificate],
        service: str | None,
    ) -> Presented | None:
        """
        What C{certificate} says; L{None} if it has no subject alternative name.

        @raise IdentityRefused: it has more than L{MOST_NAMES}.
        """
        # To read them first would take longer than all else that is done with a certificate.
        if countNames(certificate, MOST_NAMES) > MOST_NAMES:
            raise IdentityRefused(f"the certificate has more than {MOST_NAMES} names")
        names = alternativeNames(certificate)
        return None if names is None else cls(certificate, names, authorities, service)

    def _services(self) -> list[SRVPattern]:
        """The SRVNames that count: none below an authority that was given constraints."""
        if self.service is None or areConstrained(self.authorities):
            return []
        return _srvNames(self.names)

    def _workloads(self) -> list[Identity]:
        """The SPIFFE ID, if its authorities permit it."""
        found = _workloads(self.certificate, self.names)
        return [each for each in found if permitURI(self.authorities, each.domain)]

    def proves(self, expected: Identity) -> bool:
        """Whether one of the names is that of C{expected}."""
        match expected.kind:
            case Kind.USER:
                return expected in _mailboxes(self.names)
            case Kind.WORKLOAD:
                return expected in self._workloads()
            case Kind.KEY:
                return False
        if expected.address is not None:
            addresses = (
                each for each in _addresses(self.names) if each.pattern == expected.address
            )
            return _anyIs(addresses, IPAddress_ID(expected.domain))
        exact, wild = _dnsNames(self.names)
        domain = expected.domain.encode("ascii")
        if _anyIs((each for each in exact if each.pattern == domain), DNS_ID(expected.domain)):
            return True
        # RFC 9525, section 6.3: it stands for one label, of any kind.
        _, dot, parent = expected.domain.partition(".")
        if dot + parent in wild and permitDomain(self.authorities, expected.domain):
            return True
        services = (each for each in self._services() if each.dns_pattern.pattern == domain)
        return self.service is not None and _anyIs(
            services, SRV_ID(f"_{self.service}.{expected.domain}")
        )

    def somebody(self, kinds: Set[Kind]) -> list[Identity]:
        """Whoever of these kinds may be showing the certificate."""
        found: list[Identity] = []
        if Kind.USER in kinds:
            found += _mailboxes(self.names)
        if Kind.WORKLOAD in kinds:
            found += self._workloads()
        if Kind.DOMAIN in kinds:
            # A wildcard says which hosts may show this certificate, not who is showing it.
            found += [Identity(None, each.pattern.decode()) for each in _dnsNames(self.names)[0]]
            found += [Identity(None, str(each.pattern)) for each in _addresses(self.names)]
            found += [
                Identity(None, each.dns_pattern.pattern.decode())
                for each in self._services()
                if each.name_pattern.decode() == self.service
            ]
        return found

    def everybody(self) -> tuple[list[Identity], list[str]]:
        """
        Whomever the certificate could be for in the eyes of anybody, of whatever kind and whether
        or not that counts for us: to find out who is denied.

        @return: them, and for each wildcard what follows its asterisk, from the dot onwards.
        """
        exact, wild = _dnsNames(self.names)
        found = [Identity(None, each.pattern.decode()) for each in exact]
        found += [Identity(None, str(each.pattern)) for each in _addresses(self.names)]
        services = _srvNames(self.names)
        found += [Identity(None, each.dns_pattern.pattern.decode()) for each in services]
        found += _mailboxes(self.names)
        for uri in self.names.get_values_for_type(x509.UniformResourceIdentifier):
            if _isSPIFFE(uri):
                domain, path = _spiffeID(uri)
                found.append(Identity(None, domain, path or "/"))
        return found, wild
