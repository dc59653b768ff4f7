"""
The interfaces of whatever chooses where a connection goes to, and connects to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

from tlstunnel.interfaces import ILeg

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from tlstunnel.errors import TunnelError
    from tlstunnel.tunnel.record import Record


class IDialler(Interface):
    """
    Connects to one place, however it is chosen.
    """

    async def dial() -> ILeg:
        """
        A connected leg; it may be there at once.

        @raise tlstunnel.errors.ConnectFailed: if nobody answers.
        """


class IDestination(Interface):
    """
    Where the connections of a tunnel go to: one place, or several.
    """

    def search(record: Record, accepted: ILeg) -> ISearch:
        """
        Begin with a connection.

        @param record: what is known of it, and will be.
        @param accepted: its leg that was accepted.
        """


class ISearch(IDialler):
    """
    The way of one connection to a place that serves it.  C{dial} connects to the next place each
    time that it is called.
    """

    isOver = Attribute("L{bool}: whether there is no other place to try.")

    def failed(error: TunnelError, isItsFault: bool = True) -> bool:
        """
        The place that was dialled last does not serve, or was not reached in time.

        @param isItsFault: whether others should leave it alone for a while.
        @return: whether there is another one to try.
        """

    def served() -> None:
        """
        It does serve: it speaks TLS and is whom it has to be, or greets as its protocol has it.
        """

    def end(isHurried: bool = False) -> Deferred[None] | None:
        """
        The connection to it is over, if there was one.

        @param isHurried: whether we are to be gone soon ourselves.
        @return: fires once nothing is left of it, if that takes time.
        """
