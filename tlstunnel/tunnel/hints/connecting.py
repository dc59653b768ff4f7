"""
What to do where nobody answers.
"""

from __future__ import annotations

from tlstunnel.errors import ConnectFailed, TimedOut
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.hint import Hint
from tlstunnel.tunnel.record import CONNECTING

#: Of the way to the remote.
CONNECTING_HINTS = (
    Hint(
        (ConnectFailed,),
        "no server listens there: check the host and the port in --remote",
        Mode.CLIENT,
        causes=("ECONNREFUSED ",),
    ),
    Hint(
        (ConnectFailed,),
        "no server listens there: check the path in --remote",
        Mode.CLIENT,
        causes=("ENOENT ",),
    ),
    Hint(
        (ConnectFailed,),
        "start the backend, or check --remote",
        Mode.SERVER,
        causes=("ECONNREFUSED ", "ENOENT "),
    ),
    Hint(
        (ConnectFailed,),
        "check the host in --remote, and whether a firewall is in the way",
        causes=("ETIMEDOUT ", "EHOSTUNREACH ", "ENETUNREACH "),
    ),
    Hint(
        (ConnectFailed,),
        "check the spelling of --remote, and whether this host has a resolver that answers",
        causes=("unresolved ",),
    ),
    Hint(
        (TimedOut,),
        "check the host in --remote, and in --via where that is given, and the network",
        stages=(CONNECTING,),
    ),
)
