"""
Whether others than root and us can change who a tunnel is, or whom it believes: said at start-up,
and nothing more, as a pool that its administrators share may be meant so.
"""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.tunnel.description import Tunnel

# Where thousands of names have a directory each, a few say enough.
_MOST_NAMED = 3


def ofPool(tunnel: Tunnel) -> Iterator[str]:
    """
    What an administrator should know of the directories in which the identities and anchors of
    C{tunnel} are: one sentence, if others can write to any.
    """
    pools: dict[Pool, dict[Identity, None]] = {}
    for side in tunnel.sides:
        names = () if side.agent is not None else (each.identity for each in side.names)
        ours = () if side.agent is not None else side.localIDs
        pools.setdefault(side.pool, {}).update(dict.fromkeys((*ours, *names)))
    exposed = [
        directory
        for pool, identities in pools.items()
        for directory in _directories(pool, identities)
        if _isOpen(directory)
    ]
    if exposed:
        named = [str(each) for each in exposed[:_MOST_NAMED]]
        more = len(exposed) - len(named)
        others = f" and {more} more directories" if more else ""
        yield (
            f"others can write to {', '.join(named)}{others}, and so replace our keys, or the "
            f"authorities that we believe; run 'chmod go-w {shlex.join(named)}', and see whether "
            "the files are yours"
        )


def _directories(pool: Pool, identities: Iterable[Identity]) -> Iterator[Path]:
    yield pool.path
    yield pool.path / "trust"
    for identity in identities:
        try:
            yield pool.directoryOf(identity)
        except ConfigurationError:
            # Whoever prepares the tunnel says that.
            continue


def _isOpen(directory: Path) -> bool:
    try:
        return bool(stat.S_IMODE(directory.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH))
    except OSError:
        return False
