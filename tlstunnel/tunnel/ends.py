"""
The plain side of a tunnel: whether it has UNIX sockets, and whether data that was cut can be taken
for whole there, which it cannot where the protocol says itself where data ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlstunnel.address import Listening, Remote, SRVAddress, TCPAddress
from tlstunnel.tunnel.description import Mode, Tunnel

#: The ports with TLS from the first byte of protocols that say themselves where data ends.
MARKED_ENDS = frozenset((465, 563, 636, 990, 993, 995, 5223, 5270, 6697))


def unixKey(tunnel: Tunnel) -> str:
    """
    The key of the addresses of the plain side, if there is one, and UNIX sockets are among them, or
    may be: of sockets that others made nothing is known yet.
    """
    if tunnel.mode is Mode.BRIDGE:
        return ""
    isClient = tunnel.mode is Mode.CLIENT
    plain: Sequence[Listening | Remote] = tunnel.local if isClient else tunnel.remotes
    if plain and all(isinstance(each, TCPAddress | SRVAddress) for each in plain):
        return ""
    return "local" if isClient else "remote"


def marksEnd(tunnel: Tunnel, local: Sequence[Listening]) -> bool:
    """
    Whether what is spoken says itself where data to the plain leg ends.

    @param local: where the tunnel listens.
    """
    isClient = tunnel.mode is Mode.CLIENT
    network: Sequence[Listening | Remote] = tunnel.remote if isClient else local
    # Requests of HTTP have a length, and answers may have none (RFC 9112, section 6.3).
    known = MARKED_ENDS if isClient else MARKED_ENDS | {443}
    return tunnel.dialect.marksEnd or (
        tunnel.dialect.name == "none"
        and all(
            isinstance(each, TCPAddress | SRVAddress) and each.port in known for each in network
        )
    )
