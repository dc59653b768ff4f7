"""
Which public keys are ours: certificates for them are of use to us, and no others.

Whoever pulls needs no private key: the request that was made with it says enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import entries, isDirectory
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadKey, readFile
from tlstunnel.identity.pool import RESERVED, Pool
from tlstunnel.identity.requests import KEYS

_FILES = ("request.pem", "privkey.pem")


@dataclass(frozen=True)
class OwnKey:
    """
    One of our keys.

    @ivar place: the directory in the pool that it is in, relative to that.
    @ivar public: its SubjectPublicKeyInfo.
    @ivar isNumbered: whether the identity is a link that can lead there.
    """

    place: str
    public: bytes
    isNumbered: bool


#: The keys of each of our identities.
Keys = dict[Identity, tuple[OwnKey, ...]]

_State = tuple[tuple[int, ...] | None, ...]


class KeyRing:
    """
    The keys of a pool, each read when it has changed.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[str, tuple[_State, bytes | None]] = {}

    def look(self) -> Keys:
        """
        The keys as they are now.

        @raise ConfigurationError: we are not let to see what there is.
        """
        found: dict[Identity, list[OwnKey]] = {}
        seen: dict[str, tuple[_State, bytes | None]] = {}
        for identity, place, isNumbered in self._places():
            path = self._pool.path / place
            state = tuple(_stateOf(path / name) for name in _FILES)
            known = self._known.get(place)
            public = known[1] if known is not None and known[0] == state else _publicIn(path)
            seen[place] = state, public
            if public is not None:
                found.setdefault(identity, []).append(OwnKey(place, public, isNumbered))
        self._known = seen
        return {identity: tuple(several) for identity, several in found.items()}

    def _places(self) -> Iterator[tuple[Identity, str, bool]]:
        path = self._pool.path
        for directory in entries(path) if isDirectory(path) else ():
            identity = _identityOf(directory.name)
            if identity is not None and directory.is_dir() and not _isOurs(directory):
                yield identity, directory.name, False
        below = path / KEYS
        for directory in entries(below) if isDirectory(below) else ():
            identity = _identityOf(directory.name)
            link = path / directory.name
            if identity is None or (_isThere(link) and not _isOurs(link)):
                continue
            for each in entries(directory):
                if each.name.isascii() and each.name.isdigit():
                    yield identity, f"{KEYS}/{directory.name}/{each.name}", True


def _identityOf(name: str) -> Identity | None:
    if name in RESERVED:
        return None
    with suppress(ValueError):
        identity = Identity.ofFileName(name)
        return identity if identity.fileName == name else None
    return None


def _isThere(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _isOurs(path: Path) -> bool:
    """Whether it is a link to one of several keys."""
    return path.is_symlink() and str(path.readlink()).startswith(f"{KEYS}/{path.name}/")


def _stateOf(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _publicIn(directory: Path) -> bytes | None:
    """
    The public key in a directory: that of the private one, if we may read it, or of the request.
    """
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    with suppress(ConfigurationError):
        return loadKey(directory / "privkey.pem", private=False).public_key().public_bytes(*form)
    with suppress(ConfigurationError, ValueError):
        request = x509.load_pem_x509_csr(readFile(directory / "request.pem"))
        return request.public_key().public_bytes(*form)
    return None
