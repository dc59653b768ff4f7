"""
The frozen description of a pool service: what the administrator said, checked.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from tlstunnel.address import InheritedAddress, UNIXAddress
from tlstunnel.identity.pool import Pool
from tlstunnel.net.access import SocketAccess
from tlstunnel.net.claim import Claim
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.record import POOL_SERVICE

#: What the log, the metrics and the status call the service, as they call a tunnel by its name.
NAME = POOL_SERVICE


@dataclass(frozen=True)
class PoolDescription:
    """
    A pool service.

    @ivar pool: where identities, trust, and the rules about both are kept.
    @ivar local: where programs connect that speak our own protocol.
    @ivar v2: where those connect that were written for the TLS Pool.
    @ivar access: who may connect to either, where we make the sockets.
    @ivar perUser: connections that each user may have at the same time; 0 for no limit.
    @ivar limits: what connections may take that were handed over.
    @ivar quiet: log no line for each of them.
    @ivar closesWithdrawn: end those that were made with a certificate that is withdrawn.
    """

    pool: Pool
    local: tuple[UNIXAddress | InheritedAddress, ...] = ()
    v2: tuple[UNIXAddress | InheritedAddress, ...] = ()
    access: SocketAccess = field(default_factory=SocketAccess)
    perUser: int = 100
    limits: Limits = field(default_factory=Limits)
    quiet: bool = False
    closesWithdrawn: bool = False

    @property
    def name(self) -> str:
        """
        What it is called.
        """
        return NAME

    @property
    def claims(self) -> tuple[Claim, ...]:
        """
        What is to be listened at: which protocol is spoken is known by what the sockets carry.
        """
        return (
            Claim(self.local, self.access, socket.SOCK_SEQPACKET, True, "socket", NAME),
            Claim(self.v2, self.access, socket.SOCK_STREAM, True, "v2-socket", NAME),
        )
