"""
Uploads that end with their TCP connection, where that is allowed: it knows one direction of a relay
on a data connection, and the leg of the backend.
"""

from __future__ import annotations

from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.errors import Truncated
from tlstunnel.interfaces import ILeg, ISpeaker


@implementer(ISpeaker)
class CutUpload:
    """
    Speaks on the network leg of a data connection on which uploads may end with its TCP connection.
    """

    def __init__(self, direction: ISpeaker, backend: ILeg) -> None:
        """
        @param direction: what speaks there else.
        """
        self._direction = direction
        self._backend = backend
        self.dataReceived = direction.dataReceived
        self.readConnectionLost = direction.readConnectionLost
        self.writeConnectionLost = direction.writeConnectionLost
        self.handshakeCompleted = direction.handshakeCompleted

    def connectionLost(self, reason: Failure) -> None:
        """
        If the backend has said nothing, this was an upload, and all of it.
        """
        if reason.check(Truncated) and not self._backend.received:
            self._direction.readConnectionLost()
        self._direction.connectionLost(reason)
