"""
What a program has cost: its processor time and its memory, as the kernel accounts for them.

Both are sums over the program's whole tree of processes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """
    @return: C{pid} and all its living descendants.  A child started by another thread than the
        main one is not found: none of the contenders does that.
    """
    found = [pid]
    for parent in found:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except FileNotFoundError:
            continue
        found.extend(int(child) for child in children.split())
    return found


def _processClock(pid: int) -> float:
    """
    The CPU clock of a whole process in seconds, to the nanosecond; threads that have ended are
    in it (C{clock_getcpuclockid(3)}; the encoding is the kernel's, C{posix-timers.h}).
    """
    try:
        return time.clock_gettime(((~pid) << 3) | 2)
    except OSError:
        return 0.0


def _endedChildren(pid: int) -> float:
    """Seconds used by children that have ended and were waited for, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICKS


def processorTime(pid: int) -> float:
    """@return: user and system seconds of the tree so far, its ended processes included."""
    return sum(map(_processClock, tree(pid))) + _endedChildren(pid)


def memory(pid: int) -> dict[str, int]:
    """
    @return: C{anonymous}, C{pss} and C{rss} of the tree in bytes.  What a connection needs is
        anonymous memory; the share of files in the other two also depends on strangers that
        happen to map the same libraries.
    """
    names = {"Pss_Anon": "anonymous", "Pss": "pss", "Rss": "rss"}
    total = dict.fromkeys(names.values(), 0)
    for member in tree(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()[1:]
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:
            raise SystemExit("only root may ask for the memory of a tunnel") from None
        for line in lines:
            name, _, rest = line.partition(":")
            if name in names:
                total[names[name]] += int(rest.split()[0]) * 1024
    return total
