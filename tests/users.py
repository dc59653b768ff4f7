"""
Another user than the one who runs the tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Somebody without any rights, whom the machine need not know.
STRANGER = 64999


@contextmanager
def closed(directory: Path) -> Iterator[None]:
    """
    Let nobody search C{directory} meanwhile.  Root may search all, so be somebody else then.
    """
    before = directory.stat().st_mode
    directory.chmod(0)
    try:
        if os.geteuid() == 0:
            os.seteuid(STRANGER)
            try:
                yield
            finally:
                os.seteuid(0)
        else:
            yield
    finally:
        directory.chmod(before)
