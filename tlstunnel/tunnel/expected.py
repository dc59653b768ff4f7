"""
Whom a tunnel expects at the other end, also where nobody says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlstunnel.address import Remote, SRVAddress, TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.tunnel.access import whoMayCome
from tlstunnel.tunnel.description import Mode, Tunnel


def expectedBy(tunnel: Tunnel) -> Identity | Selector | AccessList | None:
    """
    Who must be at the other end.

    @return: L{None} if that may be anybody, or the app will say it.
    @raise ConfigurationError: a file with a list of them cannot be read, or a line of it is broken.
    """
    expected = whoMayCome(tunnel)
    learns = tunnel.dialect.learnsPeer and not tunnel.negotiatesOnly
    if tunnel.mode is not Mode.CLIENT or expected is not None or learns:
        return expected
    # Whoever has the first of the keys stands for all whom no name is asked of.
    anyKey = tunnel.pins[0] if tunnel.believesPins else None
    return anyKey or identityOfRemote(tunnel.remote)


def identityOfRemote(remote: Sequence[Remote]) -> Identity | None:
    """
    Who must be at the other end where nobody says it: the host that is connected to, or the domain
    whose service it is, and never what its DNS says (RFC 6186, section 6; RFC 6125, section 6.2).
    """
    for address in remote:
        if isinstance(address, TCPAddress | SRVAddress) and not address.isLiteral:
            return Identity(None, address.domain)
    return None


def hostOfRemote(remote: Sequence[Remote]) -> str | None:
    """
    The name by which a server knows itself of which another is expected than that of a host: the
    one host, if all addresses are names, and the same.
    """
    hosts = {
        each.domain if isinstance(each, TCPAddress | SRVAddress) and not each.isLiteral else ""
        for each in remote
    }
    return min(hosts) or None if len(hosts) == 1 else None


def checkRemoteID(tunnel: Tunnel) -> None:
    """
    A client tunnel must know whom to expect, unless its dialect learns that from the app.

    @raise ConfigurationError: if it does not, or its remote addresses have several names.
    """
    if tunnel.negotiatesOnly:
        if tunnel.dialect.learnsPeer and identityOfRemote(tunnel.remote) is tunnel.remoteID is None:
            raise ConfigurationError(
                "`remote-id`", "is missing: the server is asked for a domain", "name that"
            )
        return
    if tunnel.remoteID is not None or tunnel.dialect.learnsPeer or tunnel.believesPins:
        return
    proves = "that has the key" if tunnel.sharesKeys else "in the server's certificate"
    hosts = set()
    for each in tunnel.remote:
        if not isinstance(each, TCPAddress | SRVAddress) or each.isLiteral:
            raise ConfigurationError(
                "`remote-id`",
                f"is missing, and {each} does not name the server",
                f"add `remote-id` with the name {proves}",
            )
        hosts.add(each.domain)
    if len(hosts) > 1:
        raise ConfigurationError(
            "`remote-id`",
            f"is missing, and `remote` has several names ({', '.join(sorted(hosts))})",
            "add `remote-id` with the one name that all of them prove",
        )


def checkIdentities(tunnel: Tunnel) -> None:
    """
    A tunnel must know whom it expects, or whom it stands for.

    @raise ConfigurationError: if it does not.
    """
    if tunnel.mode is Mode.CLIENT:
        checkRemoteID(tunnel)
    elif tunnel.localID is None and not tunnel.sharesKeys:
        raise ConfigurationError("`local-id`", "is missing", "give the name in our certificate")
