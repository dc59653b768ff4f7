"""
Addresses as stunnel writes them, in our form.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from tlstunnel.address import TCPAddress, UNIXAddress, parseAddress


def address(text: str, host: str) -> TCPAddress | UNIXAddress:
    """
    Read a port, C{host:port} or the path of a UNIX socket; the host of IPv6 has no brackets, so
    that all interfaces are C{:::443}.

    @param host: what a port alone belongs to.
    @raise ValueError: it is none of them; the message is a sentence for the user.
    """
    if text.startswith("/"):
        return parseAddress(text)
    before, colon, port = text.rpartition(":")
    name = before if colon else host
    if not name:
        raise ValueError(f"{text!r} has no host before its colon; write the port alone")
    try:
        name = f"[{IPv6Address(name)}]"
    except ValueError:
        pass
    return parseAddress(f"{name}:{port}")
