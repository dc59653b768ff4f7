"""
What the status is about: the tunnels of a process, and its pool service, as whoever runs them shows
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from cryptography import x509

from tlstunnel.identity.crl import RevocationList
from tlstunnel.identity.lease import Lease
from tlstunnel.identity.names import Identity
from tlstunnel.net.remotes import Backend
from tlstunnel.poolservice.description import PoolDescription
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.prepared import Prepared

if TYPE_CHECKING:
    from tlstunnel.poolservice.service import PoolService

#: What a tunnel can be, the best first.  It accepts connections; as many are there as the limits
#: allow; it accepts no more, and lets those there are come to their end; it does not listen yet.
UP, FULL, DRAINING, DOWN = STATES = ("up", "full", "draining", "down")

#: What stands where a tunnel has its mode.
POOL = "pool"


class ServedTunnel(Protocol):
    """
    A tunnel that is served here; L{tlstunnel.program.service.TunnelService} is one.
    """

    @property
    def described(self) -> Tunnel:
        """
        The tunnel as new connections are served.
        """

    @property
    def factory(self) -> ProxyFactory | None:
        """
        What serves its connections, if there is anything yet.
        """

    @property
    def addresses(self) -> list[str]:
        """
        Where it listens; empty if it does not.
        """

    @property
    def running(self) -> bool | int:
        """
        Whether it was started, and not stopped.
        """


#: What is served here: a tunnel, or the pool service.
Served: TypeAlias = "ServedTunnel | PoolService"


class Source(Protocol):
    """
    Knows what a process serves.
    """

    def served(self) -> Iterable[Served]:
        """
        What is served now, in the order of the file; behind that what was removed and still has
        connections.
        """

    def dropped(self) -> int:
        """
        Lines of the log for which there was no room.
        """


@dataclass(frozen=True)
class Shown:
    """
    What is shown of one that is served, besides what is counted of it.

    @ivar remote: where it connects to; nothing, if that is for programs to say.
    @ivar expected: who must be at the other end; empty if that is for others to say.
    @ivar certificates: those of our identities.
    @ivar withdrawn: those of our identities that have none, as they are withdrawn.
    @ivar leases: those of them that an agent gave.
    """

    name: str
    state: str
    mode: str
    dialect: str
    local: Sequence[str]
    remote: Sequence[str] = ()
    expected: str = ""
    certificates: Mapping[Identity, x509.Certificate] = field(default_factory=dict)
    revocations: Sequence[RevocationList] = ()
    backends: Sequence[Backend] = ()
    withdrawn: Sequence[Identity] = ()
    leases: Mapping[Identity, Lease] = field(default_factory=dict)


def shown(served: Served) -> Shown:
    """
    What is shown of C{served}.
    """
    if isinstance(served.described, PoolDescription):
        return _poolService(served)
    return _tunnel(served)


def _tunnel(served: ServedTunnel) -> Shown:
    tunnel, factory = served.described, served.factory
    prepared = None if factory is None else factory.prepared
    isBusy = factory is not None and factory.isBusy
    isFull = factory is not None and factory.admission.isFull
    return Shown(
        tunnel.name,
        _state(served, isBusy, isFull),
        tunnel.mode.value,
        tunnel.protocol,
        served.addresses or list(map(str, tunnel.local)),
        list(map(str, tunnel.remote)),
        "" if prepared is None else prepared.whom,
        {} if prepared is None else prepared.certificates,
        () if prepared is None else _newest(prepared),
        () if factory is None else factory.backends,
        () if prepared is None else prepared.withdrawn,
        {} if prepared is None else {each.identity: each for each in prepared.leases},
    )


def _newest(prepared: Prepared) -> Sequence[RevocationList]:
    sides = (prepared,) if prepared.onward is None else (prepared, prepared.onward)
    # Both sides of a bridge may have the same lists.
    newest = {issuer: each for s in sides for issuer, each in s.revocations.newest().items()}
    return list(newest.values())


def _poolService(served: PoolService) -> Shown:
    handOvers = served.handOvers
    isFull = handOvers is not None and handOvers.admission.isFull
    local = [str(each) for claim in served.described.claims for each in claim.addresses]
    return Shown(
        served.described.name,
        _state(served, served.connections > 0, isFull),
        POOL,
        "",
        served.addresses or local,
        expected="whom each program names",
        certificates=served.inventory.certificates,
        withdrawn=served.inventory.withdrawn,
    )


def _state(served: Served, isBusy: bool, isFull: bool) -> str:
    """
    What C{served} is, one of L{STATES}.
    """
    if not served.running:
        return DRAINING if isBusy else DOWN
    if not served.addresses:
        return DOWN
    return FULL if isFull else UP
