"""
What a pair of legs needs of whoever made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from tlstunnel.address import TCPAddress
from tlstunnel.errors import TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.destination import IDestination
from tlstunnel.tunnel.channels import Channels
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import Addresses

if TYPE_CHECKING:
    from tlstunnel.tunnel.dane import TLSALookup
    from tlstunnel.tunnel.pair import Pair


class Pairs(Protocol):
    """
    Whoever makes pairs, one for each connection.
    """

    prepared: Prepared
    deadlines: Deadlines

    @property
    def dialler(self) -> IDestination:
        """
        Where new connections go to.
        """

    @property
    def diallers(self) -> Mapping[Addresses, IDestination]:
        """
        Where those go to that choose another place, by name or protocol.
        """

    def verified(self, pair: Pair) -> None:
        """
        The network peer is who it should be.
        """

    def tlsa(self, resolver: TCPAddress) -> TLSALookup:
        """
        What looks up TLSA records there.
        """

    def channels(self, pair: Pair) -> Channels:
        """
        What opens its data connections.
        """

    def ended(self, pair: Pair, error: TunnelError | None) -> None:
        """
        It is closed.
        """
