"""
What one connection, and all connections of a tunnel together, may take at most.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlstunnel.net.origins import IPV4_PREFIX, IPV6_PREFIX


@dataclass(frozen=True)
class Limits:
    """
    What everything before the relay, and its end, may take at most; seconds unless said otherwise.

    @ivar connect: to connect to one address.
    @ivar connectTotal: to connect to any.
    @ivar greeting: for a server's greeting: 30 s occur by intent.
    @ivar negotiation: from there to the switch; in server mode from accepting.
    @ivar handshake: for the TLS handshake and verification.
    @ivar close: without progress, for one direction after the other ended.
    @ivar closeTotal: for that direction in all.
    @ivar idle: without traffic; 0 for no limit.
    @ivar lifetime: of a connection that is relayed; 0 for no limit.
    @ivar keepAlive: of silence, after which the system asks whether the peer is still there; 0 to
        ask never.  Routers on the way forget a silent connection after some minutes.
    @ivar connections: number of connections at the same time.
    @ivar unverified: number of those whose network peer is not verified yet; 0 for a quarter.
    @ivar perAddress: number of connections from one source; 0 for no limit.
    @ivar ratePerAddress: of new ones from one source in a second; 0 for no limit.
    @ivar ipv4Prefix: bits that the addresses of one source have in common, from 1 to 32.
    @ivar ipv6Prefix: the same of IPv6, from 1 to 128.
    """

    connect: float = 10.0
    connectTotal: float = 20.0
    greeting: float = 60.0
    negotiation: float = 30.0
    handshake: float = 15.0
    close: float = 60.0
    closeTotal: float = 3600.0
    idle: float = 0.0
    lifetime: float = 0.0
    keepAlive: float = 120.0
    connections: int = 16000
    unverified: int = 0
    perAddress: int = 0
    ratePerAddress: float = 0.0
    ipv4Prefix: int = IPV4_PREFIX
    ipv6Prefix: int = IPV6_PREFIX

    @property
    def strangers(self) -> int:
        """
        How many of all connections may be of peers that are not verified yet.
        """
        return self.unverified or max(1, self.connections // 4)
