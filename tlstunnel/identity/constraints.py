"""
What the authorities above a certificate let it be for: name constraints (RFC 5280, 4.2.1.10).

OpenSSL applies them to names as they stand in a certificate.  Two kinds of names slip through: a
wildcard stands for names that were never compared, and an SRVName (RFC 4985) is of a kind that the
constraints do not speak of.  Both are judged here.  So are URIs, once more: a constraint that is no
domain, as C{spiffe://example.org}, excludes nothing where OpenSSL reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network

from cryptography import x509

from tlstunnel.identity.names import Identity, Kind

#: A dNSName that constrains others: a domain, or what follows a label; all names if it is empty.
_SUBTREE = re.compile(r"(\.?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*)?", re.IGNORECASE)


def _constraintsOf(authorities: Sequence[x509.Certificate]) -> Iterator[x509.NameConstraints]:
    for authority in authorities:
        try:
            yield authority.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            continue


def areConstrained(authorities: Sequence[x509.Certificate]) -> bool:
    """
    Whether any authority has name constraints, whatever they say.

    @raise Exception: an authority cannot be read.
    """
    return any(True for _ in _constraintsOf(authorities))


def permitDomain(authorities: Sequence[x509.Certificate], domain: str) -> bool:
    """
    Whether every authority lets certificates be for C{domain}: it is in a subtree that is permitted
    for domains, if there are such, and in none that is excluded.

    @param domain: a domain in its one form, not a wildcard.
    @raise Exception: an authority or its constraints cannot be read.
    """
    return _permit(authorities, domain, x509.DNSName, _isWithin)


def permitURI(authorities: Sequence[x509.Certificate], host: str) -> bool:
    """
    Whether every authority lets certificates be for URIs with C{host}: a constraint is a host, or
    begins with a dot and is for all below.

    @param host: in its one form.
    @raise Exception: an authority or its constraints cannot be read.
    """
    return _permit(authorities, host, x509.UniformResourceIdentifier, _isOfURI)


def permitsExpressly(authorities: Sequence[x509.Certificate], identity: Identity) -> bool:
    """
    Whether every authority says of certificates for C{identity} that there may be some: constraints
    that are silent about all names of that kind permit them (RFC 5280), and that is not enough.

    @raise Exception: an authority or its constraints cannot be read.
    """
    return all(_allowsExpressly(each, identity) for each in _constraintsOf(authorities))


def _allowsExpressly(constraints: x509.NameConstraints, identity: Identity) -> bool:
    permitted, excluded = constraints.permitted_subtrees, constraints.excluded_subtrees
    isIn = partial(_isIn, identity)
    return any(map(isIn, permitted or ())) and not any(map(isIn, excluded or ()))


def _isIn(identity: Identity, subtree: x509.GeneralName) -> bool:
    if identity.user is not None:
        return isinstance(subtree, x509.RFC822Name) and _isMailbox(identity, subtree.value)
    if identity.address is not None:
        network = subtree.value if isinstance(subtree, x509.IPAddress) else None
        return isinstance(network, IPv4Network | IPv6Network) and identity.address in network
    kind: type[x509.DNSName | x509.UniformResourceIdentifier]
    kind = x509.UniformResourceIdentifier if identity.kind is Kind.WORKLOAD else x509.DNSName
    isWithin = _isOfURI if identity.kind is Kind.WORKLOAD else _isWithin
    return any(isWithin(identity.domain, each) for each in _domains([subtree], kind))


def _isMailbox(identity: Identity, subtree: str) -> bool:
    """
    Whether a mailbox is the one of a constraint, or at its host, or where that begins with a dot at
    one below.
    """
    user, at, host = subtree.rpartition("@")
    host = host.lower()
    if at:
        return identity.user == user and identity.domain == host
    return identity.domain.endswith(host) if host.startswith(".") else identity.domain == host


def _permit(
    authorities: Sequence[x509.Certificate],
    name: str,
    kind: type[x509.DNSName | x509.UniformResourceIdentifier],
    isWithin: Callable[[str, str], bool],
) -> bool:
    for constraints in _constraintsOf(authorities):
        permitted = _domains(constraints.permitted_subtrees, kind)
        if permitted and not any(isWithin(name, each) for each in permitted):
            return False
        if any(isWithin(name, each) for each in _domains(constraints.excluded_subtrees, kind)):
            return False
    return True


def _domains(
    subtrees: Sequence[x509.GeneralName] | None,
    kind: type[x509.DNSName | x509.UniformResourceIdentifier],
) -> list[str]:
    found = [each.value.lower() for each in subtrees or () if isinstance(each, kind)]
    for each in found:
        if not _SUBTREE.fullmatch(each):
            raise ValueError(f"a name constraint is no domain: {each}")
    return found


def _isWithin(domain: str, subtree: str) -> bool:
    """
    Whether C{domain} is C{subtree} with labels put before it, or without; with at least one, where
    C{subtree} begins with a dot, as OpenSSL has it too.
    """
    if subtree == "" or domain == subtree:
        return True
    return domain.endswith(subtree if subtree.startswith(".") else f".{subtree}")


def _isOfURI(host: str, subtree: str) -> bool:
    """
    Whether C{host} is C{subtree}, or below it where that begins with a dot.
    """
    if subtree.startswith("."):
        return host.endswith(subtree)
    return subtree in ("", host)
