"""
The pool's own small certificate authority, and how files get into a pool.

What L{tlstunnel.identity.pool} reads is written here, always whole or not at all: a file
appears under its name when it is complete, and a private key is never for a moment readable by
others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
    PrivateKeyTypes,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.certificates import (
    CLOCK_SKEW,
    builderOf,
    certify,
    certifying,
    commonName,
    newKey,
)
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.files import makeDirectory, newDirectory, present, removeFile, writeFile
from tlstunnel.identity.keyreference import KeyReference
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import fits, loadCertificates, loadSigningKey
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.withdrawal import WITHDRAWN_FILE

#: For how long a certificate is good.  Browsers and the Mozilla recommendation allow 366 days.
LIFETIME = timedelta(days=365)

#: For how long the authority is good, which is meant to be forgotten about.
AUTHORITY_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True)
class NewKey:
    """
    A key for an identity.

    @ivar signer: what signs with it now.
    @ivar kept: what the pool keeps: the key itself, or where it is.
    """

    signer: PrivateKeyTypes
    kept: PrivateKeyTypes | KeyReference


#: Makes one.
MakeKey = Callable[[], NewKey]


def ownKey() -> NewKey:
    """Make one that the pool keeps."""
    key = newKey()
    return NewKey(key, key)


class Authority:
    """
    A certificate authority that issues certificates of identities, and of nothing else.
    """

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self.key = key

    @classmethod
    def make(cls, now: datetime) -> Authority:
        """Make a new one, under a name that no other has."""
        key = newKey()
        name = commonName(f"tlstunnel pool CA {os.urandom(4).hex()}")
        builder = builderOf(
            name, name, key.public_key(), now - CLOCK_SKEW, now + AUTHORITY_LIFETIME
        )
        # One more may stand below it: that of an agent.
        builder = certifying(builder, below=1)
        return cls(builder.sign(key, SHA256()), key)

    def issue(
        self,
        identity: Identity,
        now: datetime,
        key: PrivateKeyTypes | None = None,
        lifetime: timedelta = LIFETIME,
    ) -> Credentials:
        """
        Make a certificate for C{identity}, with which it can be server and client.

        @param key: the key to certify, instead of a new one.
        @param lifetime: for how long it is good, if the authority is.
        """
        key = key or newKey()
        public = cast(CertificatePublicKeyTypes, key.public_key())  # else it refuses
        return Credentials(identity, (self.certify(identity, now, public, lifetime),), key)

    def certify(
        self,
        identity: Identity,
        now: datetime,
        public: CertificatePublicKeyTypes,
        lifetime: timedelta = LIFETIME,
    ) -> x509.Certificate:
        """
        The same for the public half of a key that is elsewhere.
        """
        end = min(now + lifetime, self.certificate.not_valid_after_utc)
        return certify(self.certificate, self.key, identity, public, now - CLOCK_SKEW, end)


def writeCertificates(path: Path, certificates: Iterable[x509.Certificate]) -> None:
    """Write a PEM file of certificates, which are nothing secret."""
    content = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    writeFile(path, content, 0o644, replace=True)


def writeKey(path: Path, key: PrivateKeyTypes | KeyReference, replace: bool) -> None:
    """Write a key, or where it is, for nobody else to read."""
    if isinstance(key, KeyReference):
        content = key.content
    else:
        content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    writeFile(path, content, 0o600, replace)


def _keepAuthority(directory: Path) -> None:
    """
    Make an authority.
    """
    authority = Authority.make(datetime.now(UTC))
    writeKey(directory / "key.pem", authority.key, replace=False)
    writeCertificates(directory / "cert.pem", [authority.certificate])


def authorityOf(pool: Pool) -> Authority:
    """
    Find the authority of a pool, and make it if there is none.

    @raise ConfigurationError: something is wrong with the one that is there.
    """
    directory = pool.path / "ca"
    keyFile, certificateFile = directory / "key.pem", directory / "cert.pem"
    if not present(directory):
        with newDirectory(directory) as fresh:
            _keepAuthority(fresh)
    elif not present(keyFile) and not present(certificateFile):
        _keepAuthority(directory)
    certificate = loadCertificates(certificateFile)[0]
    key = loadSigningKey(keyFile)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not fits(key, certificate):
        raise ConfigurationError(
            str(keyFile),
            f"does not fit {certificateFile}",
            f"move {directory} away, and a new authority is made",
        )
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise ConfigurationError(
            str(certificateFile), "has expired", f"move {directory} away, and a new one is made"
        )
    return Authority(certificate, key)


def _vacancy(pool: Pool, identity: Identity, replace: bool) -> tuple[Path, Path]:
    """
    Find out where the certificates and the key of an identity would go.

    @raise ConfigurationError: there are some already, and they are not to be replaced.
    """
    directory = pool.directoryOf(identity)
    files = directory / "fullchain.pem", directory / "privkey.pem"
    for file in files:
        if present(file) and not replace:
            raise ConfigurationError(
                str(file), "is there already", "give --force to replace it, which cannot be undone"
            )
    return files


def keep(pool: Pool, credentials: Credentials, replace: bool = False) -> Path:
    """
    Put credentials into a pool, which is made if it is not there.

    @param replace: whether those that may be there already are lost.
    @return: the directory where they are.
    @raise ConfigurationError: there are some already, or there cannot be.
    """
    certificateFile, keyFile = _vacancy(pool, credentials.identity, replace)
    makeDirectory(keyFile.parent)
    writeKey(keyFile, credentials.key, replace)
    writeCertificates(certificateFile, credentials.certificates)
    removeFile(keyFile.parent / WITHDRAWN_FILE)
    return keyFile.parent


def createIdentity(
    pool: Pool, identity: Identity, replace: bool = False, makeKey: MakeKey = ownKey
) -> Credentials:
    """
    Make credentials that the pool's own authority vouches for, and put them into the pool.

    @param makeKey: makes the key, once there is nothing against the rest.
    @raise ConfigurationError: there are some already, or there cannot be.
    """
    _vacancy(pool, identity, replace)
    authority = authorityOf(pool)
    key = makeKey()
    public = cast(CertificatePublicKeyTypes, key.signer.public_key())
    certificate = authority.certify(identity, datetime.now(UTC), public)
    credentials = Credentials(identity, (certificate,), key.kept)
    keep(pool, credentials, replace)
    return credentials


def renewable(pool: Pool) -> Iterator[Credentials]:
    """
    Find the credentials in a pool that its own authority has issued.

    @raise ConfigurationError: there is no pool; or some in it cannot be read, or the authority.
    """
    identities = list(pool.identities())
    file = pool.path / "ca" / "cert.pem"
    if not present(file):
        return
    authority = loadCertificates(file)[0]
    for identity in identities:
        credentials = pool.credentials(identity)
        try:
            credentials.certificates[0].verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        yield credentials


def renew(pool: Pool, credentials: Credentials, now: datetime) -> Credentials:
    """
    Issue another certificate for an identity, in the place of the one that is there; the key stays,
    so that at no moment a tunnel can read what does not fit together.

    @raise ConfigurationError: the authority ends as soon as the certificate does; or the file
        cannot be written.
    """
    authority, leaf = authorityOf(pool), credentials.certificates[0]
    certificate = authority.certify(credentials.identity, now, leaf.public_key())
    renewed = replace(credentials, certificates=(certificate,))
    before, after = (each.certificates[0].not_valid_after_utc for each in (credentials, renewed))
    if after <= before and after == authority.certificate.not_valid_after_utc:
        raise ConfigurationError(
            str(pool.path / "ca"),
            f"ends on {after:%Y-%m-%d}, and so does {credentials.identity}",
            "move it away, and make its identities again with a new one",
        )
    file = pool.directoryOf(credentials.identity) / "fullchain.pem"
    writeCertificates(file, renewed.certificates)
    return replace(renewed, source=str(file))
