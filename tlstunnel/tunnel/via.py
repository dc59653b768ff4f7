"""
What a tunnel must be like that connects through a proxy.
"""

from __future__ import annotations

from tlstunnel.address import ExecAddress, SRVAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.tunnel.description import Tunnel


def checkVia(tunnel: Tunnel) -> None:
    """
    A proxy must be able to reach all remotes, and to know us where it has to.

    @raise ConfigurationError: if it is not.
    """
    via = tunnel.via
    if via is None:
        if tunnel.viaAuthFile is not None:
            raise ConfigurationError(
                "`via-auth-file`",
                "is for a proxy, and there is none",
                "give `via`, or leave it out",
            )
        return
    if via.user and tunnel.viaAuthFile is None:
        raise ConfigurationError(
            f"`via` {via}",
            "has a user, and there is no password",
            "give `via-auth-file` with a line user:password",
        )
    for each in tunnel.remotes:
        if isinstance(each, ExecAddress):
            raise ConfigurationError(
                f"`remote` {each}",
                "is a program of this host, which no proxy can reach",
                "leave out `via`",
            )
        if isinstance(each, SRVAddress):
            raise ConfigurationError(
                f"`remote` {each}",
                "is for the DNS of this host to resolve, and names are resolved by the proxy",
                "leave out `via`, or give the hosts in `remote`",
            )
        if isinstance(each, UNIXAddress) or "%" in each.host:
            what = "is a UNIX socket" if isinstance(each, UNIXAddress) else "has a zone"
            raise ConfigurationError(
                f"`remote` {each}",
                f"{what} of this host, which no proxy can reach",
                "leave out `via`, or give an address that the proxy reaches",
            )
