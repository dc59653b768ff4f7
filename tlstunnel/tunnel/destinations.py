"""
Where the connections of a tunnel go to: a dialler for all addresses that it has, and one for those
of each name or protocol that has its own.

This module knows what was prepared, and nothing of the connections.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tlstunnel.address import Address
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.dial import Dialler
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.remotes import Backend, Balance, Remotes
from tlstunnel.net.resolve import Directory
from tlstunnel.net.viadial import ViaDialler
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import Addresses

#: Connects to an address through a proxy.
Via = Callable[[Address], Awaitable[Leg]]


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
        self._diallers: dict[Addresses, Dialler] = {}

    @property
    def backends(self) -> list[Backend]:
        """
        Where new connections go to, as far as it is known.
        """
        return list(dict.fromkeys(b for each in self._diallers.values() for b in each.backends))

    def follow(
        self, prepared: Prepared, unixLeg: Callable[[socket.socket, Address], Leg] | None
    ) -> Mapping[Addresses, Dialler]:
        """
        Let new connections go to where it says now.

        @param unixLeg: see L{Dialler}.
        @return: what dials, for all addresses of the tunnel and for those of each name.
        """
        before = self._diallers
        addresses = {prepared.tunnel.remote}
        if prepared.names is not None:
            addresses |= prepared.names.remotes
        via = self.via(prepared)
        self._diallers = {each: self._dialler(prepared, each, unixLeg, via) for each in addresses}
        # Lists change at a reload, and what is known is of each address in them.
        knowing = {address: each for each in before.values() for address in each.addresses}
        for dialler in self._diallers.values():
            for each in {knowing[where] for where in dialler.addresses if where in knowing}:
                dialler.follow(each)
        return self._diallers

    def _dialler(
        self,
        prepared: Prepared,
        addresses: Addresses,
        unixLeg: Callable[[socket.socket, Address], Leg] | None,
        via: Via | None,
    ) -> Dialler:
        tunnel = prepared.tunnel
        return Dialler(
            self._reactor,
            self._deadlines,
            self._linger,
            addresses,
            tunnel.limits.connect,
            tunnel.limits.keepAlive,
            unixLeg,
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
