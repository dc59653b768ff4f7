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
from ipaddress import IPv4Address, IPv6Address, ip_address

from tlstunnel.address import InheritedAddress, TCPAddress, UNIXAddress
from tlstunnel.tunnel.description import Listening

_ALL4, _ALL6 = "0.0.0.0", "::"

# What names have this address, wherever it is that they are resolved (RFC 6761, section 6.3).
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Wanted:
    """
    An address that a table wants to listen at.

    @ivar table: its name, such as C{tunnel.mail}.
    @ivar index: the number of the address there.
    @ivar leaves4: whether another address of this table is all of IPv4 at the port.
    """

    table: str
    index: int
    address: Listening
    leaves4: bool = False


def wantedBy(table: str, addresses: Sequence[Listening]) -> list[Wanted]:
    """
    What C{table} wants.
    """
    all4 = {each.port for each in addresses if isinstance(each, TCPAddress) and each.host == _ALL4}
    return [
        Wanted(table, index, each, isinstance(each, TCPAddress) and each.port in all4)
        for index, each in enumerate(addresses)
    ]


def clashes(wanted: Iterable[Wanted]) -> Iterator[tuple[Wanted, Wanted]]:
    """
    Those that cannot have their address, each with the first that has it before.
    """
    places: dict[object, list[Wanted]] = {}
    for each in wanted:
        before = places.setdefault(_place(each.address), [])
        first = next((other for other in before if _overlap(each, other)), None)
        if first is not None:
            yield each, first
        before.append(each)


def _place(address: Listening) -> object:
    """
    What two addresses have to have in common to be in each other's way.
    """
    if isinstance(address, TCPAddress):
        return address.port
    if isinstance(address, UNIXAddress):
        return os.path.realpath(address.path)
    return InheritedAddress


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


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(_LOOPBACK if host == "localhost" else host)
    except ValueError:
        return None
