"""
Where the connections of a tunnel go to: a dialler for all addresses that it has, and one for those
of each name or protocol that has its own; or, where that is a program, what starts it.

This module knows what was prepared, and nothing of the connections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tlstunnel.address import Address, ExecAddress, SRVAddress, TCPAddress
from tlstunnel.net.complaints import Allowance
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.destination import IDestination
from tlstunnel.net.dial import Dialler
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.remotes import Backend, Balance, Remotes
from tlstunnel.net.resolve import Directory
from tlstunnel.net.unixleg import UNIXLegs
from tlstunnel.net.viadial import ViaDialler
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.executing import Executor
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import Addresses

#: Connects to an address through a proxy.
Via = Callable[[Address], Awaitable[Leg]]

#: What connects, starts a program, or has a program of this process.
Destination = IDestination


class Destinations:
    """
    Those of one tunnel.  What is known of the places is kept over reloads.
    """

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        linger: Linger,
        tunnel: str,
        directory: Directory | None = None,
    ) -> None:
        """
        @param tunnel: what the log calls the tunnel.
        @param directory: knows what names mean, where others ask it as well.
        """
        self._reactor = reactor
        self._deadlines = deadlines
        self._linger = linger
        self._remotes = Remotes(reactor, tunnel)
        self._directory = Directory(reactor) if directory is None else directory
        self._allowance = Allowance(reactor)
        self._tunnel = tunnel
        self._destinations: dict[Addresses, Dialler | Executor] = {}

    @property
    def backends(self) -> list[Backend]:
        """
        Where new connections go to, as far as it is known.
        """
        return list(dict.fromkeys(b for each in self._destinations.values() for b in each.backends))

    @property
    def _diallers(self) -> list[Dialler]:
        return [each for each in self._destinations.values() if isinstance(each, Dialler)]

    async def hosts(self, address: TCPAddress | SRVAddress) -> Sequence[str]:
        """
        The addresses that one of our remotes means at the moment.
        """
        return await self._diallers[0].hosts(address)

    def follow(self, prepared: Prepared, legs: UNIXLegs) -> Mapping[Addresses, Destination]:
        """
        Let new connections go to where it says now.

        @param legs: makes the plain legs that are UNIX sockets.
        @return: what dials, for all addresses of the tunnel and for those of each name.
        """
        before = self._diallers
        addresses = {prepared.tunnel.remote}
        if prepared.names is not None:
            addresses |= prepared.names.remotes
        via = self.via(prepared)
        self._destinations = {
            each: self._destination(prepared, each, legs, via) for each in addresses
        }
        # Lists change at a reload, and what is known is of each address in them.
        knowing = {address: each for each in before for address in each.addresses}
        for dialler in self._diallers:
            for each in {knowing[where] for where in dialler.addresses if where in knowing}:
                dialler.follow(each)
        return self._destinations

    def _destination(
        self, prepared: Prepared, addresses: Addresses, legs: UNIXLegs, via: Via | None
    ) -> Dialler | Executor:
        tunnel = prepared.tunnel
        first = addresses[0] if addresses else None
        if isinstance(first, ExecAddress):
            return Executor(
                self._reactor,
                self._deadlines,
                legs,
                prepared.launches[first],
                self._remotes,
                self._allowance,
                self._tunnel,
            )
        return Dialler(
            self._reactor,
            self._deadlines,
            self._linger,
            addresses,
            tunnel.limits.connect,
            tunnel.limits.keepAlive,
            legs.leg if tunnel.mode is Mode.SERVER else None,
            via,
            self._remotes,
            self._directory,
            Balance(tunnel.balance),
        )

    def via(self, prepared: Prepared) -> Via | None:
        """
        What connects through the proxy of a tunnel, if that has one.
        """
        tunnel = prepared.tunnel
        if tunnel.via is None:
            return None
        dialler = ViaDialler(
            self._reactor,
            self._deadlines,
            self._linger,
            tunnel.via,
            prepared.login,
            tunnel.limits.connect,
            tunnel.limits.keepAlive,
            self._directory,
        )
        return dialler.connect
