"""
The settings of programs that are started for connections: rows of the table in
L{tlstunnel.program.options}.
"""

from __future__ import annotations

import re
import resource

from tlstunnel.program.option import Option, Section
from tlstunnel.program.values import shown, text
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.execution import LIMITS

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_VALUE = re.compile("([0-9]{1,18})([KMG]?)")


def programLimit(value: object) -> tuple[str, int]:
    """
    What a process may take: the name of a limit and its value.
    """
    name, equals, given = text(value).partition("=")
    if name not in LIMITS or not equals:
        raise ValueError(
            f"{shown(value)} is no limit; give NAME=VALUE, where NAME is one of "
            f"{', '.join(sorted(LIMITS))}"
        )
    if given == "unlimited":
        return name, resource.RLIM_INFINITY
    found = _VALUE.fullmatch(given)
    if found is None:
        raise ValueError(
            f"{shown(value)} has no number; give one, perhaps with K, M or G behind it, or "
            "unlimited"
        )
    return name, int(found[1]) * _UNITS[found[2]]


EXECUTIONS = (
    Option(
        "exec-user",
        Section.ADDRESSES,
        "as whom a program in `remote` runs, by name or number; only root can start it for others",
        "Who is root has to say it: root, if that is meant. Its groups are those of the user.",
        argument="USER",
        parse=text,
        default=None,
        mode=Mode.SERVER,
        inBridge=False,
    ),
    Option(
        "exec-pty",
        Section.ADDRESSES,
        "give such a program a terminal, as a shell wants",
        mode=Mode.SERVER,
        inBridge=False,
    ),
    Option(
        "exec-limit",
        Section.ADDRESSES,
        "what such a program may take: cpu (seconds), memory or as (bytes), files or nofile, "
        "processes or nproc, fsize, core and others of setrlimit(2), as memory=256M",
        "Repeatable. K, M and G stand for 2^10, 2^20 and 2^30; unlimited is no limit. Without it, "
        "a program may have 1,024 files, and what the tunnel may take.",
        argument="NAME=VALUE",
        parse=programLimit,
        default=(),
        isRepeatable=True,
        mode=Mode.SERVER,
        inBridge=False,
    ),
)
