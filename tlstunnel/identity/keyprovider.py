"""
What OpenSSL needs for keys that we do not have: a provider, which is somebody else's native code in
a file, and for tokens perhaps the PKCS#11 module that the provider is to use.

They are named by options, or by two symbolic links in a pool, C{POOL/key-provider} and
C{POOL/pkcs11-module}.  As they become a part of our process, only files are taken that nobody but
root and we could have changed.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import present, reading
from tlstunnel.identity.keyreference import ReferenceKind
from tlstunnel.identity.permission import userName

#: What the links in a pool are called, and the options.
PROVIDER, MODULE = "key-provider", "pkcs11-module"

# What every provider of OpenSSL has (provider-base(7)), and every PKCS#11 module (PKCS#11, section
# 5.4): these functions, by name.
_ENTRIES = {PROVIDER: b"OSSL_provider_init", MODULE: b"C_GetFunctionList"}
_KINDS = {PROVIDER: "provider of OpenSSL 3 or later", MODULE: "PKCS#11 module"}

#: More than any of them has.
_LARGEST_BYTES = 1 << 26

# What a path may have in it, as OpenSSL gives other characters a meaning (config(5)).
_PLAIN = re.compile(r"[A-Za-z0-9/._+@=,:~-]+")

_ELF = b"\x7fELF"


@dataclass(frozen=True)
class KeyProvider:
    """
    What is loaded.

    @ivar module: the provider.
    @ivar pkcs11: what it is to load, where that is not as it finds best.
    """

    module: Path
    pkcs11: Path | None = None

    @property
    def kind(self) -> ReferenceKind:
        """
        Which keys it is for: its file is called after that.
        """
        isForTPM = self.module.resolve().name.startswith("tpm2")
        return ReferenceKind.TPM if isForTPM else ReferenceKind.PKCS11

    def check(self) -> KeyProvider:
        """
        Make sure that the files can be what they should be, and are nobody else's.

        @return: the same files, by paths in which no link can be changed any more.
        @raise ConfigurationError: they cannot, or may be.
        """
        module = _check(self.module, PROVIDER)
        if self.pkcs11 is None:
            return KeyProvider(module)
        if self.kind is ReferenceKind.TPM:
            raise ConfigurationError(
                f"`{MODULE}` {self.pkcs11}",
                f"is for tokens, and {self.module} is for a TPM",
                "leave it out",
            )
        return KeyProvider(module, _check(self.pkcs11, MODULE))


def checkModule(path: Path) -> Path:
    """
    Make sure that a file can be a PKCS#11 module, and is nobody else's.

    @return: the same, by a path in which no link can be changed any more.
    @raise ConfigurationError: it cannot, or may be.
    """
    return _check(path.absolute(), MODULE)


def providerIn(pool: Path) -> KeyProvider | None:
    """
    What the links in a pool name.

    @raise ConfigurationError: we are not let to see, or something is there that is no link.
    """
    named = {}
    for name in (PROVIDER, MODULE):
        link = pool / name
        if not present(link):
            continue
        with reading(link):
            if not stat.S_ISLNK(link.lstat().st_mode):
                raise ConfigurationError(
                    str(link), "is no symbolic link", "make a link to the module of that name"
                )
            named[name] = (pool / link.readlink()).absolute()
    return providerOf(named.get(PROVIDER), named.get(MODULE), str(pool / MODULE))


def providerOf(module: Path | None, pkcs11: Path | None, subject: str) -> KeyProvider | None:
    """
    What two settings together name.

    @param subject: the second of them, for messages.
    @raise ConfigurationError: that cannot be.
    """
    if module is not None:
        return KeyProvider(module, pkcs11)
    if pkcs11 is not None:
        raise ConfigurationError(
            subject, f"is what a provider loads, and `{PROVIDER}` names none", "name that too"
        )
    return None


def _check(path: Path, name: str) -> Path:
    subject = f"`{name}` {path}"
    if not path.is_absolute():
        raise ConfigurationError(subject, "is no absolute path", "give one")
    with reading(path):
        resolved = path.resolve(strict=True)
    if not _PLAIN.fullmatch(str(resolved)):
        raise ConfigurationError(
            subject,
            f"has a character in its path that OpenSSL understands otherwise: {str(resolved)!r}",
            "install it where the path has letters, digits and ./_+-@=,:~ alone",
        )
    with reading(path), resolved.open("rb") as file:
        _checkOwner(subject, resolved, os.fstat(file.fileno()))
        content = file.read(_LARGEST_BYTES)
    for folder in resolved.parents:
        with reading(folder):
            _checkFolder(subject, folder, folder.stat())
    if _ENTRIES[name] not in content or _isForeign(content):
        raise ConfigurationError(
            subject,
            f"is no {_KINDS[name]} for this system",
            f"see what 'file {shlex.quote(str(path))}' says",
        )
    return resolved


def _checkOwner(subject: str, path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(subject, "is no file", "give one")
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(
            subject,
            f"belongs to user {userName(status.st_uid)}, who is neither root nor us, and would be "
            "in our process",
            "install it as root",
        )
    if status.st_mode & 0o022:
        raise ConfigurationError(
            subject,
            f"can be changed by others (mode {stat.S_IMODE(status.st_mode):04o}), who would be in "
            "our process",
            f"run 'chmod go-w {shlex.quote(str(path))}', and see who has changed it",
        )


def _checkFolder(subject: str, folder: Path, status: os.stat_result) -> None:
    isOurs = status.st_uid in {0, os.geteuid()}
    isFree = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    if not isOurs or isFree:
        raise ConfigurationError(
            subject,
            f"is in a directory where others can put another one in its place, {folder}",
            "install it where only root can write",
        )


def _isForeign(content: bytes) -> bool:
    """
    Whether a file is for another processor than this program, or other sizes of numbers (elf(5)).
    """
    ours = b""
    with suppress(OSError), open(sys.executable, "rb") as file:  # noqa: PTH123 - of 20 bytes
        ours = file.read(20)
    if not ours.startswith(_ELF):
        return False
    return next(_traits(ours)) != next(_traits(content))


def _traits(header: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    yield header[:4], header[4:6], header[18:20]
