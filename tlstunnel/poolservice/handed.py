"""
The socket of a program, which may keep a copy of it: then to close ours says nothing to the peer,
whether it blocks is not for us to say, and nor is how long closing takes
(L{tlstunnel.local.closing}).
"""

from __future__ import annotations

from functools import partial

from tlstunnel.local.closing import closeHanded
from tlstunnel.net.leg import Leg
from tlstunnel.net.sharedwire import SharedTLS


class HandedLeg(Leg):
    """
    A leg on such a socket.
    """

    __slots__ = ()

    _kindOfTLS = SharedTLS

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

    def _closeSocket(self, isAborted: bool, isOver: bool) -> None:
        # A reset goes out whoever has a copy; where there can be none, under TLS the missing
        # close_notify says the same.
        if isAborted or isOver:
            closeHanded(self.sock, isReset=isAborted)
        else:
            self._linger.closeGently(self.sock, partial(closeHanded, self.sock))
