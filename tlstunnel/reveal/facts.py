"""
What may be told of a peer: facts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cryptography.x509 import Certificate

from tlstunnel.address import Address, TCPAddress
from tlstunnel.identity.names import Identity


class Facts(Protocol):
    """
    What is known of a connection, which L{tlstunnel.tunnel.record.Record} is; see there.
    """

    peer: Address
    local: Address | None
    serverName: str
    alpn: bytes
    version: str
    suite: str
    group: str
    isResumed: bool
    identity: Identity | None

    @property
    def certificate(self) -> Certificate | None:
        """
        What the peer was verified by, while the connection lasts.
        """

    @property
    def chain(self) -> Sequence[Certificate]:
        """
        What stands between that and an anchor, in order, as far as the peer has shown it.
        """


def hostAndPort(address: Address | None) -> tuple[str, str] | None:
    """
    An address and a port, or nothing where there are none to tell: at UNIX sockets.
    """
    if not isinstance(address, TCPAddress) or not address.isLiteral:
        return None
    return address.withoutZone, str(address.port)
