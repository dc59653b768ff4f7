"""
Certificates as attributes have them: in a set without order, some of them for others, some broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.names import Identity, Kind
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.verify import coversName, verifyIdentity

#: Certificates between one of ours and its root that are looked for, those of one name that are
#: tried, and bits of a key of RSA: what is beyond serves nobody, and takes its time.
LONGEST_CHAIN, MOST_TWINS, LARGEST_RSA = 10, 8, 8192


def load(der: bytes) -> x509.Certificate | None:
    """
    Read a certificate; C{None} if it is broken.
    """
    try:
        with quietly():
            certificate = x509.load_der_x509_certificate(der)
            # What is looked at later is looked at once before.
            list(certificate.extensions)
            _ = certificate.subject, certificate.issuer, certificate.not_valid_before_utc
            certificate.public_bytes(Encoding.PEM)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - there are many ways to be a broken certificate
        return None
    return certificate


def publicKeyOf(certificate: x509.Certificate) -> bytes:
    """
    The SubjectPublicKeyInfo of a certificate; empty if it has a key of a kind that nobody knows.
    """
    try:
        key = certificate.public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return b""


def isFor(certificate: x509.Certificate, identity: Identity) -> bool:
    """
    Whether a certificate has the name of C{identity}, or the wildcard below it.
    """
    try:
        verifyIdentity(certificate, identity)
    except IdentityRefused:
        isHost = identity.kind is Kind.DOMAIN and identity.address is None
        return isHost and coversName(certificate, f"*.{identity.domain}")
    return True


def chainOf(leaf: x509.Certificate, authorities: Iterable[x509.Certificate]) -> bytes:
    """
    A certificate and those of C{authorities} that lead from it to its root, which is left out, as
    files have them.
    """
    named: dict[x509.Name, list[x509.Certificate]] = {}
    for each in authorities:
        named.setdefault(each.subject, []).append(each)
    found = [leaf]
    while len(found) <= LONGEST_CHAIN:
        last = found[-1]
        twins = (each for each in named.get(last.issuer, ()) if each not in found)
        above = (each for each in islice(twins, MOST_TWINS) if _hasIssued(each, last))
        issuer = next(above, None)
        if issuer is None or issuer.subject == issuer.issuer:
            break
        found.append(issuer)
    return inPEM(found)


def _hasIssued(issuer: x509.Certificate, issued: x509.Certificate) -> bool:
    try:
        key = issuer.public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size > LARGEST_RSA:
            return False
        issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def inPEM(certificates: Iterable[x509.Certificate]) -> bytes:
    """
    Certificates as files have them.
    """
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
