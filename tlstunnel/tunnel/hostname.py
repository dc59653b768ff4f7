"""
What this host calls itself, where nobody told us who we are.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address


def isFull(name: str) -> bool:
    """
    Whether others can know us by C{name}: it has a domain, and is never C{localhost}.
    """
    return "." in name and not name.startswith("localhost") and name.isascii()


def lookUp() -> str:
    """
    Find the full name of this host, or else one of its addresses.  The resolver of the system may
    take half a minute to answer, so no reactor may run meanwhile.
    """
    name = socket.getfqdn()
    if isFull(name):
        return name
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"


def inGreeting(name: str) -> bytes:
    """
    What a client of SMTP calls itself (RFC 5321, section 4.1.3): a full name, or an address as a
    literal.

    @param name: what L{lookUp} found; empty for the name that the kernel has, which nobody needs
        to be asked for.
    """
    name = name or socket.gethostname()
    try:
        address = ip_address(name)
    except ValueError:
        return name.encode() if isFull(name) else b"[127.0.0.1]"
    return f"[{'IPv6:' if address.version == 6 else ''}{address}]".encode()
