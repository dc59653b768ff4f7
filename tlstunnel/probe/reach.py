"""
The addresses of a server, and how each of them answers.

They are connected to as the tunnel does it: by the same search, one shortly after the other.
"""

from __future__ import annotations

from tlstunnel.address import Remote, TCPAddress
from tlstunnel.errors import TunnelError
from tlstunnel.net.dial import Dialler
from tlstunnel.net.remotes import Backend, Remotes
from tlstunnel.probe.course import Ground
from tlstunnel.tunnel.limits import Limits


class Notes(Remotes):
    """
    Remembers why a place was not reached, and leaves none alone.

    @ivar problems: why, by their addresses.
    """

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground.reactor)
        self.problems: dict[Remote, TunnelError] = {}

    def failed(self, backend: Backend, began: float, error: TunnelError, others: bool) -> None:
        """
        See L{Remotes.failed}.
        """
        self.problems.setdefault(backend.address, error)


def dialler(ground: Ground, address: TCPAddress, limits: Limits, notes: Notes) -> Dialler:
    """
    What connects to C{address}, and to all that it means if it is a name.
    """
    return Dialler(
        ground.reactor,
        ground.deadlines,
        ground.linger,
        (address,),
        limits.connect,
        limits.keepAlive,
        remotes=notes,
        directory=ground.directory,
    )


async def addressesOf(ground: Ground, address: TCPAddress, limits: Limits) -> list[TCPAddress]:
    """
    All that C{address} means at the moment; none if it is a name that does not resolve in time.
    """
    if address.isLiteral:
        return [address]
    hosts = await ground.directory.hosts(ground.deadlines, address.host, limits.connect)
    return [TCPAddress(each, address.port) for each in hosts]
