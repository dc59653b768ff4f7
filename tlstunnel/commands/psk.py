"""
What the C{identity} command does with pre-shared keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import readFile
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.psk import (
    PresharedKey,
    checkVacant,
    createPSK,
    inStunnelsForm,
    keepPSK,
    keyed,
    lines,
    loadPSK,
)


def createKey(pool: Pool, identity: Identity, force: bool) -> int:
    """
    Make a key.
    """
    file = createPSK(pool, identity, force)
    print(f"{identity}: in {file}, which the other side needs, too, and nobody else")
    return 0


def importKeys(pool: Pool, identity: Identity | None, file: Path, force: bool) -> int:
    """
    Take over keys of others, all or none.

    @param identity: whose the key is, where it is the only one; else all are called as in the file.
    """
    content = readFile(file)
    if identity is None:
        keys = inStunnelsForm(content, str(file))
    else:
        keys = [_only(identity, content, str(file))]
    owners: set[Identity] = set()
    for each in (key.identity for key in keys):
        checkVacant(pool, each, force)
        if each in owners:
            raise ConfigurationError(
                str(file),
                f"has two names that differ by case alone, and both are {each} here",
                "put one of them into a file of its own, and import that as ID --psk FILE",
            )
        owners.add(each)
    for key in keys:
        print(f"{key.identity}: in {keepPSK(pool, key, force)}")
    return 0


def _only(identity: Identity, content: bytes, source: str) -> PresharedKey:
    found = list(lines(content, source))
    if len(found) > 1:
        raise ConfigurationError(
            source,
            f"has {len(found)} keys, and one was to be that of {identity}",
            "leave out ID, or give a file with that one alone",
        )
    ((name, key, _),) = found
    return PresharedKey(identity, name, key)


def keyRows(pool: Pool) -> Iterator[tuple[str, str, bool]]:
    """
    The keys of a pool for a table: whose each is, what can be said of it, and whether that is good.
    """
    for identity in keyed(pool):
        try:
            key = loadPSK(pool, identity)
        except ConfigurationError:
            yield str(identity), "unreadable", False
        else:
            yield str(identity), f"a key of {8 * len(key.key)} bits", True
