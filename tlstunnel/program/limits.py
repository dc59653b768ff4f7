"""
The settings that say what connections may take, and who may come: rows of the table in
L{tlstunnel.program.options}.
"""

from __future__ import annotations

from tlstunnel.net.kernel import LONGEST_KEEPALIVE
from tlstunnel.program.addressvalues import network
from tlstunnel.program.option import Option, Section
from tlstunnel.program.values import Number
from tlstunnel.tunnel.limits import Limits


def _limit(
    name: str,
    limit: str,
    unit: str,
    help: str,
    more: str = "",
    mayBeZero: bool = False,
    most: float = Number.most,
) -> Option:
    default = getattr(Limits, limit)
    return Option(
        name,
        Section.LIMITS,
        help,
        more,
        argument={"seconds": "SECONDS", "bits": "BITS"}.get(unit, "NUMBER"),
        parse=Number(type(default), unit, mayBeZero, most),
        default=default,
        limit=limit,
    )


LIMITS = (
    _limit("connect-timeout", "connect", "seconds", "to connect to one address"),
    _limit("connect-total", "connectTotal", "seconds", "to connect to any address"),
    _limit(
        "greeting-timeout",
        "greeting",
        "seconds",
        "for a server's greeting before STARTTLS",
        "Some servers greet late on purpose.",
    ),
    _limit(
        "negotiation-timeout",
        "negotiation",
        "seconds",
        "for the rest up to the TLS handshake",
        "With `server` it begins when a connection is accepted.",
    ),
    _limit("handshake-timeout", "handshake", "seconds", "for the TLS handshake"),
    _limit("close-timeout", "close", "seconds", "without progress after one direction ended"),
    _limit("close-total", "closeTotal", "seconds", "for one direction after the other, in all"),
    _limit(
        "idle-timeout",
        "idle",
        "seconds",
        "without traffic; 0: no limit",
        mayBeZero=True,
    ),
    _limit(
        "max-lifetime",
        "lifetime",
        "seconds",
        "for a connection, once both sides are joined; 0: no limit",
        mayBeZero=True,
    ),
    _limit(
        "keepalive",
        "keepAlive",
        "seconds",
        "of silence to the question of TCP whether the peer is there; 0: never",
        "A peer that does not answer for as long again is gone. It is for a connection that is "
        "silent and alive; `idle-timeout` is for one that is only silent. "
        f"At most {LONGEST_KEEPALIVE}.",
        mayBeZero=True,
        most=LONGEST_KEEPALIVE,
    ),
    _limit("max-connections", "connections", "connections", "connections at the same time"),
    _limit(
        "max-unverified",
        "unverified",
        "connections",
        "those whose peer is not verified yet; 0: a quarter of all",
        mayBeZero=True,
    ),
    _limit(
        "max-per-address",
        "perAddress",
        "connections",
        "connections from one source at the same time; 0: no limit",
        "More are reset at once, and get no TLS. A source is what `ipv4-prefix` and `ipv6-prefix` "
        "make one; all UNIX sockets are one.",
        mayBeZero=True,
    ),
    _limit(
        "max-rate-per-address",
        "ratePerAddress",
        "connections",
        "new connections from one source in a second; 0: no limit",
        "So many may come at once; further ones are reset until the source has been silent for "
        "long enough. A fraction is for less than one a second.",
        mayBeZero=True,
    ),
    _limit(
        "ipv4-prefix",
        "ipv4Prefix",
        "bits",
        "the addresses of IPv4 that begin with the same so many bits are one source",
        most=32,
    ),
    _limit(
        "ipv6-prefix",
        "ipv6Prefix",
        "bits",
        "the same of IPv6, where a host usually has a whole /64",
        most=128,
    ),
    Option(
        "allow",
        Section.LIMITS,
        "let connections in from this network or address alone: 192.0.2.0/24, 2001:db8::/32",
        "Repeatable: from all that are named. Others are reset at once, and get no TLS. It is not "
        "for UNIX sockets, where `socket-mode` is.",
        argument="NET",
        parse=network,
        default=(),
        isRepeatable=True,
    ),
    Option(
        "deny",
        Section.LIMITS,
        "let none in from this network or address, whatever `allow` says",
        "Repeatable.",
        argument="NET",
        parse=network,
        default=(),
        isRepeatable=True,
    ),
)
