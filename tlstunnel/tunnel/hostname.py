"""
What this host, and the one at the other end, are called in words that go out: names of hosts, in
the form that protocols have for them, which is narrower than what resolvers and certificates know.
"""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address

# RFC 5321, section 4.1.2: no underscore, and no hyphen at an end.
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")

_LOOPBACK = b"[127.0.0.1]"


def isFull(name: str) -> bool:
    """
    Whether others can know us by C{name}: it has a domain, and is never C{localhost}.
    """
    return "." in name and not name.startswith("localhost") and bool(written(name))


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


def written(name: str) -> bytes:
    """
    How a host is written where SMTP has one, and other protocols in their greetings: its name, or
    its address as a literal (RFC 5321, sections 4.1.2 and 4.1.3).

    @return: nothing, where it cannot be written: proj_web_1.proj_default is a name to resolvers,
        and many servers answer EHLO with 501 to it.
    """
    try:
        address = ip_address(name)
    except ValueError:
        return name.encode() if all(map(_LABEL.fullmatch, name.split("."))) else b""
    return f"[{'IPv6:' if address.version == 6 else ''}{address}]".encode()


def inGreeting(name: str) -> bytes:
    """
    What a client of SMTP calls itself: a full name, or an address.

    @param name: what L{lookUp} found; empty for the name that the kernel has, which nobody needs
        to be asked for.
    """
    name = name or socket.gethostname()
    literal = written(name)
    return literal if literal.startswith(b"[") or isFull(name) else _LOOPBACK
