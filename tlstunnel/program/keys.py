"""
The keys of a configuration file: those of the table of settings, and the few that only a file has.
"""

from __future__ import annotations

from dataclasses import replace

from tlstunnel.program.addressvalues import address
from tlstunnel.program.option import Option, Scope, Section
from tlstunnel.program.options import OPTIONS
from tlstunnel.program.values import Number, choice, socketInFolder, text

#: How a file says the mode, for which the command line has an option each.
MODE = Option(
    "mode",
    Section.MODE,
    "where the network is: on the accepted side of a server, on the connected side of a client, on "
    "both of a bridge",
    "Every tunnel has one.",
    argument="server|client|bridge",
    parse=choice("server", "client", "bridge"),
    default=None,
)

#: Of one tunnel, and of the table C{defaults}.
TUNNEL_KEYS = (
    MODE,
    *(each for each in OPTIONS if each.scope is Scope.TUNNEL and each.section is not Section.MODE),
)

# Of the table of a name; what it does not say is as the tunnel has it.
_OF_NAMES = ("remote", "remote-id", "client-id", "deny-id", "alpn", "minimum-tls")

# Of these, those that say who clients must be: in a bridge the one, else the other.
_CLIENTS = {"remote-id": False, "client-id": True}

#: Of the table of a name, where nothing given is another thing than an empty list.
NAME_KEYS = tuple(
    each
    if each.default == () and each.name not in _CLIENTS
    else replace(each, default=None, inBridge=_CLIENTS.get(each.name, each.inBridge))
    for each in TUNNEL_KEYS
    if each.name in _OF_NAMES
)

#: Of the table of a protocol of a name.
PROTOCOL_KEYS = tuple(each for each in NAME_KEYS if each.name == "remote")

#: Of the table C{process}.
PROCESS_KEYS = (
    *(each for each in OPTIONS if each.scope in {Scope.PROCESS, Scope.LOG}),
    Option(
        "drain-timeout",
        Section.PROCESSES,
        "for connections to end when a tunnel is removed, or the process is told to stop; 0: no "
        "limit",
        argument="SECONDS",
        parse=Number(float, "seconds", mayBeZero=True),
        default=3600.0,
        scope=Scope.PROCESS,
    ),
    Option(
        "reload-on-change",
        Section.PROCESSES,
        "take up certificates and keys that change on disk by themselves",
        default=True,
        scope=Scope.PROCESS,
    ),
)

#: Of the table C{status}.
STATUS_KEYS = (
    Option(
        "local",
        Section.STATUS,
        "where to tell, by HTTP, how the process and its tunnels are; without it nowhere",
        "Repeatable.",
        argument="ADDR",
        parse=address,
        default=(),
        isRepeatable=True,
        scope=Scope.STATUS,
        place=socketInFolder,
    ),
    Option(
        "public",
        Section.STATUS,
        "let that be an address that other hosts can reach; whoever does so sees the peers of all "
        "connections",
        scope=Scope.STATUS,
    ),
)

#: Of no table: they stand at the beginning of a file.
INCLUDE = Option(
    "include",
    Section.FILE,
    "files with further tunnels, as patterns such as conf.d/*.toml",
    "Repeatable.",
    argument="PATTERN",
    parse=text,
    default=(),
    isRepeatable=True,
    scope=Scope.FILE,
)
