"""
Certificates and keys in files: PEM (RFC 7468), read as it stands there or not at all.

A file that another program is just writing, or that was cut, ends in the middle; whatever begins in
a file and is not read is an error here.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import soundness
from tlstunnel.identity.files import reading
from tlstunnel.identity.forms import TRUSTED, withoutCertificates, withoutKey
from tlstunnel.identity.keyreference import KeyReference, isSecret, readReference
from tlstunnel.identity.permission import ourName, userName

#: More than any file of certificates has; the system's bundles are a quarter of this.
LARGEST_FILE = 1 << 20

#: Anchors that are known by what stands in their files, in all; those of a system are 150.
ANCHORS_KEPT = 1000

# How a file is opened: nobody is waited for at the other end of a pipe.
_AT_ONCE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_BEGUN = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_BLOCK = re.compile(rb"-----BEGIN ((?:X509 )?CERTIFICATE)-----.*?-----END \1-----", re.DOTALL)


def readFile(
    path: Path,
    private: bool | Callable[[bytes], bool] = False,
    largest: int = LARGEST_FILE,
) -> bytes:
    """
    Read a file; a private one only if nobody else can.

    @param private: whether it is, or what tells by its content.
    @param largest: the most bytes that it may have.
    @raise ConfigurationError: it cannot be read, or it can by too many.
    """
    with reading(path), os.fdopen(os.open(path, _AT_ONCE), "rb") as file:
        status = os.fstat(file.fileno())
        if private is True or (private and stat.S_ISCHR(status.st_mode)):
            _checkPrivate(path, status)
        isPipe = stat.S_ISFIFO(status.st_mode)
        if isPipe:
            _checkPipe(path)
        os.set_blocking(file.fileno(), True)
        content = file.read(largest + 1)
        if callable(private) and private(content):
            _checkPrivate(path, status)
    if isPipe and not content:
        raise ConfigurationError(
            str(path), "is a pipe, and nothing is in it any more", "give a file instead"
        )
    if len(content) > largest:
        raise ConfigurationError(
            str(path), "is too large to be what it should be", "see whether its name is right"
        )
    return content


def _checkPipe(path: Path) -> None:
    """
    What a shell makes of C{<(COMMAND)} can be read, once; it has no name of its own.

    @raise ConfigurationError: it is another pipe, at whose other end nobody may ever be.
    """
    if os.path.lexists(os.path.realpath(path)):
        raise ConfigurationError(str(path), "is a pipe", "give a file instead")


def _checkPrivate(path: Path, status: os.stat_result) -> None:
    """
    Apply the rule of PostgreSQL (its manual, "Secure TCP/IP Connections with SSL"): a key belongs
    to us, and nobody else can read it; or it belongs to root, who may let a group read it.
    """
    mode = stat.S_IMODE(status.st_mode)
    file = shlex.quote(str(path))
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(
            str(path),
            f"belongs to user {userName(status.st_uid)}, who is neither root nor us",
            f"run 'chown {ourName()} {file}'",
        )
    if mode & (0o037 if status.st_uid == 0 else 0o077):
        if stat.S_ISCHR(status.st_mode):
            raise ConfigurationError(str(path), "is a device", "give a file")
        raise ConfigurationError(
            str(path),
            f"can be read by others (mode {mode:04o})",
            # Of root's file that alone would leave nothing to us.
            f"run 'chmod 600 {file}'"
            if status.st_uid == os.geteuid()
            else f"run 'chmod 600 {file} && chown {ourName()} {file}'",
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


class NoCertificates(ConfigurationError):
    """
    A file has no certificates that we can read.
    """


def _blocks(path: Path) -> list[bytes]:
    """
    Read the certificates of a file, each still as PEM.

    @raise NoCertificates: there are none.
    @raise ConfigurationError: one begins and does not end, or is not plain.
    """
    content = readFile(path)
    found = [match[0] for match in _BLOCK.finditer(content)]
    begun = len(_BEGUN.findall(content))
    last = content.rpartition(b"\n")[2]
    if last and last != _BEGIN and _BEGIN.startswith(last):
        begun += 1
    if not begun:
        raise NoCertificates(str(path), *withoutCertificates(path, content))
    if begun != len(found):
        if TRUSTED in content:
            raise ConfigurationError(str(path), *withoutCertificates(path, content))
        raise ConfigurationError(
            str(path),
            f"is cut or broken: {begun} certificates begin there, and {len(found)} are complete",
            "get it again, as a whole",
        )
    return found


def _load(block: bytes) -> x509.Certificate:
    """
    Read one certificate.

    @raise ValueError: it is broken; the message is one line.
    """
    try:
        with quietly():
            return x509.load_pem_x509_certificate(block)
    except (ValueError, x509.InvalidVersion) as error:
        raise ValueError(" ".join(str(error).split())) from None


# Anchors are read again and again, for everybody who may be at the other end, and are the same.
_loadAgain = lru_cache(maxsize=ANCHORS_KEPT)(_load)


def loadCertificates(path: Path) -> tuple[x509.Certificate, ...]:
    """
    Read all certificates of a PEM file.

    @raise ConfigurationError: there are none, or one is broken.
    """
    found = []
    for number, block in enumerate(_blocks(path), 1):
        try:
            found.append(_load(block))
        except ValueError as error:
            raise ConfigurationError(
                str(path), f"certificate {number} is broken ({error})", _GET_ANOTHER
            ) from None
    return tuple(found)


_GET_ANOTHER = "get it again from whoever has issued it"


def loadReadable(path: Path) -> tuple[tuple[x509.Certificate, ...], tuple[str, ...]]:
    """
    Read the certificates of a PEM file of which each counts for itself, as anchors do: one that our
    libraries cannot read, or can no more, does no harm to the others.

    @return: besides the certificates a sentence for each that was passed over.
    @raise NoCertificates: there are none left.
    @raise ConfigurationError: the file cannot be read.
    """
    found, skipped = [], []
    reason = ""
    for number, block in enumerate(_blocks(path), 1):
        try:
            found.append(_loadAgain(block))
        except ValueError as error:
            reason = str(error)
            skipped.append(f"{path}: certificate {number} is passed over: it is broken ({reason})")
    if not found:
        raise NoCertificates(
            str(path), f"holds nothing but broken certificates ({reason})", _GET_ANOTHER
        )
    return tuple(found), tuple(skipped)


def loadKey(path: Path, private: bool = True) -> PrivateKeyTypes | KeyReference:
    """
    Read a private key from a PEM file, or where it is, if that is said there.

    @param private: whether to insist on a file that others cannot read; what says where a key is
        may be read by everybody, unless it has the PIN in it.
    @raise ConfigurationError: there is none, or it is not private, or it needs a pass phrase.
    """
    content = readFile(path, private and isSecret)
    try:
        reference = readReference(content)
    except ValueError as error:
        raise ConfigurationError(str(path), str(error), "write it again") from None
    if reference is not None:
        return reference
    try:
        return _keyIn(content)
    except TypeError:
        raise ConfigurationError(
            str(path),
            "is protected by a pass phrase",
            f"run 'openssl pkey -in {shlex.quote(str(path))} -out NEW' and use NEW",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(str(path), *withoutKey(path, content)) from None


def _keyIn(content: bytes) -> PrivateKeyTypes:
    """
    The key in a PEM file.

    A service reads what it serves with again for whoever asks for something else: whether it is
    sound is found out once.

    @raise ValueError: there is none, or its numbers do not belong together.
    """
    isSound = soundness.known.of(content)
    if isSound is False:
        raise ValueError("its numbers do not belong together")
    key = load_pem_private_key(content, None, unsafe_skip_rsa_key_validation=isSound is True)
    soundness.known.add(content, True)
    return key


def unexamined(path: Path) -> tuple[bytes, rsa.RSAPrivateKey] | None:
    """
    What L{loadKey} would take long to find out: whether a key is sound that is read first.

    @return: what stands in the file, and the key; C{None} where that is known, or soon found out.
    """
    with suppress(ConfigurationError, OSError, TypeError, ValueError, UnsupportedAlgorithm):
        # What is read from a pipe is gone.
        content = readFile(path) if path.is_file() else b""
        if soundness.known.of(content) is None:
            key = load_pem_private_key(content, None, unsafe_skip_rsa_key_validation=True)
            return (content, key) if isinstance(key, rsa.RSAPrivateKey) else None
    return None


def loadSigningKey(path: Path) -> PrivateKeyTypes:
    """
    Read the private key of an authority, which signs certificates without OpenSSL's providers.

    @raise ConfigurationError: as for L{loadKey}, or it is somewhere else.
    """
    key = loadKey(path)
    if isinstance(key, KeyReference):
        raise ConfigurationError(
            str(path),
            f"refers to {key}, and we sign certificates only with keys that are in files",
            "put the key itself there",
        )
    return key


def fits(key: PrivateKeyTypes | KeyReference, certificate: x509.Certificate) -> bool:
    """
    Whether C{key} is the private half of what C{certificate} certifies, as far as it can be told
    here: of a reference OpenSSL tells, when it is used.
    """
    if isinstance(key, KeyReference):
        return True
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def areChained(certificates: Sequence[x509.Certificate]) -> bool:
    """
    Whether each of them was issued by the next one, the last by anybody.
    """
    for certificate, issuer in pairwise(certificates):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
    return True
