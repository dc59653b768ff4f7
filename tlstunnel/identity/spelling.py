"""
How a certificate spells whom it is for: with capitals, or a wildcard, where we have one form.
"""

from __future__ import annotations

from cryptography import x509

from tlstunnel.identity.names import Identity, Kind
from tlstunnel.identity.verify import namesIn


def spellingOf(certificate: x509.Certificate, identity: Identity) -> str:
    """
    The name in a certificate by which its owner has proved to be C{identity}; where that is none
    that can be read as text, the identity itself.
    """
    wanted = str(identity)
    parent = identity.domain.partition(".")[2]
    wild = ""
    for name in namesIn(certificate):
        plain = name.lower() if identity.kind is Kind.DOMAIN else name
        if plain == wanted or _sameMailbox(name, identity):
            return name
        if parent and identity.kind is Kind.DOMAIN and plain == f"*.{parent}":
            wild = name
    return wild or wanted


def _sameMailbox(name: str, identity: Identity) -> bool:
    user, at, domain = name.rpartition("@")
    return bool(at) and user == identity.user and domain.lower().rstrip(".") == identity.domain
