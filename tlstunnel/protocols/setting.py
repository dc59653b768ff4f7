"""
What a role may know of the tunnel that it works for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tlstunnel.identity.names import Identity, Selector


@dataclass(frozen=True)
class Setting:
    """
    What a role may know of the tunnel it works for.

    @ivar ourName: who we are to the network: the domain of -L, else a name of this host.
    @ivar peerName: who the other end is to the app: the domain of -R, else the host of -r.
    @ivar authority: where -r leads, as in a URL: a host, and a port where it is not 80.
    @ivar localID: -L.
    @ivar remoteID: -R, or what stands for it; C{None} where several are given.
    @ivar explicit: whether -R was given.
    @ivar options: what --dialect-option gave.
    @ivar words: what --reveal gave.
    @ivar tunnel: what the log calls the tunnel, if it has a name.
    @ivar user: by number, whose programs it serves, where one process serves those of several.
    @ivar covers: whether our certificate is for a domain; in server mode any may be.
    """

    ourName: bytes = b"tunnel.invalid"
    peerName: bytes = b"server.invalid"
    authority: bytes = b"server.invalid"
    localID: Identity | None = None
    remoteID: Identity | Selector | None = None
    explicit: bool = False
    options: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    tunnel: str = ""
    user: int | None = None
    covers: Callable[[str], bool] = lambda domain: False

    def isOurs(self, domain: str) -> bool:
        """
        Whether C{domain} is one of those that we stand for, and a client may ask for before TLS.
        """
        return (self.localID is not None and self.localID.domain == domain) or self.covers(domain)
