"""
The addresses of a host, by the reactor's resolver: nothing else looks names up while it runs.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IResolutionReceiver
from zope.interface import implementer

from tlstunnel.net.deadlines import Deadlines


async def resolve(
    reactor: Any, deadlines: Deadlines, host: str, port: int, seconds: float
) -> list[Any]:
    """
    Look up C{host}.

    @param seconds: how long that may take.
    @return: L{IPv4Address} and L{IPv6Address} of L{twisted.internet.address}, in the resolver's
        order; none if the name does not resolve in time.
    """
    addresses = _Addresses()
    reactor.nameResolver.resolveHostName(addresses, host, port, transportSemantics="TCP")
    with deadlines.after(seconds, addresses.resolutionComplete):
        await addresses.complete
    return addresses.found


@implementer(IResolutionReceiver)
class _Addresses:
    """
    Collects what the resolver finds for one name.
    """

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.complete: Deferred[None] = Deferred(lambda _: None)

    def resolutionBegan(self, resolutionInProgress: object) -> None:
        """
        Nothing to remember: a resolution that comes too late is ignored.
        """

    def addressResolved(self, address: object) -> None:
        """
        One more.
        """
        self.found.append(address)

    def resolutionComplete(self) -> None:
        """
        That was all.
        """
        if not self.complete.called:
            self.complete.callback(None)
