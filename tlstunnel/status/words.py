"""
How numbers are written for people: on the page, and on a terminal.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

#: The line of C{/health} where nothing is wrong.
ALL_UP = "all tunnels are up"

_UNITS = ("KiB", "MiB", "GiB", "TiB")

_SPANS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))

#: What an identity is of which there is no certificate on purpose.
WITHDRAWN = "withdrawn"


def inBytes(count: float) -> str:
    """
    A number of bytes: C{512 B}, C{1.5 MiB}.
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1024
        if count < 999.5 or unit == _UNITS[-1]:
            break
    return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"


def inNumbers(count: float) -> str:
    """
    A number of things: C{999}, C{12,345}.
    """
    return f"{count:,.0f}"


def inTime(seconds: float) -> str:
    """
    A duration, by its two largest units: C{5 s}, C{3 min 20 s}, C{2 d 4 h}.
    """
    whole = max(0, int(seconds))
    for (unit, size), (lower, lowerSize) in pairwise(_SPANS):
        if whole >= size:
            count, rest = divmod(whole, size)
            more = rest // lowerSize
            return f"{count} {unit} {more} {lower}" if more else f"{count} {unit}"
    return f"{whole} s"


def inDays(days: float) -> str:
    """
    How many days are left: C{89 days}, C{20 hours}, C{expired}.
    """
    if days < 0:
        return "expired"
    if days < 2:
        hours = int(days * 24)
        return f"{hours} hour" + ("" if hours == 1 else "s")
    return f"{int(days)} days"


def moment(seconds: float) -> str:
    """
    A time of the clock of this host: C{2026-03-01 12:30:05}.
    """
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def protocolOf(dialect: str) -> str:
    """
    What the network speaks; with the pool service that is for programs to say.
    """
    return "TLS" if dialect == "none" else dialect or "any"


def summary(problems: Sequence[str], tunnels: int) -> str:
    """
    How all is, in a few words.

    @param tunnels: how many there are.
    """
    if problems:
        return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "the tunnel is up" if tunnels == 1 else f"all {tunnels} tunnels are up"


def clean(text: str) -> str:
    """
    What another program has sent, as a terminal may have it.
    """
    return text if text.isprintable() else ascii(text)[1:-1]
