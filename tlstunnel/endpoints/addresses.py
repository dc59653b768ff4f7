"""
Our addresses as those of Twisted.
"""

from __future__ import annotations

from ipaddress import ip_address

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.address import UNIXAddress as UNIXPath

from tlstunnel.address import Peer, TCPAddress, UNIXAddress


def twisteds(address: Peer) -> IPv4Address | IPv6Address | UNIXPath:
    """
    The same, as protocols know it.
    """
    match address:
        case TCPAddress(host=host, port=port):
            isIPv6 = ip_address(host).version == 6
            return IPv6Address("TCP", host, port) if isIPv6 else IPv4Address("TCP", host, port)
        case UNIXAddress(path=path):
            return UNIXPath(path or None)
    raise TypeError(f"{address} is nobody's address")
