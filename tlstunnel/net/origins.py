"""
Where connections come from: which addresses are one source, for whoever counts, or shares out, by
source.

A source is an address, or all that begin with the same bits: whoever has one address of IPv6 has
2**64 of them.  This module knows addresses, and nothing of what is counted or shared out.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from tlstunnel.address import Address
from tlstunnel.net.networks import LAST, numberOf

#: What is one source: the number of its first address, with the interface that leads there if it is
#: on the same link; C{None} for all UNIX sockets.
Source = int | tuple[int, str] | None

#: The bits that the addresses of one source have in common, where nothing else is said.
IPV4_PREFIX, IPV6_PREFIX = 32, 64


class Grouping:
    """
    Which addresses are one source.

    @ivar bits: those that its addresses have in common, of IPv4 and of IPv6.
    """

    def __init__(self, ipv4Prefix: int = IPV4_PREFIX, ipv6Prefix: int = IPV6_PREFIX) -> None:
        self.bits = ipv4Prefix, ipv6Prefix
        self._mask4 = LAST - (1 << (32 - ipv4Prefix)) + 1
        self._mask6 = LAST - (1 << (128 - ipv6Prefix)) + 1

    def sourceOf(self, peer: Address) -> Source:
        """
        The source that C{peer} is of.

        @raise OSError: its host is a name.
        """
        host = peer.host
        return self.sourceAt(host, numberOf(host)) if host else None

    def sourceAt(self, host: str, number: int) -> Source:
        """
        The same of an address of TCP, whose number is known.
        """
        first = number & (self._mask4 if number >> 32 == 0xFFFF else self._mask6)
        # The same addresses are on every link (RFC 4007, section 6).
        return (first, host.partition("%")[2]) if "%" in host else first

    def nameOf(self, source: Source) -> str:
        """
        What people call C{source}: C{192.0.2.1}, C{2001:db8::/64}, C{UNIX sockets}.
        """
        if source is None:
            return "UNIX sockets"
        first, link = source if isinstance(source, tuple) else (source, "")
        address = IPv6Address(first)
        mapped = address.ipv4_mapped
        bits, most = (self.bits[0], 32) if mapped is not None else (self.bits[1], 128)
        zone = f"%{link}" if link else ""
        return f"{mapped or address}{zone}" + ("" if bits == most else f"/{bits}")
