"""
What may be wrong with the credentials of an identity, as C{tlstunnel identity check} tells it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from tlstunnel.errors import ConfigurationError, IdentityRefused, quote
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool, fits, loadAnchors, loadCertificates, loadKey
from tlstunnel.identity.verify import verifyIdentity


def _isIssuedBy(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificatesAt(*places: Path | str | None) -> Iterator[x509.Certificate]:
    """All certificates of files and directories, as far as they can be read."""
    for place in places:
        try:
            if place is not None:
                yield from loadAnchors(str(place)).certificates
        except ConfigurationError:
            continue


def _anchors(pool: Pool) -> Iterator[x509.Certificate]:
    """Everybody whom this machine knows as an anchor of something."""
    system = ssl.get_default_verify_paths()
    yield from _certificatesAt(
        pool.path / "ca" / "cert.pem", pool.path / "trust", system.cafile, system.capath
    )


def _dateProblems(certificates: Sequence[x509.Certificate], now: datetime) -> Iterator[str]:
    for number, certificate in enumerate(certificates, 1):
        if now < certificate.not_valid_before_utc:
            when = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M}"
            yield f"certificate {number} is not valid before {when} UTC"
        if now > certificate.not_valid_after_utc:
            when = f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M}"
            yield f"certificate {number} expired on {when} UTC"


def _chainProblems(certificates: Sequence[x509.Certificate], pool: Pool) -> Iterator[str]:
    for number, (certificate, issuer) in enumerate(pairwise(certificates), 1):
        if not _isIssuedBy(certificate, issuer):
            yield f"certificate {number} was not issued by certificate {number + 1}"
    last = certificates[-1]
    if _isIssuedBy(last, last):
        return
    if not any(_isIssuedBy(last, anchor) for anchor in _anchors(pool)):
        name = quote(last.issuer.rfc4514_string().encode())
        yield f"the chain is incomplete: nobody here knows {name}, who issued its last certificate"


def problemsOf(pool: Pool, identity: Identity, now: datetime) -> list[str]:
    """
    Find everything that is wrong with the credentials of C{identity}.

    @return: a line for each problem, with the file that has it.
    @raise ConfigurationError: there are no credentials.
    """
    directory = pool.existingDirectoryOf(identity)
    certificateFile, keyFile = directory / "fullchain.pem", directory / "privkey.pem"
    problems = []
    try:
        loadKey(keyFile)
    except ConfigurationError as error:
        problems.append(str(error))
    try:
        certificates = loadCertificates(certificateFile)
        found = [*_dateProblems(certificates, now), *_chainProblems(certificates, pool)]
        verifyIdentity(certificates[0], identity)
    except ConfigurationError as error:
        return [*problems, str(error)]
    except IdentityRefused as refused:
        found.append(refused.detail)
    problems += [f"{certificateFile}: {each}" for each in found]
    try:
        if not fits(loadKey(keyFile, private=False), certificates[0]):
            problems.append(f"{keyFile}: does not fit the first certificate")
    except ConfigurationError:
        pass  # said above
    return problems
