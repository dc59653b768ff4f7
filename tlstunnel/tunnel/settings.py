"""
What the roles of a dialect may know of a tunnel: most of all what the two ends are called in clear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tlstunnel.address import TCPAddress
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Kind, Selector
from tlstunnel.protocols.options import checkOptions
from tlstunnel.protocols.setting import Setting
from tlstunnel.tunnel import hostname
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.expected import identityOfRemote

# What a server is called whose name cannot be written in a greeting.
_NOBODY = b"tlstunnel"


def settingOf(
    tunnel: Tunnel,
    expected: Identity | Selector | AccessList | None,
    covers: Callable[[str], bool],
) -> Setting:
    """
    @param expected: who must be at the other end.
    @param covers: whether our certificate is for a domain.
    @raise ConfigurationError: if an option is wrong, which a program has given.
    """
    # Of a bridge, this is the accepted side.
    side = Mode.SERVER if tunnel.mode.acceptsTLS else Mode.CLIENT
    return Setting(
        ourName=_ourName(tunnel),
        peerName=_peerName(tunnel),
        authority=_authority(tunnel),
        localID=tunnel.localID,
        remoteID=None if isinstance(expected, AccessList) else expected,
        explicit=tunnel.remoteID is not None,
        options=checkOptions(sorted(tunnel.options), tunnel.dialect, side.value),
        words=frozenset(tunnel.disclosure.words),
        tunnel=tunnel.name,
        covers=covers,
    )


def _ourName(tunnel: Tunnel) -> bytes:
    """
    What we call ourselves to the network.
    """
    ours = b""
    if tunnel.localID is not None and tunnel.localID.kind is not Kind.WORKLOAD:
        ours = hostname.written(tunnel.localID.domain)
    return ours or hostname.inGreeting(tunnel.hostName)


def _peerName(tunnel: Tunnel) -> bytes:
    """
    What the app is told whom it speaks to.
    """
    remote = tunnel.remoteID or identityOfRemote(tunnel.remote)
    if remote is None or isinstance(remote, AccessList):
        return _NOBODY
    return hostname.written(remote.domain.lstrip(".")) or _NOBODY


def _authority(tunnel: Tunnel) -> bytes:
    """
    What a client of HTTP calls the place that it connects to (RFC 9110, section 7.2).
    """
    for address in tunnel.remote:
        if isinstance(address, TCPAddress):
            # A zone is this host's own business (RFC 6874, section 4).
            host = address.domain.partition("%")[0]
            return str(replace(address, host=host)).removesuffix(":80").encode()
    return _peerName(tunnel)
