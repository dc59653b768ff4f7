"""
Who asks to use an identity: a process of this host, as the kernel knows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PROC = Path("/proc")

#: What Linux has by default for those without a number here.
_OVERFLOW = 65534

# Each 32-bit number but the last one, which stands for none.
_ALL_NUMBERS = 2**32 - 1


@dataclass(frozen=True)
class Caller:
    """
    A process, as it was when it connected to us.

    @ivar uid: the user that it runs as.
    @ivar gids: its groups, the supplementary ones too.
    @ivar pid: its number, for the log and nothing else: it may be another's by now.
    """

    uid: int
    gids: frozenset[int] = frozenset()
    pid: int = field(default=0, compare=False)


def isAnybodys(kind: str, number: int) -> bool:
    """
    Whether a number is that of all users, or groups, who have none in our user namespace, beside
    whose it is (user_namespaces(7)): nobody knows who of them it is.

    @param kind: C{user} or C{group}.
    """
    return number == numberOfStrangers(kind)


@cache
def numberOfStrangers(kind: str, proc: Path = PROC) -> int | None:
    """
    The number that all users, or groups, have who have none in our user namespace.  Where the
    system does not say whether there are any, there may be some.

    @param kind: C{user} or C{group}.
    @return: C{None} where each has a number of its own.
    """
    own = {"user": "uid", "group": "gid"}[kind]
    try:
        ranges = (proc / "self" / f"{own}_map").read_text().split()
        if sum(map(int, ranges[2::3])) >= _ALL_NUMBERS:
            return None
        return int((proc / "sys" / "kernel" / f"overflow{own}").read_text())
    except (OSError, ValueError):
        return _OVERFLOW
