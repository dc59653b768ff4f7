"""
Telling whoever was dialled who has connected to us, in a header of the PROXY protocol: before
anything else, in one write.
"""

from __future__ import annotations

from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.errors import Reset, TunnelError
from tlstunnel.interfaces import ILeg, ISpeaker
from tlstunnel.reveal.proxyout import ProxyOut
from tlstunnel.tunnel.record import Record


def headerOf(proxyOut: ProxyOut, record: Record, accepted: ILeg) -> bytes:
    """
    The header.

    @param accepted: the leg to which C{record} belongs.
    @raise TunnelError: there cannot be one.
    """
    session = accepted.session if record.isVerified else None
    return proxyOut.header(record, record.locate(accepted), session)


def announce(header: bytes, dialled: ILeg) -> None:
    """
    Write it on a leg on which nothing was said.

    @raise TunnelError: it is not taken.
    """
    witness = dialled.speaker = _Witness()
    dialled.write(header)
    if witness.error is not None:
        raise witness.error


@implementer(ISpeaker)
class _Witness:
    """
    Notes what becomes of a leg while one thing is written on it.

    @ivar error: why it was not taken, if so.
    """

    __slots__ = ("error",)

    def __init__(self) -> None:
        self.error: TunnelError | None = None

    def dataReceived(self, data: memoryview) -> None:
        """Nothing is read."""

    def readConnectionLost(self) -> None:
        """Likewise."""

    def handshakeCompleted(self) -> None:
        """There is none."""

    def writeConnectionLost(self) -> None:
        """The peer takes nothing."""
        self.error = Reset("nothing is taken by the peer")

    def connectionLost(self, reason: Failure) -> None:
        """It is gone."""
        assert isinstance(reason.value, TunnelError)
        self.error = reason.value
