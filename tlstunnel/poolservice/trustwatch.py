"""
Whether somebody has changed whom a pool believes.

All that is made with it is made anew then.  It is looked at the state of each file, as an edit in
place changes nothing else; where there are many of them less often, as everybody waits meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

#: Seconds from one look to the next, and for each file that is looked at.
LOOK_SECONDS = 1.0
SECONDS_EACH = 0.005

#: Files that are looked at; where there are more, it shows only that one has come or gone.
FILES_WATCHED = 10_000

#: State of a file or a directory; nothing where there is none.
Stamp = tuple[int, int, int, int] | None


def stampOf(path: str | Path) -> Stamp:
    """
    What changes when C{path} does.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - without objects: it is done for every connection
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


class TrustWatch:
    """
    Looks at one pool.
    """

    def __init__(self, pool: Path, seconds: Callable[[], float]) -> None:
        """
        @param seconds: what time it is.
        """
        self._directory = str(pool / "trust")
        self._own = str(pool / "ca" / "cert.pem")
        self._seconds = seconds
        self._due = 0.0
        self._state = 0
        self._edition = 0

    @property
    def edition(self) -> int:
        """
        A number that is another one when something has changed.
        """
        now = self._seconds()
        if now >= self._due or not self._edition:
            stamps = [stampOf(each) for each in (self._directory, self._own, *self._files())]
            self._due = now + max(LOOK_SECONDS, len(stamps) * SECONDS_EACH)
            state = hash(tuple(stamps))
            if state != self._state or not self._edition:
                self._state = state
                self._edition += 1
        return self._edition

    def _files(self) -> Iterable[str]:
        try:
            with os.scandir(self._directory) as found:
                several = sorted(each.path for each in found)
        except OSError:
            return ()
        return several if len(several) <= FILES_WATCHED else ()
