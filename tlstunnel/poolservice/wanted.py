"""
What a program wants of the TLS on a connection that it hands over, in whatever protocol it says so.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from tlstunnel.identity.names import Identity, Selector
from tlstunnel.interfaces import IDialect


class Demand(enum.Enum):
    """
    What a server asks of its clients.
    """

    REQUIRE = "require"
    REQUEST = "request"
    IGNORE = "ignore"


@dataclass(frozen=True)
class Wanted:
    """
    One request.

    @ivar isClient: whether the program is the TLS client of the connection.
    @ivar dialect: how both sides come to TLS.
    @ivar remote: who must be at the other end: of a client always; of a server C{None} if that may
        be anybody.
    @ivar local: who we are to be; C{None} for whom the rules of the pool choose (client), or the
        name that is asked for with SNI (server).
    @ivar isNobody: whether we are to show nobody, whatever the rules say (client).
    @ivar demand: whether clients show a certificate (server).
    @ivar alpn: the ids to offer or to select from; C{None} for those of the dialect.
    @ivar minimum: the lowest version of TLS.
    @ivar seconds: what the handshake, and what leads up to it, may take each; C{None} for what the
        service says, and never more than that.
    """

    isClient: bool
    dialect: IDialect
    remote: Identity | Selector | None = None
    local: Identity | None = None
    isNobody: bool = False
    demand: Demand = Demand.IGNORE
    alpn: tuple[bytes, ...] | None = None
    minimum: str = "1.2"
    seconds: float | None = field(default=None, compare=False)
