"""
Networks, as a list names them, and whether an address is in one of them.

Every address is a number of 128 bits here: one of IPv4 is that of its form in IPv6 (RFC 4291,
section 2.5.5.2), so that it is the same whichever way it comes.  This module knows nothing of what
the lists are for.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from socket import AF_INET, AF_INET6, inet_pton

#: The first address of IPv4, and the last.
FIRST4, LAST4 = 0xFFFF << 32, (0xFFFF << 32) + 0xFFFFFFFF

#: The last of all addresses; the first is 0.
LAST = (1 << 128) - 1

# How many bits the form has in IPv6 that an address of IPv4 stands behind.
_FORM_BITS = 96

#: Networks that are kept as they were read: all tunnels of a file may have the same, and a reload
#: reads them again.
NETWORKS_KEPT = 1 << 16

Network = IPv4Network | IPv6Network

# What is often given where an address without a port is wanted.
_WITH_PORT = re.compile(r"\[(?P<bracketed>.*)\](:[0-9]+)?|(?P<plain>[^:]+):[0-9]+")


def numberOf(host: str) -> int:
    """
    The number of an address.

    @param host: an address as the system writes it; what is behind C{%} does not matter.
    @raise OSError: it is none.
    """
    if ":" in host:
        return int.from_bytes(inet_pton(AF_INET6, host.partition("%")[0]))
    return FIRST4 | int.from_bytes(inet_pton(AF_INET, host))


@lru_cache(maxsize=NETWORKS_KEPT)
def parseNetwork(text: str) -> Network:
    """
    Read C{192.0.2.0/24}, C{2001:db8::/32}, or a single address.

    @return: one of IPv4 also where that is written as IPv6.
    @raise ValueError: it is none; the message is a sentence for the user.
    """
    _, slash, bits = text.partition("/")
    if "%" in text or (slash and not (bits.isascii() and bits.isdigit())):
        raise ValueError(_wrong(text))
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(_wrong(text)) from None
    if isinstance(network, IPv6Network) and network.prefixlen >= _FORM_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _FORM_BITS))
    return network


def _wrong(text: str) -> str:
    """
    Why C{text} is no network, and what is probably meant.
    """
    address, slash, bits = text.partition("/")
    if "%" in address:
        return f"{text!r} names an interface; leave out what is between % and /"
    try:
        literal = ip_address(address)
    except ValueError:
        return _notAnAddress(text, address, slash + bits)
    if not (bits.isascii() and bits.isdigit()):
        return _notBits(text)
    most = literal.max_prefixlen
    if len(bits) > 3 or int(bits) > most:
        return f"{text!r} has more than {most} bits; write a number up to {most}"
    return (
        f"{text!r} has more of an address than its first {bits} bits; write "
        f"{ip_network(text, strict=False)} for the network, or {literal} for the one address"
    )


def _notAnAddress(text: str, address: str, rest: str) -> str:
    found = _WITH_PORT.fullmatch(address)
    bare = (found["bracketed"] or found["plain"] or "") if found else ""
    try:
        meant = f"{ip_address(bare)}{rest}"
    except ValueError:
        return f"{text!r} is no network; write 192.0.2.0/24, 2001:db8::/32, or an address"
    return f"{text!r} is more than a network; write {meant}"


def _notBits(text: str) -> str:
    """
    What is wrong with a network that has no number behind its slash.
    """
    try:
        meant = str(ip_interface(text).network)
    except ValueError:
        meant = "a number there, as in 192.0.2.0/24"
    return f"{text!r} has no number of bits behind its slash; write {meant}"


@dataclass(frozen=True)
class Networks:
    """
    All the addresses of some networks.

    @ivar firsts: where they begin, in order; what overlaps, or follows at once, is one.
    @ivar lasts: where each of these ends.
    """

    firsts: tuple[int, ...] = ()
    lasts: tuple[int, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[Network]) -> Networks:
        """
        Those of C{networks}.  One of IPv6 has nothing of IPv4, however wide it is.
        """
        return cls.ofRanges(each for network in networks for each in _rangesOf(network))

    @classmethod
    def ofRanges(cls, ranges: Iterable[tuple[int, int]]) -> Networks:
        """
        Those of C{ranges}, each with its first and its last address.
        """
        firsts: list[int] = []
        lasts: list[int] = []
        for first, last in sorted(ranges):
            if lasts and first <= lasts[-1] + 1:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)
        return cls(tuple(firsts), tuple(lasts))

    def __bool__(self) -> bool:
        """
        Whether there are any.
        """
        return bool(self.firsts)

    def __contains__(self, number: int) -> bool:
        """
        Whether the address with this number is one of them.
        """
        at = bisect_right(self.firsts, number)
        return at > 0 and number <= self.lasts[at - 1]

    def __and__(self, other: Networks) -> Networks:
        """
        Those that are in both.
        """
        return self.ofRanges(
            (max(first, theirs), min(last, end))
            for first, last in self
            for theirs, end in other._meeting(first, last)
        )

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """
        Their ranges.
        """
        return zip(self.firsts, self.lasts, strict=True)

    def _meeting(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """
        The ranges that have something between C{first} and C{last}.
        """
        at = max(0, bisect_right(self.firsts, first) - 1)
        while at < len(self.firsts) and self.firsts[at] <= last:
            if self.lasts[at] >= first:
                yield self.firsts[at], self.lasts[at]
            at += 1

    def covers(self, other: Networks) -> bool:
        """
        Whether all of C{other} are among these.
        """
        return all(
            any(mine <= first and last <= end for mine, end in self._meeting(first, last))
            for first, last in other
        )


def _rangesOf(network: Network) -> Iterator[tuple[int, int]]:
    first = int(network.network_address)
    last = first + (1 << (network.max_prefixlen - network.prefixlen)) - 1
    if isinstance(network, IPv4Network):
        yield FIRST4 | first, FIRST4 | last
    elif first <= FIRST4 and last >= LAST4:
        # It is wider than the addresses of IPv4, which were not meant.
        yield first, FIRST4 - 1
        yield LAST4 + 1, last
    else:
        yield first, last


#: All addresses.
EVERYBODY = Networks.ofRanges([(0, LAST)])
