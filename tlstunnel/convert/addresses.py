"""
Addresses and paths as stunnel writes them, in our form.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from tlstunnel.address import TCPAddress, UNIXAddress, parseAddress
from tlstunnel.program.addressvalues import place


def listening(text: str) -> TCPAddress | UNIXAddress:
    """
    Where to listen; a port alone is that of all addresses of IPv4.

    @raise ValueError: it is no address; the message is a sentence for the user.
    """
    return parseAddress(_ours(text, "0.0.0.0"))


def connecting(text: str, host: str) -> TCPAddress | UNIXAddress:
    """
    Where to connect to.

    @param host: what a port alone belongs to.
    @raise ValueError: as above.
    """
    return place(_ours(text, host))


def inside(chroot: str, path: str) -> str:
    """
    Where a path is that is looked up behind the walls of a jail.

    @param chroot: the folder of the jail; empty if there is none.
    """
    return f"{chroot.rstrip('/')}/{path.lstrip('/')}" if chroot else path


def _ours(text: str, host: str) -> str:
    """
    A port, C{host:port} or the path of a UNIX socket in our form; the host of IPv6 has no brackets,
    so that all interfaces are C{:::443}.
    """
    if text.startswith("/"):
        return text
    before, colon, port = text.rpartition(":")
    name = before if colon else host
    if not name:
        raise ValueError(f"{text!r} has no host before its colon; write the port alone")
    try:
        name = f"[{IPv6Address(name)}]"
    except ValueError:
        pass
    return f"{name}:{port}"
