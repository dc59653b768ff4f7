"""
Connections to two ports of one protocol that somebody on the way can splice together (Opossum):
where a tunnel has TLS in one way, and the same protocol is listened for here in the other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from tlstunnel.address import Address, TCPAddress
from tlstunnel.identity.names import Identity
from tlstunnel.tunnel.description import Tunnel

#: For each port with TLS from the first byte the ports of the same protocol with STARTTLS, as the
#: dialects have them.  That of postgresql is the same, and that of http is beside port 80 nearly
#: everywhere, where hardly anybody upgrades.
STARTTLS = {
    465: (25, 587),
    563: (119, 433),
    636: (389,),
    990: (21,),
    992: (23,),
    993: (143,),
    995: (110,),
    5223: (5222,),
    5270: (5269,),
    6697: (6667,),
}

_OPOSSUM = (
    "where a port with TLS from the first byte and one with STARTTLS have the same certificate, "
    "somebody on the way can splice connections to the two together (Opossum); serve only one of "
    "them, or with two certificates"
)

# Where Linux lists sockets, also if only processes are to be seen in /proc (systemd.exec(5),
# ProcSubset=), and what it calls the state of those that listen.
_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_LISTENING = "0A"


def splicedHere(tunnel: Tunnel, local: Sequence[Address], listened: Set[int]) -> Iterator[str]:
    """
    What is risky because of others who listen on this host, a sentence for each.

    @param local: where the tunnel listens.
    @param listened: the ports at which somebody does.
    """
    for port in _splicePorts(tunnel, local, listened):
        yield f"port {port} of this host is listened at too: {_OPOSSUM}"


def splicedIn(tunnel: Tunnel, others: Iterable[Tunnel]) -> Iterator[str]:
    """
    What is risky because of other tunnels in the same file, a sentence for each.
    """
    local = [each for each in tunnel.local if isinstance(each, TCPAddress) and not each.isLocal]
    if not tunnel.mode.acceptsTLS or tunnel.dialect.name == "none" or not local:
        return
    for other in others:
        shared = [each for each in _shown(tunnel) if each in _shown(other)]
        if (other.mode.acceptsTLS, other.dialect.name) == (True, "none") and shared:
            for port in _splicePorts(tunnel, local, farPorts(other)):
                yield f"{other.name} serves port {port} as {shared[0]} too: {_OPOSSUM}"


def _shown(tunnel: Tunnel) -> dict[Identity, None]:
    """
    Who we may be there.
    """
    return dict.fromkeys((*tunnel.localIDs, *(each.identity for each in tunnel.names)))


def farPorts(tunnel: Tunnel) -> set[int]:
    """
    The ports of a tunnel that others than this host can reach.
    """
    return {each.port for each in tunnel.local if isinstance(each, TCPAddress) and not each.isLocal}


def _splicePorts(tunnel: Tunnel, local: Sequence[Address], listened: Set[int]) -> list[int]:
    """
    Those of C{listened} where the same protocol has the other way to TLS.
    """
    return sorted(otherWays(tunnel, local) & listened)


def otherWays(tunnel: Tunnel, local: Sequence[Address]) -> set[int]:
    """
    The ports where the same protocol has the other way to TLS.
    """
    ours = {each.port for each in local if isinstance(each, TCPAddress)}
    implicit = tunnel.dialect.implicitPort
    if tunnel.dialect.name == "none":
        others = {port for each in ours for port in STARTTLS.get(each, ())}
    else:
        others = set() if implicit is None else {implicit}
    # The backend itself has no TLS.
    return others - ours - {each.port for each in tunnel.remotes if isinstance(each, TCPAddress)}


def listeningPorts() -> set[int]:
    """
    The TCP ports at which somebody on this host listens for others; none, where it is not Linux.
    """
    ports = set()
    for table in _TABLES:
        try:
            with table.open() as rows:
                next(rows, "")
                for row in rows:
                    _, local, _, state = row.split()[:4]
                    if state != _LISTENING:
                        # Those that listen are listed first (proc_net_tcp.rst of Linux), and of
                        # the others there may be tens of thousands.
                        break
                    address, _, port = local.partition(":")
                    if not _isLoopback(address):
                        ports.add(int(port, 16))
        except OSError:
            continue
    return ports


@lru_cache(maxsize=128)
def _isLoopback(text: str) -> bool:
    """
    Whether C{text} is a loopback address, as the kernel prints it: words in its order of bytes.
    """
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    address = ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
