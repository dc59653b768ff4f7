"""
Ends the servers of a test run that cannot do so any more, as it was killed.

A process beside the run reads which process groups begin and end; when the run is no more, what is
left of them is killed.  It has a session of its own, since Ctrl-C at a terminal ends all others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from typing import BinaryIO


def began(group: int) -> None:
    """
    Let a process group end with this process.
    """
    _tell(b"+%d\n" % group)


def ended(group: int) -> None:
    """
    It is gone; its number may be another's soon.
    """
    _tell(b"-%d\n" % group)


def _tell(line: bytes) -> None:
    pipe = _guard().stdin
    assert pipe is not None
    pipe.write(line)
    pipe.flush()


@cache
def _guard() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def left(lines: Iterable[bytes]) -> set[int]:
    """
    The groups that began and did not end.
    """
    groups: set[int] = set()
    for line in lines:
        (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
    return groups


def main(lines: BinaryIO) -> None:
    """
    Wait for the end, and tidy up.
    """
    for group in left(lines):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.stdin.buffer)
