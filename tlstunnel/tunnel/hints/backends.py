"""
What to do where a backend is not met as the server that it should be.
"""

from __future__ import annotations

from tlstunnel.errors import (
    BackendRefused,
    Closed,
    ForeignProtocol,
    Malformed,
    Oversize,
    Reset,
    TimedOut,
)
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.hint import Hint
from tlstunnel.tunnel.record import GREETING

#: What is wrong with one that speaks, and with one that does not.
SPOKEN = (Malformed, Oversize, ForeignProtocol)
SILENT = (TimedOut, Closed, Reset)

#: Of its first words, or that there are none.
BACKEND_HINTS = (
    Hint(
        (BackendRefused, *SPOKEN, *SILENT),
        "check that a server of {dialect} is behind TLS at this port",
        Mode.BRIDGE,
        (GREETING,),
        isImplicit=True,
    ),
    Hint(
        (BackendRefused, *SPOKEN, *SILENT),
        "check that the backend speaks {spoken} in clear there, and expects the header that "
        "--proxy-out sends",
        Mode.SERVER,
        (GREETING,),
        isAnnounced=True,
    ),
    Hint(
        (BackendRefused, *SPOKEN, *SILENT),
        "the backend seems to speak {speaks}: check --remote, and that the backend "
        "speaks {spoken} in clear there",
        Mode.SERVER,
        (GREETING,),
        ("speaks ",),
    ),
    Hint(
        SILENT,
        "check that the backend speaks {spoken} in clear there, and awaits no header of the PROXY "
        "protocol, which only --proxy-out sends",
        Mode.SERVER,
        (GREETING,),
    ),
    Hint(
        (BackendRefused,),
        "its log should say why it refuses the tunnel; check that the backend speaks {spoken} in "
        "clear there",
        Mode.SERVER,
        (GREETING,),
    ),
    Hint(
        SPOKEN,
        "check that the backend speaks {spoken} in clear there",
        Mode.SERVER,
        (GREETING,),
    ),
)
