"""
Connections that a stock transport of Twisted owns, and whose socket somebody else takes over.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection

from tlstunnel.address import Address, addressOf
from tlstunnel.net.kernel import tune

#: What the log says of connections that cannot be taken over.
REFUSED = (
    "connections over {transport} are refused: a ProxyFactory takes the socket itself, so it "
    "listens on endpoints of plain TCP or UNIX sockets only, without TLS and without wrappers such "
    "as haproxy:"
)


def isPlain(transport: Any) -> bool:
    """
    Whether a transport does nothing to the bytes: what a wrapper does would be passed by.
    """
    return isinstance(transport, Connection) and not transport.TLS


def takeOver(transport: Any, keepAlive: float) -> tuple[socket.socket, Address] | None:
    """
    Take the socket of a plain transport, which keeps it, to close it when it is told to, and does
    nothing else with it.

    @return: the socket, and who is at its other end; C{None} if the connection is over already.
    """
    transport.pauseProducing()
    sock: socket.socket = transport.getHandle()
    try:
        peer = addressOf(sock.getpeername())
        if sock.family != socket.AF_UNIX:
            tune(sock, keepAlive)
    except OSError:
        transport.abortConnection()
        return None
    return sock, peer


class Adopted(Protocol):
    """
    Hands a stock transport over, before anything has moved on it.
    """

    def __init__(self, adopt: Callable[[Any], object]) -> None:
        self._adopt = adopt

    def connectionMade(self) -> None:
        """
        Nothing has been read yet.
        """
        self._adopt(self.transport)
