"""
Connections that a stock transport of Twisted owns, and whose socket somebody else takes over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection

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
