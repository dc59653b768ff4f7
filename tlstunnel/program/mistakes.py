"""
What in a tunnel is probably a mistake, as its ports are those of other ways to TLS, or of other
protocols: said at start-up, with the option that is likely to be meant; and what there is besides
of this kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tlstunnel.address import Listening, Remote, SRVAddress, TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Kind
from tlstunnel.net.remotes import FIRST
from tlstunnel.program.sourcemistakes import ofSources
from tlstunnel.protocols.registry import IMPLICIT_PORTS, STARTTLS_PORTS
from tlstunnel.tunnel.bridge import OF_ACCEPTED, OF_CONNECTED, errorOf
from tlstunnel.tunnel.description import Mode, Tunnel

# All addresses of this host; the first two have those of IPv4 among them.
_ALL = ("", "::", "0.0.0.0")


def mistakes(tunnel: Tunnel) -> Iterator[ConfigurationError]:
    """
    What an administrator should look at once more in C{tunnel}, which can be served all the same.
    """
    if tunnel.onward is None:
        yield from _ofPorts(tunnel)
    else:
        yield from (errorOf(each, OF_ACCEPTED) for each in _ofPorts(tunnel))
        yield from (errorOf(each, OF_CONNECTED) for each in _ofPorts(tunnel.onward))
    for each in tunnel.remotes:
        if any(_reaches(each, local) for local in tunnel.local):
            meant = "server" if tunnel.mode.connectsTLS else "backend"
            yield ConfigurationError(
                "`remote`", f"{each} is this tunnel itself", f"give the address of the {meant}"
            )
    yield from _several(tunnel)
    for other in tunnel.otherIDs:
        if other.kind is not Kind.DOMAIN or other.address is not None:
            yield ConfigurationError(
                "`local-id`",
                f"{other} is never shown, as clients cannot ask for it (SNI), and it is not "
                "the first",
                "leave it out, or put it first",
            )
    for port in [] if tunnel.mode.connectsTLS else filter(_isImplicit, _portsOf(tunnel.remotes)):
        yield ConfigurationError(
            "`remote`",
            f"servers at port {port} usually want TLS from the first byte, and the backend is "
            "spoken to in clear",
            f"is port {_inClear(port)} meant?",
        )
    yield from ofSources(tunnel)


def _ofPorts(tunnel: Tunnel) -> Iterator[ConfigurationError]:
    """
    The same of what others do at the ports of the network.
    """
    isClient = tunnel.mode is Mode.CLIENT
    key, who = ("remote", "servers") if isClient else ("local", "clients")
    for port in _portsOf(tunnel.remote if isClient else tunnel.local):
        habit, remedy = _adviceFor(tunnel, port)
        if habit:
            yield ConfigurationError(f"`{key}`", f"{who} at port {port} usually {habit}", remedy)


def _several(tunnel: Tunnel) -> Iterator[ConfigurationError]:
    """
    What is probably a mistake in how there are several remotes.
    """
    ofNames = (
        each
        for name in tunnel.names
        for each in (name.remote, *(remote for _, remote in name.remotes))
    )
    lists = [tunnel.remote, *filter(None, ofNames)]
    for counts in map(Counter, lists):
        for each in counts:
            if counts[each] > 1:
                yield ConfigurationError(
                    "`remote`",
                    f"has {each} {counts[each]} times, and it counts once",
                    "give each place once",
                )
    (first,) = set(tunnel.remote) if len(lists) == len(set(tunnel.remote)) == 1 else (None,)
    if tunnel.balance != FIRST and first is not None and first.isLiteral:
        yield ConfigurationError(
            f"`balance` {tunnel.balance}",
            f"chooses among several remotes, and {first} is the only one",
            "leave it out, or give the others",
        )


def _reaches(remote: Remote, local: Listening) -> bool:
    """
    Whether who connects to C{remote} comes to C{local}.
    """
    if not (isinstance(remote, TCPAddress) and isinstance(local, TCPAddress)):
        return remote == local
    if remote.port != local.port:
        return False
    if remote.domain == "localhost":
        return local.isLocal or local.host in _ALL
    is4 = ":" not in remote.host
    return remote.host == local.host or (
        remote.isLocal and local.host in _ALL and (is4 or local.host != "0.0.0.0")
    )


def _portsOf(addresses: Iterable[Listening | Remote]) -> list[int]:
    places = [each for each in addresses if isinstance(each, TCPAddress | SRVAddress)]
    return sorted({each.port for each in places if each.port})


def _adviceFor(tunnel: Tunnel, port: int) -> tuple[str, str]:
    """
    What the others do at C{port} of the network, and the option for it; nothing, where C{tunnel}
    does so.
    """
    dialect = tunnel.dialect
    name = STARTTLS_PORTS.get(port)
    if dialect.name == "none":
        if name is None or (tunnel.alpn and port in IMPLICIT_PORTS):
            return "", ""
        return f"begin to speak {name} in clear", f"`starttls` {name} is missing"
    if port == dialect.implicitPort or _isImplicit(port):
        if port in dialect.ports:
            return "", ""
        upgrade = "`chat`" if dialect.name == "chat" else "`starttls`"
        return "use TLS from the first byte", f"leave out {upgrade}"
    if name is None or port in dialect.ports or dialect.name == "chat":
        return "", ""
    return f"speak {name}", f"use `starttls` {name}"


def _isImplicit(port: int) -> bool:
    return port in IMPLICIT_PORTS and port not in STARTTLS_PORTS


def _inClear(port: int) -> str:
    """
    Where the protocol of a port for TLS from the first byte is spoken in clear.
    """
    whose = IMPLICIT_PORTS[port]
    return " or ".join(str(each) for each, name in STARTTLS_PORTS.items() if name == whose)
