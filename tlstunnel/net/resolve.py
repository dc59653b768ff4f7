"""
What names mean: the addresses of hosts, by the reactor's resolver, and the places of services, by
L{tlstunnel.net.services}.  Nothing else looks names up while the reactor runs.

The system's resolver knows /etc/hosts, search domains and whatever else nsswitch.conf(5) has, and
keeps answers for their time to live; it does not say how long that is.  So an answer of it counts
for a moment here, and then it is asked again: no answer is older than that, and its own time.  It
takes a thread for each name that it is asked for, and never two.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IResolutionReceiver
from zope.interface import implementer

from tlstunnel.address import SRVAddress, TCPAddress
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.lookups import Lookups
from tlstunnel.net.services import Record, ask, inOrder

#: Seconds that the addresses of a host count for.
HOST_SECONDS = 5.0


class Unresolved(Exception):
    """
    A host has no address, or nobody knows.
    """


class Directory:
    """
    All that was looked up in a process.
    """

    def __init__(self, reactor: Any, random: Random | None = None) -> None:
        """
        @param random: chooses among services with the same priority.
        """
        self._reactor = reactor
        self._random = Random() if random is None else random  # noqa: S311 - it keeps no secret
        self._hosts: Lookups[tuple[str, ...]] = Lookups(reactor, self._askHost)
        self._services: Lookups[tuple[Record, ...]] = Lookups(
            reactor, lambda owner: Deferred.fromCoroutine(ask(reactor, owner))
        )

    async def hosts(self, deadlines: Deadlines, host: str, seconds: float) -> Sequence[str]:
        """
        The addresses of C{host}, the families in turn, in the resolver's order (RFC 8305, section
        4); none if it does not resolve in time.

        @param seconds: how long that may take.
        """
        return await self._hosts.get(deadlines, host, seconds) or ()

    async def service(
        self, deadlines: Deadlines, address: SRVAddress, seconds: float
    ) -> Sequence[TCPAddress] | None:
        """
        The places of a service, in the order in which to try them (RFC 2782).

        @param seconds: how long that may take.
        @return: none if the domain says that it has no such service; C{None} if nobody knows.
        """
        records = await self._services.get(deadlines, address.owner, seconds)
        if records is None:
            return None
        return [TCPAddress(each.target, each.port) for each in inOrder(records, self._random)]

    def _askHost(self, host: str) -> Deferred[tuple[tuple[str, ...], float]]:
        found = _Addresses()
        self._reactor.nameResolver.resolveHostName(found, host, 0, transportSemantics="TCP")
        return found.complete.addCallback(_interleaved)


def _interleaved(found: Sequence[Any]) -> tuple[tuple[str, ...], float]:
    """
    The families in turn.
    """
    if not found:
        raise Unresolved
    four = [each.host for each in found if isinstance(each, IPv4Address)]
    six = [each.host for each in found if not isinstance(each, IPv4Address)]
    first, second = (four, six) if isinstance(found[0], IPv4Address) else (six, four)
    longest = max(len(first), len(second))
    hosts = [each[n] for n in range(longest) for each in (first, second) if n < len(each)]
    return tuple(dict.fromkeys(hosts)), HOST_SECONDS


@implementer(IResolutionReceiver)
class _Addresses:
    """
    Collects what the resolver finds for one name.
    """

    def __init__(self) -> None:
        self._found: list[Any] = []
        self.complete: Deferred[list[Any]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: object) -> None:
        """
        Nothing to remember.
        """

    def addressResolved(self, address: object) -> None:
        """
        One more.
        """
        self._found.append(address)

    def resolutionComplete(self) -> None:
        """
        That was all.
        """
        self.complete.callback(self._found)
