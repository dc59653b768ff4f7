"""
What is risky in a tunnel because of what stands beside it: said at start-up, and nothing more
(rule 18).
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Set

from tlstunnel.address import Address, ExecAddress, Remote, SRVAddress, TCPAddress, UNIXAddress
from tlstunnel.net.edges import AVAILABLE
from tlstunnel.net.networks import Networks, parseNetwork
from tlstunnel.program.exposure import ofPool
from tlstunnel.program.splicing import listeningPorts, otherWays, splicedHere
from tlstunnel.tunnel.bridge import keysOf, ofSide
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.ends import marksEnd
from tlstunnel.tunnel.servedname import ServedName

# All addresses of IPv4, and all others.
_EVERYBODY = tuple(Networks.of([parseNetwork(each)]) for each in ("0.0.0.0/0", "::/0"))


def risks(tunnel: Tunnel, local: Sequence[Address]) -> Iterator[str]:
    """
    What an administrator should know of C{tunnel}, a sentence each.

    @param local: where it listens, as it came out: what was handed down to us has addresses, too.
    """
    yield from ofKeyLog(tunnel)
    yield from ofPool(tunnel)
    yield from ofDialect(tunnel)
    # The list of a host with many connections is long.
    matters = tunnel.mode.acceptsTLS and otherWays(tunnel, local)
    yield from ofAddresses(tunnel, local, listeningPorts() if matters else frozenset())


def ofKeyLog(tunnel: Tunnel) -> Iterator[str]:
    """
    The same of the file for the secrets of its TLS.
    """
    if tunnel.keyLog is not None:
        yield (
            f"the keys of all connections are written to {tunnel.keyLog}: whoever has that file, "
            "and has recorded the connections, reads everything in them, passwords too; leave out "
            "`key-log` as soon as the fault is found, and destroy the file"
        )


def ofDialect(tunnel: Tunnel) -> Iterator[str]:
    """
    The same of the way in which it upgrades to TLS.
    """
    yield from _openBackends(tunnel)
    yield from _openPrograms(tunnel)
    if any(map(tunnel.proxyFrom.covers, _EVERYBODY)):
        yield (
            "`proxy-from` names everybody, so that whoever connects says where he comes from; name "
            "only those that forward connections"
        )
    dialect = tunnel.dialect
    if tunnel.negotiatesOnly:
        yield (
            "nothing is verified here: that is for the programs at both ends, which speak TLS with "
            "each other"
        )
    yield from dict.fromkeys(notice for side in tunnel.sides for notice in side.dialect.notices)
    if tunnel.mode.acceptsTLS and dialect.demands:
        yield f"{dialect.demands}: {dialect.options[dialect.demands]}"
    yield from _openLogins(tunnel)
    yield from _openRelays(tunnel)
    yield from _lentByBridge(tunnel)


def _lentByBridge(tunnel: Tunnel) -> Iterator[str]:
    """
    The same of a bridge that shows a server who we are, whoever has come.
    """
    ours = "" if tunnel.onward is None else _shownBy(tunnel.onward)
    if ours and tunnel.isOpen:
        yield (
            f"any client may connect, and the server takes each for {ours}; say with "
            "client-id who may come"
        )


def _shownBy(tunnel: Tunnel) -> str:
    """
    Who a client tunnel is to servers; empty for nobody.
    """
    if tunnel.byRules:
        return "whom the rules of the pool show"
    return str(tunnel.localID or "")


def _openLogins(tunnel: Tunnel) -> Iterator[str]:
    """
    The same of options with which nobody has to log in.
    """
    if not tunnel.mode.acceptsTLS:
        return
    names = _openNames(tunnel)
    for option, what in tunnel.dialect.grants.items():
        if option in tunnel.options:
            for each in names[:1] if tunnel.isOpen else names:
                yield ofSide(
                    f"with `dialect-option` {option} {_whoAsks(each)} can {what}, and needs no "
                    "certificate; say with `remote-id` who may come",
                    keysOf(tunnel.mode),
                )


def _openRelays(tunnel: Tunnel) -> Iterator[str]:
    """
    The same of a server that trusts its own host, from which everybody comes by the tunnel.
    """
    if tunnel.disclosure.proxyOut or tunnel.disclosure.words:
        # It is told where they come from.
        return
    for each in _openNames(tunnel):
        for remote in each.allRemotes or tunnel.remote:
            if not (isinstance(remote, TCPAddress) and remote.isLocal):
                continue
            if what := tunnel.dialect.favours.get(remote.port):
                yield ofSide(
                    f"{_whoAsks(each)} can perhaps {what}: servers at port {remote.port} often "
                    f"trust their own host, and from there the tunnel connects to {remote}; see "
                    "that the server trusts no address, or say with `remote-id` who may come",
                    keysOf(tunnel.mode),
                )


def _openBackends(tunnel: Tunnel) -> Iterator[str]:
    """
    The same of names that demand a certificate, and whose backend other names reach without.
    """
    closed: dict[Remote, str] = {}
    opened: dict[Remote, str] = {}
    every = [ServedName(""), *tunnel.names] if tunnel.names else ()
    for each in every:
        isOpen = each.anybody or (each.remoteID is None and tunnel.isOpen)
        for _, remote in (*each.remotes, (b"", each.remote)):
            for address in remote or each.remote or tunnel.remote:
                (opened if isOpen else closed).setdefault(address, each.name)
    for address in closed.keys() & opened.keys():
        who, whom = opened[address], closed[address]
        yield (
            f"{whom or 'the tunnel'} demands a certificate, and {who or 'who asks for other names'}"
            f" reaches the same backend, {address}, without one; give {whom or 'it'} a remote "
            "address of its own"
        )


def _openPrograms(tunnel: Tunnel) -> Iterator[str]:
    """
    The same of programs that anybody can start.
    """
    for each in _openNames(tunnel):
        for remote in each.allRemotes or tunnel.remote:
            if isinstance(remote, ExecAddress):
                yield (
                    f"{_whoAsks(each)} can start {remote}, without a certificate; unless it is "
                    "meant for all the world, say with `remote-id` who may come"
                )


def _openNames(tunnel: Tunnel) -> list[ServedName]:
    """
    The names under which no certificate is demanded; an empty one stands for all others.
    """
    return [
        each
        for each in (ServedName(""), *tunnel.names)
        if each.anybody or (each.remoteID is None and tunnel.isOpen)
    ]


def _whoAsks(name: ServedName) -> str:
    return f"whoever asks for {name.name}" if name.name else "any client"


def ofAddresses(tunnel: Tunnel, local: Sequence[Address], listened: Set[int]) -> Iterator[str]:
    """
    The same of its addresses.

    @param listened: the ports of this host at which somebody listens for others.
    """
    yield from _unmarkedEnds(tunnel, local)
    if not tunnel.mode.acceptsTLS:
        yield from _lent(tunnel, local)
        return
    yield from splicedHere(tunnel, local, listened)


def _unmarkedEnds(tunnel: Tunnel, local: Sequence[Address]) -> Iterator[str]:
    """
    What is risky because a UNIX socket knows no reset, where it has none of Linux's either.
    """
    if AVAILABLE or tunnel.mode is Mode.BRIDGE or marksEnd(tunnel, local):
        return
    plain: Sequence[Address | Remote] = local if tunnel.mode is Mode.CLIENT else tunnel.remotes
    for address in plain:
        if isinstance(address, UNIXAddress):
            yield (
                f"at {address} a connection that somebody cuts on the network looks like one that "
                "ended, as UNIX sockets of this system cannot tell; where the protocol does not "
                "say itself where its data ends, use a loopback address instead"
            )


def _lent(tunnel: Tunnel, local: Sequence[Address]) -> Iterator[str]:
    """
    What is risky where others than this host can be the app.
    """
    for address in local:
        if not address.isLocal:
            ours = _shownBy(tunnel)
            lent = f", and the server takes them for {ours}" if ours else ""
            yield (
                f"other hosts can connect to {address}: what they say there is in clear{lent}; "
                "listen at a loopback address or a UNIX socket, unless a firewall keeps them away"
            )


async def farBackends(
    tunnel: Tunnel, lookUp: Callable[[TCPAddress | SRVAddress], Awaitable[Iterable[str]]]
) -> list[str]:
    """
    The same of backends on other hosts, or of the proxy that leads to them.

    @param lookUp: gives the addresses that a name means at the moment.  One that means none is not
        judged.
    """
    if tunnel.mode.connectsTLS:
        return []
    found = []
    what = "backend" if tunnel.via is None else "proxy"
    # What is behind a proxy is the proxy's to look up.
    addresses: Sequence[Remote] = tunnel.remotes if tunnel.via is None else (tunnel.via.address,)
    for address in addresses:
        if isinstance(address, TCPAddress | SRVAddress) and not address.isLocal:
            hosts = [address.host] if address.isLiteral else await lookUp(address)
            if not all(map(isOurs, hosts)):
                found.append(
                    f"the {what} at {address} is not on this host: everything goes there in clear, "
                    "and whoever is on the way can read and change it"
                )
    return found


def isOurs(host: str) -> bool:
    """
    Whether a literal address is one of this host: only those can be bound to.
    """
    try:
        ((family, kind, _, _, target),) = socket.getaddrinfo(
            host, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
        with socket.socket(family, kind) as probe:
            probe.bind(target)
    except OSError:
        return False
    return True
