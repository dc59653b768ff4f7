"""
The socket of a program, which may keep a copy of it: then to close ours says nothing to the peer,
whether it blocks is not for us to say, and nor is how long closing takes
(L{tlstunnel.poolservice.closing}).
"""

from __future__ import annotations

import socket
from typing import Any

from tlstunnel.address import Address
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.sharedwire import SharedTLS
from tlstunnel.poolservice.closing import closeHanded


class HandedLeg(Leg):
    """
    A leg on such a socket.
    """

    __slots__ = ()

    _kindOfTLS = SharedTLS

    def __init__(self, reactor: Any, linger: Linger, sock: socket.socket, peer: Address) -> None:
        super().__init__(reactor, linger, sock, peer, _Closing(sock, linger))

    def doRead(self) -> None:
        """
        The socket has something for us, or there is something behind that.
        """
        super().doRead()
        if self._wire.isLate and not (self._paused or self.isClosed):
            super().doRead()

    def resumeProducing(self) -> None:
        """
        Deliver what arrives, and what has arrived behind it.
        """
        super().resumeProducing()
        if self._wire.isLate:
            self._reactor.callLater(0, self._goOn)

    def _handshake(self) -> None:
        super()._handshake()
        if self._wire.isLate and not self._paused:
            self._reactor.callLater(0, self._goOn)

    def _goOn(self) -> None:
        if self._wire.isLate and not self.isClosed:
            self.doRead()


class _Closing:
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
        self._linger.closeGently(self._sock, self._close)

    def _close(self) -> None:
        closeHanded(self._sock)

    def abortConnection(self) -> None:
        """
        End both directions at once: by a reset, whoever has a copy; where there can be none, under
        TLS the missing close_notify says the same.
        """
        closeHanded(self._sock, isReset=True)
