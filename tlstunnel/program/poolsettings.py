"""
The settings of a pool service: rows of its own, and those of tunnels that mean the same there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlstunnel.address import InheritedAddress, UNIXAddress, parseListening
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.pool import Pool, defaultPool
from tlstunnel.net.access import SocketAccess
from tlstunnel.poolservice.description import PoolDescription
from tlstunnel.program.option import Option, Scope, Section
from tlstunnel.program.options import OPTIONS
from tlstunnel.program.values import Number, shown, socketInFolder, text
from tlstunnel.tunnel.limits import Limits

#: Where programs look for it.
SOCKET = UNIXAddress("/run/tlstunnel/pool.sock")

#: Everybody may connect: what a program gets there depends on who it is.
ACCESS_MODE = 0o666

#: What is wrong with several processes for a pool service, and what to do about it.
ONE_PROCESS = (
    "are several, and a pool service is for one: it counts what each user has",
    "leave it out, or run the pool service by itself, as 'tlstunnel pool serve' does",
)


def localSocket(value: object) -> UNIXAddress | InheritedAddress:
    """
    Where programs of this host connect.
    """
    words = text(value)
    if words.startswith(("/", "unix:", "systemd")):
        address = parseListening(words)
        if isinstance(address, UNIXAddress | InheritedAddress):
            return address
    raise ValueError(
        f"{shown(value)} is no UNIX socket; give a path that begins with /, unix:PATH, or "
        "systemd:NAME"
    )


def _socket(name: str, help: str, more: str, default: UNIXAddress | None) -> Option:
    return Option(
        name,
        Section.POOL_SERVICE,
        help,
        more,
        argument="PATH",
        parse=localSocket,
        default=default,
        scope=Scope.POOL_SERVICE,
        place=socketInFolder,
    )


_SOCKETS = (
    _socket(
        "socket",
        "where programs connect; systemd:NAME for a socket that systemd hands us",
        "It carries messages (SOCK_SEQPACKET), as ListenSequentialPacket= in a unit has it.",
        SOCKET,
    ),
    _socket(
        "v2-socket",
        "where those connect that were written for the TLS Pool, with its protocol V2; likewise",
        "It carries streams (SOCK_STREAM), as ListenStream= has it.",
        None,
    ),
)

_PER_USER = Option(
    "max-per-user",
    Section.POOL_SERVICE,
    "connections of one user at the same time; 0: no limit",
    argument="NUMBER",
    parse=Number(int, "connections", mayBeZero=True),
    default=PoolDescription.perUser,
    scope=Scope.POOL_SERVICE,
)

_MODE = "By default 0666: who may be whom is for the pool to say."

# The settings of a tunnel that mean the same here, in the order of the table.
_SHARED = (
    "socket-mode",
    "socket-owner",
    "socket-group",
    "pool",
    "greeting-timeout",
    "negotiation-timeout",
    "handshake-timeout",
    "close-timeout",
    "close-total",
    "idle-timeout",
    "max-lifetime",
    "keepalive",
    "max-connections",
    "max-unverified",
)

# What is said of them in another way.
_OTHERWISE: dict[str, dict[str, Any]] = {
    "socket-mode": {"help": "permissions of these sockets, such as 0660", "more": _MODE},
    "negotiation-timeout": {"more": "It begins when the connection is handed over."},
}


def _shared(name: str) -> Option:
    (option,) = (each for each in OPTIONS if each.name == name)
    return replace(
        option,
        section=Section.POOL_SERVICE,
        scope=Scope.POOL_SERVICE,
        short="",
        mode=None,
        **_OTHERWISE.get(name, {}),
    )


#: What only a pool service has.
POOL_SERVICE_OPTIONS = (*_SOCKETS, _PER_USER)

#: Of the table C{pool-service}.
POOL_SERVICE_KEYS = (
    *_SOCKETS,
    *map(_shared, _SHARED),
    _PER_USER,
    _shared("close-withdrawn"),
    _shared("quiet"),
)


def describePool(values: Mapping[str, Any]) -> PoolDescription:
    """
    The pool service that C{values} make.

    @param values: those of L{POOL_SERVICE_KEYS}, by their names.
    @raise ConfigurationError: they make none.
    """
    first, second = values["socket"], values["v2-socket"]
    if first == second:
        raise ConfigurationError(
            f"`v2-socket` {second}", "is `socket` too", "give each protocol a socket of its own"
        )
    mode = values["socket-mode"]
    limits = {each.limit: values[each.name] for each in POOL_SERVICE_KEYS if each.limit}
    pool = values["pool"]
    return PoolDescription(
        Pool(defaultPool().path if pool is None else Path(pool)),
        (first,),
        () if second is None else (second,),
        SocketAccess(
            ACCESS_MODE if mode is None else mode, values["socket-owner"], values["socket-group"]
        ),
        values["max-per-user"],
        Limits(**limits),
        values["quiet"],
        values["close-withdrawn"],
    )
