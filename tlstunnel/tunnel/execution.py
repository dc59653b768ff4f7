"""
How the programs that a tunnel starts run, as the administrator said it: as whom, and with which
limits.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

#: The limits of a process, by the names of prlimit(1), with what people call some of them.
LIMITS: dict[str, int] = {
    name: number
    for name, constant in (
        ("as", "AS"),
        ("memory", "AS"),
        ("core", "CORE"),
        ("cpu", "CPU"),
        ("data", "DATA"),
        ("fsize", "FSIZE"),
        ("locks", "LOCKS"),
        ("memlock", "MEMLOCK"),
        ("msgqueue", "MSGQUEUE"),
        ("nice", "NICE"),
        ("nofile", "NOFILE"),
        ("files", "NOFILE"),
        ("nproc", "NPROC"),
        ("processes", "NPROC"),
        ("rss", "RSS"),
        ("rtprio", "RTPRIO"),
        ("rttime", "RTTIME"),
        ("sigpending", "SIGPENDING"),
        ("stack", "STACK"),
    )
    # Systems have different ones.
    if (number := getattr(resource, f"RLIMIT_{constant}", None)) is not None
}


@dataclass(frozen=True)
class Execution:
    """
    How programs run.

    @ivar user: as whom; empty as we do.
    @ivar isOnTerminal: whether they have a terminal.
    @ivar limits: what they may take, by names in L{LIMITS}.
    """

    user: str = ""
    isOnTerminal: bool = False
    limits: tuple[tuple[str, int], ...] = ()

    @property
    def given(self) -> tuple[str, ...]:
        """
        The keys of what was said.
        """
        said = {
            "exec-user": self.user,
            "exec-pty": self.isOnTerminal,
            "exec-limit": self.limits,
        }
        return tuple(key for key, value in said.items() if value)
