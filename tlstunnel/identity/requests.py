"""
Keys that wait for a certificate: what is asked for with a request (RFC 2986).

A key is made where it is used, and never leaves.  For an identity there may be several, each in a
directory of its own, and the identity is a link to the one that is used; once a certificate for a
newer one has come, key and certificates change by one rename of that link::

    POOL/.keys/ID/1/privkey.pem, request.pem, fullchain.pem
    POOL/ID -> .keys/ID/1
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mktemp
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    PrivateKeyTypes,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.certificates import alternativeName, commonName
from tlstunnel.identity.files import (
    UNFINISHED,
    entries,
    isDirectory,
    makeDirectory,
    present,
    writeFile,
)
from tlstunnel.identity.issuer import MakeKey, ownKey, writeKey
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.withdrawal import isWithdrawn, markWithdrawn

#: Where the keys are, in a pool: no identity has such a name.
KEYS = ".keys"


def numbered(pool: Pool, identity: Identity) -> list[Path]:
    """
    The directories with keys of an identity, the oldest first.

    @raise ConfigurationError: we are not let to see.
    """
    directory = pool.path / KEYS / identity.fileName
    if not isDirectory(directory):
        return []
    found = [each for each in entries(directory) if each.name.isascii() and each.name.isdigit()]
    return sorted(found, key=lambda each: int(each.name))


def used(pool: Pool, identity: Identity) -> Path | None:
    """
    The one of them that is used; C{None} if there is none, or the identity is kept in another way.
    """
    place = pool.directoryOf(identity)
    if not place.is_symlink():
        return None
    path = pool.path / place.readlink()
    return path if path in numbered(pool, identity) else None


def use(pool: Pool, identity: Identity, directory: Path) -> None:
    """
    From now on, use the key in C{directory}, one of L{numbered}, and what has been issued for it.
    """
    place = pool.directoryOf(identity)
    link(place, directory.relative_to(pool.path))


def link(place: Path, target: Path) -> None:
    """
    Let C{place} lead to C{target}, from one moment to the next.

    @raise ConfigurationError: the system does not let us.
    """
    temporary = Path(mktemp(prefix=UNFINISHED, dir=place.parent))  # noqa: S306 - a link is made or not
    try:
        temporary.symlink_to(target)
        try:
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            str(place), f"cannot be made a link: {error.strerror}", "see what is there"
        ) from None


def requestFor(
    pool: Pool, identity: Identity, again: bool = False, makeKey: MakeKey = ownKey
) -> Path:
    """
    Make a key for an identity, and a request for a certificate: beside the one that is used, if
    there is one.  One that is withdrawn stays so until there is a certificate.

    @param again: also where a request waits already for its certificate; its key is lost.
    @param makeKey: makes the key, once there is nothing against the rest.
    @return: the file of the request.
    @raise ConfigurationError: a request waits already; or the identity is kept in another way.
    """
    place = pool.directoryOf(identity)
    inUse = used(pool, identity)
    if inUse is None and present(place):
        raise ConfigurationError(
            str(place),
            "is there already, and is no link to a key that was made with a request",
            f"move it away, or to {pool.path / KEYS / identity.fileName / '1'} and link to that",
        )
    before = numbered(pool, identity)
    waiting = [each for each in before if _isWaiting(each)]
    if waiting and not again:
        raise ConfigurationError(
            str(waiting[-1] / "request.pem"),
            "waits for its certificate already",
            "use that, or give --force to make another one",
        )
    number = int(before[-1].name) + 1 if before else 1
    directory = pool.path / KEYS / identity.fileName / str(number)
    key = makeKey()
    request = _request(identity, key.signer)
    makeDirectory(directory)
    writeKey(directory / "privkey.pem", key.kept, replace=False)
    writeFile(directory / "request.pem", request, 0o644, replace=True)
    if isWithdrawn(place):
        markWithdrawn(directory)
    isServing = inUse is not None and inUse not in waiting
    if not isServing:
        use(pool, identity, directory)
    for each in before:
        if not (isServing and each == inUse):
            shutil.rmtree(each, ignore_errors=True)
    return directory / "request.pem"


def _isWaiting(directory: Path) -> bool:
    """
    Whether a request waits for its certificate; without one, somebody was ended before there was.
    """
    return present(directory / "request.pem") and not present(directory / "fullchain.pem")


def _request(identity: Identity, key: PrivateKeyTypes) -> bytes:
    name = str(identity)
    subject = commonName(name) if len(name) <= 64 else x509.Name([])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    names = x509.SubjectAlternativeName([alternativeName(identity)])
    builder = builder.add_extension(names, critical=not list(subject))
    signer = cast(CertificateIssuerPrivateKeyTypes, key)  # else it refuses
    return builder.sign(signer, SHA256()).public_bytes(Encoding.PEM)
