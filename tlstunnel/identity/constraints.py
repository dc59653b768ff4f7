"""
What the authorities above a certificate let it be for: name constraints (RFC 5280, 4.2.1.10).

OpenSSL applies them to names as they stand in a certificate.  Two kinds of names slip through: a
wildcard stands for names that were never compared, and an SRVName (RFC 4985) is of a kind that the
constraints do not speak of.  Both are judged here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cryptography import x509

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
    for constraints in _constraintsOf(authorities):
        permitted = _domains(constraints.permitted_subtrees)
        if permitted and not any(_isWithin(domain, each) for each in permitted):
            return False
        if any(_isWithin(domain, each) for each in _domains(constraints.excluded_subtrees)):
            return False
    return True


def _domains(subtrees: Sequence[x509.GeneralName] | None) -> list[str]:
    found = [each.value.lower() for each in subtrees or () if isinstance(each, x509.DNSName)]
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
