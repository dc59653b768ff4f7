"""
Which tunnels of a configuration want the same address, by the rules that L{tlstunnel.net.listen}
binds by.

No name is looked up: of two different names, or a name and an address, nothing is said unless they
are the same for certain.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain

from tlstunnel.address import InheritedAddress, Listening, TCPAddress, UNIXAddress

_ALL4, _ALL6 = "0.0.0.0", "::"
_WHOLE = ("", _ALL4, _ALL6)

# What names have this address, wherever it is that they are resolved (RFC 6761, section 6.3).
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Wanted:
    """
    An address that a table wants to listen at.

    @ivar table: its name, such as C{tunnel.mail}.
    @ivar index: the number of the address there.
    @ivar leaves4: whether another address of this table is all of IPv4 at the port.
    @ivar key: the key that names it.
    """

    table: str
    index: int
    address: Listening
    leaves4: bool = False
    key: str = "local"


def wantedBy(table: str, addresses: Sequence[Listening], key: str = "local") -> list[Wanted]:
    """
    What C{table} wants.

    @param key: the key that has C{addresses}.
    """
    all4 = {each.port for each in addresses if isinstance(each, TCPAddress) and each.host == _ALL4}
    return [
        Wanted(table, index, each, isinstance(each, TCPAddress) and each.port in all4, key)
        for index, each in enumerate(addresses)
    ]


def clashes(wanted: Iterable[Wanted]) -> Iterator[tuple[Wanted, Wanted]]:
    """
    Those that cannot have their address, each with the first that has it before.
    """
    places: dict[object, list[tuple[int, Wanted]]] = {}
    for number, each in enumerate(wanted):
        own, others = _places(each.address)
        before = sorted(chain.from_iterable(places.get(other, ()) for other in others), key=_number)
        first = next((other for _, other in before if _overlap(each, other)), None)
        if first is not None:
            yield each, first
        for place in own:
            places.setdefault(place, []).append((number, each))


def _number(numbered: tuple[int, Wanted]) -> int:
    return numbered[0]


def _places(address: Listening) -> tuple[Sequence[object], Sequence[object]]:
    """
    Under what an address is to be found, and what others may be in its way are found under: of
    thousands of addresses not each is compared with each.
    """
    if isinstance(address, TCPAddress):
        every, whole = (address.port, "every"), (address.port, "whole")
        if address.host in _WHOLE:
            return (every, whole), (every,)
        host = (address.port, "host", _literal(address.host) or address.host)
        return (every, host), (whole, host)
    place = os.path.realpath(address.path) if isinstance(address, UNIXAddress) else InheritedAddress
    return (place,), (place,)


def _overlap(one: Wanted, other: Wanted) -> bool:
    first, second = one.address, other.address
    if isinstance(first, InheritedAddress) and isinstance(second, InheritedAddress):
        return first.name == second.name or not (first.name and second.name)
    if not (isinstance(first, TCPAddress) and isinstance(second, TCPAddress)):
        return True
    # The system chooses another one each time for port 0.
    return first.port != 0 and (_covers(one, second) or _covers(other, first))


def _covers(wanted: Wanted, address: TCPAddress) -> bool:
    """
    Whether nothing can be bound to C{address} beside the sockets of C{wanted}.
    """
    assert isinstance(wanted.address, TCPAddress)
    host = wanted.address.host
    literal = _literal(address.host)
    if host in ("", _ALL6):
        # One socket for both families, unless IPv4 has its own.
        isOnly4 = isinstance(literal, IPv4Address)
        return not (wanted.leaves4 and isOnly4)
    if host == _ALL4:
        return isinstance(literal, IPv4Address)
    return address.host == host or (literal is not None and literal == _literal(host))


@lru_cache(1024)
def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(_LOOPBACK if host == "localhost" else host)
    except ValueError:
        return None
