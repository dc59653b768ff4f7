"""
Where a client is, and where it has connected to, in words that backends take.
"""

from __future__ import annotations

from tlstunnel.address import Address, TCPAddress


def hostAndPort(address: Address | None) -> tuple[str, str] | None:
    """
    An address and a port, or nothing where there are none to tell: at UNIX sockets.
    """
    if not isinstance(address, TCPAddress) or not address.isLiteral:
        return None
    # A zone means something on the host that it is from, and nowhere else (RFC 4007, section 6).
    return address.host.partition("%")[0], str(address.port)


def xclient(peer: Address) -> bytes:
    """
    The command by which Dovecot's pop3 and Pigeonhole's sieve learn who is there.

    Versions before 2.4 do not know C{CLIENT-TRANSPORT}, and pass over what they do not know.
    """
    place = hostAndPort(peer)
    words = ["XCLIENT"]
    if place is not None:
        words += [f"ADDR={place[0]}", f"PORT={place[1]}"]
    return " ".join([*words, "CLIENT-TRANSPORT=TLS"]).encode()
