"""
Who asks to use an identity: a process of this host, as the kernel knows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


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
