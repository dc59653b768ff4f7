"""
The socket of a program, which may keep a copy of it: then to close ours says nothing to the peer.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from tlstunnel.net.kernel import resetOnClose
from tlstunnel.net.linger import Linger


class Handed:
    """
    Closes it, in the place of a stock transport that would own it; see L{tlstunnel.net.leg.Leg}.
    """

    __slots__ = ("_linger", "_sock")

    def __init__(self, sock: socket.socket, linger: Linger) -> None:
        self._sock = sock
        self._linger = linger

    def loseConnection(self) -> None:
        """
        End our direction, and close it once the peer has heard what was sent.
        """
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._linger.closeGently(self._sock)

    def abortConnection(self) -> None:
        """
        End both directions at once.  A reset goes out only where nobody has a copy; under TLS the
        missing close_notify says the same.
        """
        resetOnClose(self._sock)
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
