"""
The interfaces of whoever hands over a connection, and of what its story is told with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zope.interface import Attribute, Interface

from tlstunnel.interfaces import ILeg
from tlstunnel.tunnel.pairs import Pairs

if TYPE_CHECKING:
    from tlstunnel.errors import TunnelError
    from tlstunnel.poolservice.handover import HandOver


class IProgram(Interface):
    """
    A program that has handed over a connection, in whatever protocol it speaks with us.
    """

    caller = Attribute("L{tlstunnel.identity.caller.Caller}: which process that is.")

    async def plain(handOver: HandOver) -> ILeg:
        """
        The leg for plaintext, which the program gets the other end of; asked for once.

        Its peer is verified by then, and C{handOver} knows who is who; but where C{handOver} meets
        it early, the program has to speak before TLS, and nothing is known yet.

        @raise TunnelError: the program does not take it.
        """

    def verified(handOver: HandOver) -> None:
        """
        The peer is verified, where C{plain} was asked for before that.
        """

    def heardAll(error: TunnelError | None) -> None:
        """
        Nothing more comes from the network.

        @param error: why, unless the peer has ended it as it should.
        """

    def ended(handOver: HandOver, error: TunnelError | None) -> None:
        """
        All is over; where C{plain} was not asked for before, that is the answer to the program.
        """


class IHanded(Pairs, Protocol):
    """
    What makes the one pair of a connection that was handed over.
    """

    def heardAll(self, leg: ILeg) -> None:
        """
        A leg has ended cleanly, while both were joined.
        """
