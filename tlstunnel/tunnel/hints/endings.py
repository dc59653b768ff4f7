"""
What to do about ends that are the same in every protocol: of limits, of plaintext where TLS should
begin, and of faults of this program.
"""

from __future__ import annotations

from tlstunnel.errors import (
    CloseTimeout,
    ConnectFailed,
    Expired,
    Forged,
    Idle,
    LimitReached,
    PlaintextAfterStartTLS,
    PreAuthenticated,
    ServerSpokeFirst,
    Temporary,
    TimedOut,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.hint import Hint
from tlstunnel.tunnel.record import GREETING, NEGOTIATING

#: For what has no row of its own elsewhere.
ENDING_HINTS = (
    # Before TLS.
    Hint(
        (PlaintextAfterStartTLS,),
        "it is an attack by somebody on the way, or the server says more than it may: look at it "
        "with 'tlstunnel probe' from another network",
        Mode.CLIENT,
    ),
    Hint(
        (PlaintextAfterStartTLS,),
        "it is an attack by somebody on the way, or the client does not wait for the answer: see "
        "whether it is always the same client, and update that",
        Mode.SERVER,
    ),
    Hint(
        (ServerSpokeFirst,),
        "it is an attack by somebody on the way, or the server greets inside TLS: see whether it "
        "is always so, and whether {dialect} is what it speaks",
    ),
    Hint(
        (PreAuthenticated,),
        "let the server not take this host for logged in, or connect to a port with TLS from the "
        "first byte, without {upgrade}",
        Mode.CLIENT,
    ),
    Hint(
        (Temporary,),
        "try again later; if it stays so, the log of the server should say what its TLS lacks",
        Mode.CLIENT,
    ),
    Hint(
        (TooManyErrors,),
        "let the client log in as who its certificate says, or give --identity-map",
        Mode.SERVER,
        (GREETING,),
    ),
    Hint(
        (TooManyErrors,),
        "this port is for clients that speak {dialect}: check which port this one is set to",
        Mode.SERVER,
        causes=("syntax ",),
    ),
    Hint(
        (TooManyErrors,),
        "let the client use STARTTLS before anything else: its settings have that as an option, "
        "beside none and TLS from the first byte",
        Mode.SERVER,
    ),
    Hint(
        (TimedOut,),
        "let the client ask for TLS at once; if it is only slow, raise --negotiation-timeout",
        Mode.SERVER,
        (NEGOTIATING,),
    ),
    # Of the way.
    Hint(
        (ConnectFailed,),
        "raise the limit of open files (LimitNOFILE in a unit), or lower --max-connections",
        causes=("EMFILE ", "ENFILE "),
    ),
    Hint(
        (ConnectFailed,),
        "let user and group of the tunnel connect there: see the permissions of the socket, and "
        "what a firewall or a sandbox forbids",
        causes=("EACCES ", "EPERM "),
    ),
    Hint((ConnectFailed,), "check --remote, and the network of this host"),
    # Inside TLS.
    Hint(
        (Forged,),
        "let the client leave that to the tunnel, which tells the backend itself who is there",
        Mode.SERVER,
    ),
    # Limits.
    Hint((Idle,), "if that is too soon for this protocol, raise --idle-timeout"),
    Hint((Expired,), "if that is too soon, raise --max-lifetime"),
    Hint((CloseTimeout,), "if whoever sends still needs longer, raise --close-timeout"),
    Hint(
        (LimitReached,),
        "raise --max-connections, or let no source have all of them: --max-per-address",
    ),
)

#: Of what should not be.
FAULT_HINT = "that is a fault of tlstunnel: please report it, with the lines above"


def isFault(error: TunnelError) -> bool:
    """
    Whether nobody else is to blame.
    """
    return type(error) is TunnelError
