"""
The pool: a directory where the credentials of our identities are kept, and whom we believe about
those of others.

The layout is that of certbot's C{live/} directory, which therefore is a pool as it is::

    POOL/ID/fullchain.pem, privkey.pem     one directory for each identity
    POOL/trust/SELECTOR.pem                anchors for the remote identities that SELECTOR matches
    POOL/trust/anchors.pem                 anchors where no selector matches
    POOL/ca/cert.pem, key.pem              the pool's own certificate authority

This module reads; L{tlstunnel.identity.issuer} and the C{identity} command write.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity, Selector, selectorsFor

#: What can be in a pool beside the directories of identities.
RESERVED = frozenset({"trust", "ca"})

#: More than any file of certificates has; the system's bundles are a quarter of this.
LARGEST_FILE = 1 << 20


@dataclass(frozen=True)
class Credentials:
    """
    What one of our identities shows, and proves itself with.

    @ivar certificates: the certificate of the identity first, then those that lead to an anchor.
    @ivar key: the private key that fits the first of them.
    """

    identity: Identity
    certificates: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes


@dataclass(frozen=True)
class Anchors:
    """
    Whom to believe.

    @ivar certificates: trust anchors.
    @ivar system: whether those of the operating system's store are anchors too.
    @ivar source: where this comes from, for the log.
    """

    certificates: tuple[x509.Certificate, ...]
    system: bool
    source: str


def present(path: Path) -> bool:
    """
    Whether there is something at C{path}, be it a symbolic link that leads nowhere: what decides
    about trust is never passed over because it is broken.

    @raise ConfigurationError: we are not let to see.
    """
    try:
        path.lstat()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}:
            return False
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from None
    return True


def _read(path: Path, private: bool = False) -> bytes:
    """
    Read a file; a private one only if nobody else can.

    @raise ConfigurationError: it cannot be read, or it can by too many.
    """
    try:
        with path.open("rb") as file:
            if private:
                _checkPrivate(path, os.fstat(file.fileno()))
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_FILE:
        raise ConfigurationError(str(path), "is too large to be what it should be")
    return content


def _checkPrivate(path: Path, status: os.stat_result) -> None:
    """
    Apply the rule of PostgreSQL (its manual, "Secure TCP/IP Connections with SSL"): a key belongs
    to us, and nobody else can read it; or it belongs to root, who may let a group read it.
    """
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(
            str(path),
            f"belongs to user {status.st_uid}, who is neither root nor us",
            f"run 'chown {os.geteuid()} {path}'",
        )
    if mode & (0o037 if status.st_uid == 0 else 0o077):
        raise ConfigurationError(
            str(path), f"can be read by others (mode {mode:04o})", f"run 'chmod 600 {path}'"
        )


def loadCertificates(path: Path) -> tuple[x509.Certificate, ...]:
    """
    Read all certificates of a PEM file.

    @raise ConfigurationError: there are none, or they are broken.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(_read(path)))
    except (ValueError, x509.InvalidVersion):
        raise ConfigurationError(
            str(path), "holds no certificates in PEM form, or broken ones"
        ) from None


def loadKey(path: Path, private: bool = True) -> PrivateKeyTypes:
    """
    Read a private key from a PEM file.

    @param private: whether to insist on a file that others cannot read.
    @raise ConfigurationError: there is none, or it is not private, or it needs a pass phrase.
    """
    try:
        return load_pem_private_key(_read(path, private), None)
    except TypeError:
        raise ConfigurationError(
            str(path),
            "is protected by a pass phrase",
            f"run 'openssl pkey -in {path} -out NEW' and use NEW",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            str(path), "holds no private key in PEM form, or a broken one"
        ) from None


def fits(key: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    """Whether C{key} is the private half of what C{certificate} certifies."""
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def loadCredentials(
    identity: Identity, certificateFile: Path, keyFile: Path, private: bool = True
) -> Credentials:
    """
    Read certificates and the key that fits the first of them.

    @param private: whether to insist on a key that others cannot read.
    @raise ConfigurationError: something about them is wrong.
    """
    certificates = loadCertificates(certificateFile)
    key = loadKey(keyFile, private)
    try:
        fitting = fits(key, certificates[0])
        list(certificates[0].extensions)
    except Exception as error:  # noqa: BLE001 - there are many ways to be a broken certificate
        raise ConfigurationError(str(certificateFile), f"is unreadable: {error}") from None
    if not fitting:
        raise ConfigurationError(
            str(keyFile),
            f"does not fit the first certificate in {certificateFile}",
            f"run 'tlstunnel identity import {identity} --cert FILE --key FILE' with a pair",
        )
    return Credentials(identity, certificates, key)


def loadAnchors(where: str) -> Anchors:
    """
    Read what C{--trust} names: a PEM file, a directory of them, or the word C{system}.

    @raise ConfigurationError: there are no certificates there.
    """
    if where == "system":
        return Anchors((), system=True, source="system")
    path = Path(where)
    if not path.is_dir():
        return Anchors(loadCertificates(path), system=False, source=where)
    found: dict[x509.Certificate, None] = {}
    for file in sorted(path.iterdir()):
        if file.suffix in {".pem", ".crt", ".cer"} and file.is_file():
            found |= dict.fromkeys(loadCertificates(file))
    if not found:
        raise ConfigurationError(
            where, "has no certificates", "name a file, or a directory with *.pem or *.crt files"
        )
    return Anchors(tuple(found), system=False, source=where)


class Pool:
    """
    A pool in a directory.

    @ivar path: the directory.
    @ivar asked: whether the user named it, so that it must be there.
    """

    def __init__(self, path: Path, asked: bool = True) -> None:
        self.path = path
        self.asked = asked

    def directoryOf(self, identity: Identity) -> Path:
        """
        Where the credentials of one of our identities are.

        @raise ConfigurationError: no identity of that name can be kept in a pool.
        """
        name = str(identity)
        if name in RESERVED:
            raise ConfigurationError(name, "is no name for an identity: the pool uses it itself")
        return self.path / name

    def identities(self) -> Iterator[Identity]:
        """
        Find all identities whose credentials are here, in the order of their names.

        @raise ConfigurationError: there is no pool.
        """
        self._checkThere()
        for directory in sorted(self.path.iterdir()) if self.path.is_dir() else ():
            try:
                identity = Identity.parse(directory.name)
            except ValueError:
                continue
            if present(directory / "fullchain.pem") and directory.name not in RESERVED:
                yield identity

    def existingDirectoryOf(self, identity: Identity) -> Path:
        """
        Like L{directoryOf}.

        @raise ConfigurationError: besides, it is not there.
        """
        self._checkThere()
        directory = self.directoryOf(identity)
        if not present(directory):
            here = f" --pool {self.path}" if self.asked else ""
            raise ConfigurationError(
                str(directory),
                f"is not there, so that we cannot be {identity}",
                f"run 'tlstunnel identity create{here} {identity}'",
            )
        return directory

    def credentials(self, identity: Identity) -> Credentials:
        """
        Read the credentials of one of our identities.

        @raise ConfigurationError: they are not there, or something about them is wrong.
        """
        directory = self.existingDirectoryOf(identity)
        return loadCredentials(identity, directory / "fullchain.pem", directory / "privkey.pem")

    def trustFile(self, selector: Selector) -> Path:
        """Where the anchors for C{selector} are, or would be."""
        return self.path / "trust" / f"{selector}.pem"

    def anchorsFor(self, remote: Identity | Selector) -> Anchors:
        """
        Find out whom to believe about C{remote}.

        The most concrete selector decides; else C{anchors.pem}, together with our own authority;
        else the system's store, but never about C{user@domain}: the public web PKI knows no users.

        @raise ConfigurationError: nobody, or there is something wrong with the files.
        """
        self._checkThere()
        for selector in selectorsFor(remote):
            file = self.trustFile(selector)
            if present(file):
                return Anchors(loadCertificates(file), system=False, source=str(file))
        general = [self.path / "trust" / "anchors.pem", self.path / "ca" / "cert.pem"]
        files = [file for file in general if present(file)]
        if files:
            found = {each: None for file in files for each in loadCertificates(file)}
            return Anchors(tuple(found), system=False, source=", ".join(map(str, files)))
        if remote.user is None:
            return Anchors((), system=True, source="system")
        raise ConfigurationError(
            str(self.path / "trust"),
            f"has nobody to believe about {remote}",
            f"run 'tlstunnel identity trust {remote} FILE', or give `trust` FILE",
        )

    def _checkThere(self) -> None:
        if self.asked and not self.path.is_dir():
            raise ConfigurationError(
                "`pool`",
                f"there is no directory {self.path}",
                f"run 'tlstunnel identity create --pool {self.path} ID' to make it",
            )


def defaultPool() -> Pool:
    """
    The pool of whoever runs this: the machine's for root, else in the user's configuration
    directory (XDG Base Directory Specification).  It need not be there.
    """
    if os.geteuid() == 0:
        return Pool(Path("/etc/tlstunnel/pool"), asked=False)
    home = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        base = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    except RuntimeError:
        raise ConfigurationError("`pool`", "is needed: we have no home directory") from None
    return Pool(base / "tlstunnel" / "pool", asked=False)
