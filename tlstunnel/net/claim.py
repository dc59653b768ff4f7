"""
What somebody wants to listen at, before there is a socket.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from tlstunnel.address import Listening, TCPAddress
from tlstunnel.net.access import SocketAccess

_LOCAL = frozenset((socket.AF_UNIX,))
_FAMILIES = _LOCAL | {socket.AF_INET, socket.AF_INET6}


@dataclass(frozen=True)
class Claim:
    """
    Addresses that are listened at for the same end.

    @ivar addresses: where.
    @ivar access: who may connect to those that are UNIX sockets; by default as the umask has it.
    @ivar kind: what these carry: streams, or messages.
    @ivar isLocal: whether nothing but UNIX sockets will do, as their peers are known to the system.
    @ivar key: the setting that names them.
    @ivar name: of whose they are, where there are several.
    """

    addresses: Sequence[Listening]
    access: SocketAccess = field(default_factory=SocketAccess)
    kind: socket.SocketKind = socket.SOCK_STREAM
    isLocal: bool = False
    key: str = "local"
    name: str = ""

    def subject(self, address: Listening) -> str:
        """
        What an error is about that one of them meets.
        """
        return f"`{self.key}` {address}"

    def leavesIPv4(self, address: Listening) -> bool:
        """
        Whether another of them is all of IPv4 at the port of C{address}.
        """
        if not isinstance(address, TCPAddress) or not address.port:
            return False
        return TCPAddress("0.0.0.0", address.port) in self.addresses

    @property
    def wanted(self) -> str:
        """
        What somebody else has to make, who makes sockets for us.
        """
        carried = "streams" if self.kind is socket.SOCK_STREAM else "messages"
        return f"{'' if self.isLocal else 'TCP or '}a UNIX socket of {carried}"

    def takes(self, sock: socket.socket) -> bool:
        """
        Whether C{sock} is that.
        """
        families = _LOCAL if self.isLocal else _FAMILIES
        return sock.family in families and sock.type == self.kind
