"""
Which public keys are ours: certificates for them are of use to us, and no others.

Whoever pulls needs no private key: the request that was made with it says enough.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import entries, isDirectory, reading
from tlstunnel.identity.keyreference import KeyReference
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadKey, readFile
from tlstunnel.identity.pool import RESERVED, Pool
from tlstunnel.identity.requests import KEYS
from tlstunnel.tls.keycheck import examine

_FILES = ("request.pem", "privkey.pem")


@dataclass(frozen=True)
class OwnKey:
    """
    One of our keys.

    @ivar place: the directory in the pool that it is in, relative to that.
    @ivar public: its SubjectPublicKeyInfo.
    @ivar number: which of several it is, where the identity is a link that can lead there.
    """

    place: str
    public: bytes
    number: int | None


#: The keys of each of our identities.
Keys = dict[Identity, tuple[OwnKey, ...]]

_State = tuple[int, ...] | None


@dataclass(frozen=True)
class _Place:
    """A directory in which a key may be, relative to the pool."""

    identity: Identity
    path: str
    number: int | None


class KeyRing:
    """
    The keys of a pool, each read when it has changed.

    It is looked at every second, and there may be thousands: what says whether anything has changed
    is asked of the system in the cheapest way.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._path = str(pool.path)
        self._found: list[_Place] = []
        self._seen: dict[str, _State] = {}
        self._known: dict[str, tuple[tuple[_State, ...], bytes | None]] = {}

    def look(self) -> Keys:
        """
        The keys as they are now.

        @raise ConfigurationError: we are not let to see what there is.
        """
        if not self._seen or any(_stateOf(path) != was for path, was in self._seen.items()):
            # What was seen in part is looked at again.
            self._seen = {}
            try:
                with reading(self._pool.path):
                    self._found = list(self._places())
            except ConfigurationError:
                self._seen = {}
                raise
        several: dict[Identity, list[OwnKey]] = {}
        known = {}
        for place in self._found:
            path = f"{self._path}/{place.path}"
            state = tuple(_stateOf(f"{path}/{name}") for name in _FILES)
            before, public = self._known.get(place.path, ((), None))
            if before != state:
                # One that is there, and cannot be read at the moment, is what it was.
                public = _publicIn(Path(path)) or (public if any(state) else None)
            known[place.path] = state, public
            if public is not None:
                key = OwnKey(place.path, public, place.number)
                several.setdefault(place.identity, []).append(key)
        self._known = known
        return {identity: tuple(each) for identity, each in several.items()}

    def _entries(self, directory: Path) -> list[Path]:
        """What is in a directory now, which is looked at again when it has changed."""
        self._seen[str(directory)] = _stateOf(str(directory))
        return entries(directory) if isDirectory(directory) else []

    def _places(self) -> Iterator[_Place]:
        path = self._pool.path
        if not isDirectory(path):
            raise ConfigurationError(str(path), "is gone", "see who has moved it")
        for directory in self._entries(path):
            identity = _identityOf(directory.name)
            if identity is not None and _isDirectory(directory) and not _isOurs(directory):
                yield _Place(identity, directory.name, None)
        for directory in self._entries(path / KEYS):
            identity = _identityOf(directory.name)
            link = path / directory.name
            if identity is None or (_isThere(link) and not _isOurs(link)):
                continue
            for each in self._entries(directory):
                if each.name.isascii() and each.name.isdigit():
                    place = f"{KEYS}/{directory.name}/{each.name}"
                    yield _Place(identity, place, int(each.name))


def _identityOf(name: str) -> Identity | None:
    if name in RESERVED:
        return None
    with suppress(ValueError):
        identity = Identity.ofFileName(name)
        return identity if identity.fileName == name else None
    return None


def _isDirectory(path: Path) -> bool:
    """Whether it is one that we may look at: others have no keys for us."""
    with suppress(OSError):
        return path.is_dir()
    return False


def _isThere(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _isOurs(path: Path) -> bool:
    """Whether it is a link to one of several keys."""
    return path.is_symlink() and str(path.readlink()).startswith(f"{KEYS}/{path.name}/")


def _stateOf(path: str) -> _State:
    try:
        found = os.stat(path)  # noqa: PTH116 - a path that is an object costs more than the answer
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _publicIn(directory: Path) -> bytes | None:
    """
    The public key in a directory: that of the private one, if we may read it, or of the request.
    """
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    # Other threads go on meanwhile.
    examine(directory / "privkey.pem")
    with suppress(ConfigurationError):
        key = loadKey(directory / "privkey.pem", private=False)
        if not isinstance(key, KeyReference):
            return key.public_key().public_bytes(*form)
    with suppress(ConfigurationError, ValueError):
        request = x509.load_pem_x509_csr(readFile(directory / "request.pem"))
        return request.public_key().public_bytes(*form)
    return None
