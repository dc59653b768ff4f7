"""
Who may come in, by where they come from: lists of networks, and how much comes from one source.

A source is an address, or all that begin with the same bits: whoever has one address of IPv6 has
2**64 of them.  This is asked before anything else is done for a connection, and knows nothing of
connections but their addresses, so that it can be asked of any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address

from twisted.internet.interfaces import IReactorTime

from tlstunnel.address import Address
from tlstunnel.net.networks import LAST, numberOf
from tlstunnel.tunnel.buckets import Buckets
from tlstunnel.tunnel.description import Tunnel

#: Why somebody may not come in: C{deny} names the address, or C{allow} does not; the source has
#: as many connections as one may have; it makes new ones too fast.
DENIED, TOO_MANY, TOO_FAST = REFUSALS = ("denied", "per-address", "rate")

#: What is one source: the number of its first address, with the interface that leads there if it is
#: on the same link; C{None} for all UNIX sockets.
Source = int | tuple[int, str] | None


class Sources:
    """
    The sources of the connections of one tunnel.
    """

    def __init__(
        self,
        clock: IReactorTime,
        tunnel: Tunnel,
        there: Iterable[Address] = (),
        before: Sources | None = None,
    ) -> None:
        """
        @param there: where the connections come from that there are.
        @param before: what was asked until now, so that nobody can begin anew.
        """
        limits = tunnel.limits
        self._allow, self._deny = tunnel.allow, tunnel.deny
        self._most, self._rate = limits.perAddress, limits.ratePerAddress
        self._bits = limits.ipv4Prefix, limits.ipv6Prefix
        self._mask4 = LAST - (1 << (32 - limits.ipv4Prefix)) + 1
        self._mask6 = LAST - (1 << (128 - limits.ipv6Prefix)) + 1
        isSame = before is not None and before._bits == self._bits
        # How many connections there are of each.
        self._open: dict[Source, int] = {}
        if before is not None and isSame and before._most and self._most:
            self._open = before._open
        elif self._most:
            self._open = Counter(map(self.sourceOf, there))
        self._buckets: Buckets | None = None
        if before is not None and isSame and before._rate == self._rate:
            self._buckets = before._buckets
        elif self._rate:
            self._buckets = Buckets(clock, self._rate)

    @staticmethod
    def areLimited(tunnel: Tunnel) -> bool:
        """
        Whether it has to be asked at all who comes to C{tunnel}.
        """
        limits = tunnel.limits
        return bool(tunnel.allow or tunnel.deny or limits.perAddress or limits.ratePerAddress)

    def sourceOf(self, peer: Address) -> Source:
        """
        The source that C{peer} is of.
        """
        host = peer.host
        if not host:
            return None
        return self._source(host, numberOf(host))

    def _source(self, host: str, number: int) -> Source:
        first = number & (self._mask4 if number >> 32 == 0xFFFF else self._mask6)
        # The same addresses are on every link (RFC 4007, section 6).
        return (first, host.partition("%")[2]) if "%" in host else first

    def enter(self, peer: Address) -> str:
        """
        A connection from C{peer} is there.

        @return: why it may not come in, one of L{REFUSALS}, and nothing has changed; else it is
            empty, and L{leave} has to be called once.
        """
        host = peer.host
        source: Source = None
        # Who may use a UNIX socket is a matter of its permissions.
        if host:
            number = numberOf(host)
            if number in self._deny or (self._allow and number not in self._allow):
                return DENIED
            source = self._source(host, number)
        if self._most and self._open.get(source, 0) >= self._most:
            return TOO_MANY
        if self._buckets is not None and not self._buckets.take(source):
            return TOO_FAST
        if self._most:
            self._open[source] = self._open.get(source, 0) + 1
        return ""

    def leave(self, peer: Address) -> None:
        """
        A connection that came in has gone.
        """
        if self._most:
            source = self.sourceOf(peer)
            left = self._open[source] - 1
            if left:
                self._open[source] = left
            else:
                del self._open[source]

    def nameOf(self, source: Source) -> str:
        """
        What people call C{source}: C{192.0.2.1}, C{2001:db8::/64}, C{UNIX sockets}.
        """
        if source is None:
            return "UNIX sockets"
        first, link = source if isinstance(source, tuple) else (source, "")
        address = IPv6Address(first)
        mapped = address.ipv4_mapped
        bits, most = (self._bits[0], 32) if mapped is not None else (self._bits[1], 128)
        zone = f"%{link}" if link else ""
        return f"{mapped or address}{zone}" + ("" if bits == most else f"/{bits}")
