"""
Who may come in, by where they come from: lists of networks, and how much comes from one source.

This is asked before anything else is done for a connection, and knows nothing of connections but
their addresses, so that it can be asked of any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from twisted.internet.interfaces import IReactorTime

from tlstunnel.address import Address
from tlstunnel.net.networks import numberOf
from tlstunnel.net.origins import Grouping, Source
from tlstunnel.tunnel.buckets import Buckets
from tlstunnel.tunnel.description import Tunnel

#: Why somebody may not come in: C{deny} names the address, or C{allow} does not; the source has
#: as many connections as one may have; it makes new ones too fast.
DENIED, TOO_MANY, TOO_FAST = REFUSALS = ("denied", "per-address", "rate")


class Sources(Grouping):
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
        super().__init__(limits.ipv4Prefix, limits.ipv6Prefix)
        isSame = before is not None and before.bits == self.bits
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
            source = self.sourceAt(host, number)
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
