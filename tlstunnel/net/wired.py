"""
What there is to know of a connection's wire; see L{tlstunnel.net.leg} for how all of it works.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.x509 import Certificate

from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.linewire import LineWire
from tlstunnel.net.wire import IWire
from tlstunnel.tls.channelbinding import ChannelBinding
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.session import Session


class Wired(Descriptor):
    """
    A socket with what bytes mean on it.
    """

    __slots__ = ("_wire",)

    _wire: IWire

    @property
    def isTLS(self) -> bool:
        """Whether C{startTLS} was called."""
        return self._wire.isTLS

    @property
    def session(self) -> Session | None:
        """What is known of its TLS, once there is."""
        return self._wire.session

    @property
    def peerCertificate(self) -> Certificate | None:
        """What the peer has shown under TLS, as long as this leg is not closed."""
        return self._wire.peerCertificate()

    @property
    def peerChain(self) -> Sequence[Certificate]:
        """What stands between that and the anchor by which it was verified."""
        return self._wire.peerChain()

    @property
    def received(self) -> int:
        """Bytes read since the last switch, of what TLS protects."""
        return self._wire.received

    @property
    def sent(self) -> int:
        """The same, taken by the socket."""
        return self._wire.sent

    @property
    def channelBinding(self) -> ChannelBinding | None:
        """What both ends of its TLS know alone, while it is up."""
        return self._wire.channelBinding()

    def separateLines(self) -> None:
        """
        Have no more than one line in each record of TLS that is written.
        """
        self._wire = LineWire(self._wire)

    def creatorBeside(self) -> Creator:
        """
        What makes more TLS with the peer of this leg.

        @raise Closed: if this leg speaks no TLS, or is closed.
        """
        return self._wire.creatorBeside()
