"""
Certificates and keys in files: PEM (RFC 7468), read as it stands there or not at all.

A file that another program is just writing, or that was cut, ends in the middle; whatever begins in
a file and is not read is an error here.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
from tlstunnel.identity.files import reading

#: More than any file of certificates has; the system's bundles are a quarter of this.
LARGEST_FILE = 1 << 20

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_BEGUN = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_BLOCK = re.compile(rb"-----BEGIN ((?:X509 )?CERTIFICATE)-----.*?-----END \1-----", re.DOTALL)


def _read(path: Path, private: bool = False) -> bytes:
    """
    Read a file; a private one only if nobody else can.

    @raise ConfigurationError: it cannot be read, or it can by too many.
    """
    with reading(path), path.open("rb") as file:
        if private:
            _checkPrivate(path, os.fstat(file.fileno()))
        content = file.read(LARGEST_FILE + 1)
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


@contextmanager
def quietly() -> Iterator[None]:
    """
    Keep from the user what libraries tell programmers: that one day they will refuse what they take
    today, such as a root with the serial number 0.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _blocks(path: Path) -> list[bytes]:
    """
    Read the certificates of a file, each still as PEM.

    @raise ConfigurationError: one begins and does not end, or is not plain.
    """
    content = _read(path)
    found = [match[0] for match in _BLOCK.finditer(content)]
    begun = len(_BEGUN.findall(content))
    last = content.rpartition(b"\n")[2]
    if last and last != _BEGIN and _BEGIN.startswith(last):
        begun += 1
    if begun != len(found):
        raise ConfigurationError(
            str(path),
            f"is cut or broken: {begun} certificates begin there, and {len(found)} are complete",
            "write it again, as a whole",
        )
    return found


def _load(block: bytes) -> x509.Certificate:
    """
    Read one certificate.

    @raise ValueError: it is broken.
    """
    try:
        with quietly():
            return x509.load_pem_x509_certificate(block)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from None


def loadCertificates(path: Path) -> tuple[x509.Certificate, ...]:
    """
    Read all certificates of a PEM file.

    @raise ConfigurationError: there are none, or they are broken.
    """
    try:
        found = tuple(map(_load, _blocks(path)))
    except ValueError:
        found = ()
    if not found:
        raise ConfigurationError(str(path), _NO_CERTIFICATES)
    return found


_NO_CERTIFICATES = "holds no certificates in PEM form, or broken ones"


def loadReadable(path: Path) -> tuple[tuple[x509.Certificate, ...], tuple[str, ...]]:
    """
    Read the certificates of a PEM file of which each counts for itself, as anchors do: one that our
    libraries cannot read, or can no more, does no harm to the others.

    @return: besides the certificates a sentence for each that was passed over.
    @raise ConfigurationError: there are none left.
    """
    found, skipped = [], []
    for number, block in enumerate(_blocks(path), 1):
        try:
            found.append(_load(block))
        except ValueError as error:
            reason = " ".join(str(error).split())
            skipped.append(f"{path}: certificate {number} is passed over: it is broken ({reason})")
    if not found:
        raise ConfigurationError(str(path), _NO_CERTIFICATES)
    return tuple(found), tuple(skipped)


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
