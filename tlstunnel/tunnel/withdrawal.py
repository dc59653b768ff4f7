"""
What becomes of connections when identities of ours are withdrawn: those that have not come to TLS
yet do not get there, and the others end, where that is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Protocol

from twisted.logger import Logger

from tlstunnel.errors import ConfigurationError, TunnelError, Withdrawn
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.withdrawal import WithdrawnIdentity, isWithdrawn, withdrawnWarnings
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import HANDSHAKING, Record

_log = Logger()

#: Connections that end in one turn of the reactor.
ENDS_PER_TURN = 50


class Connection(Protocol):
    """
    A connection, as far as it matters here.
    """

    @property
    def ours(self) -> Collection[Identity]:
        """
        Who we are on it.
        """

    def end(self, why: TunnelError) -> None:
        """
        End it, whatever is going on; nothing happens where that is over.
        """


class Begun(Connection, Protocol):
    """
    A connection of a tunnel.

    @ivar prepared: what it was begun with.
    @ivar record: what is known of it.
    """

    prepared: Prepared
    record: Record


def withdraw(pool: Pool, identities: Iterable[Identity], before: Iterable[Prepared]) -> None:
    """
    Let nobody come to TLS with C{identities} any more, which are withdrawn.

    @param before: what connections that there are have begun with.
    """
    several = {each: WithdrawnIdentity(each, pool.directoryOf(each)) for each in identities}
    for each in before if several else ():
        each.withdraw(several)


def heedNow(prepared: Prepared) -> None:
    """
    See who is withdrawn by now, of those few whom a connection is about to be made as.
    """
    pool = prepared.tunnel.pool
    withdraw(pool, [each for each in prepared.certificates if _isGone(pool, each)], [prepared])


class Heeding:
    """
    Sees to it in one tunnel that nobody comes to TLS as somebody who is withdrawn, whether a new
    state can be taken up or not.
    """

    _log = Logger()

    def __init__(self, connections: Callable[[], Iterable[Begun]]) -> None:
        """
        @param connections: gives those that there are.
        """
        self._connections = connections
        self._closing = Closing(connections)

    def use(self, prepared: Prepared, deadlines: Deadlines) -> None:
        """
        New connections are made with C{prepared} from now on.
        """
        tunnel = prepared.tunnel
        if prepared.withdrawn:
            withdraw(tunnel.pool, prepared.withdrawn, self._before())
            self._endHandshakes(prepared.withdrawn, deadlines)
        if tunnel.closesWithdrawn:
            self._closing.look(tunnel.pool, deadlines)

    def heed(self, prepared: Prepared, deadlines: Deadlines) -> Iterator[None]:
        """
        See who is withdrawn by now, an identity a step.

        @param prepared: what new connections are made with.
        """
        for each in {*self._before(), prepared}:
            gone = set()
            leased = {lease.identity for lease in each.leases}
            for identity in each.certificates:
                yield
                if identity not in leased and _isGone(each.tunnel.pool, identity):
                    gone.add(identity)
            withdraw(each.tunnel.pool, gone, [each])
            self._endHandshakes(gone, deadlines)
            if each is prepared:
                self._say(each.tunnel.name, gone)
        if prepared.tunnel.closesWithdrawn:
            self._closing.look(prepared.tunnel.pool, deadlines)

    def _endHandshakes(self, gone: Collection[Identity], deadlines: Deadlines) -> None:
        """
        Who has seen the certificate, or is about to, has not come to TLS yet.
        """
        several = set(gone)
        ending: list[Connection] = [
            each
            for each in (self._connections() if several else ())
            if each.record.stage is HANDSHAKING and not several.isdisjoint(each.ours)
        ]
        _endSome(ending, gone, deadlines)

    def _before(self) -> set[Prepared]:
        return {each.prepared for each in self._connections()}

    def _say(self, tunnel: str, gone: Collection[Identity]) -> None:
        name = tunnel or None
        for each in withdrawnWarnings(gone):
            self._log.warn("{notice}", event="notice", tunnel=name, log_system=name, notice=each)


class Closing:
    """
    Ends the connections of one tunnel, or of the pool service, that were made as somebody who is
    withdrawn.
    """

    def __init__(self, connections: Callable[[], Iterable[Connection]]) -> None:
        """
        @param connections: gives those that there are.
        """
        self._connections = connections

    def look(self, pool: Pool, deadlines: Deadlines) -> None:
        """
        See who is withdrawn, and end what there is of them.
        """
        found = [(each, each.ours) for each in self._connections()]
        known = dict.fromkeys(identity for _, ours in found for identity in ours)
        gone = {each for each in known if _isGone(pool, each)}
        if gone:
            ending = [each for each, ours in found if not gone.isdisjoint(ours)]
            _endSome(ending, gone, deadlines)


def _isGone(pool: Pool, identity: Identity) -> bool:
    with suppress(ConfigurationError):
        return isWithdrawn(pool.directoryOf(identity))
    return False


def _endSome(ending: list[Connection], gone: Collection[Identity], deadlines: Deadlines) -> None:
    now, later = ending[:ENDS_PER_TURN], ending[ENDS_PER_TURN:]
    if later:
        deadlines.after(0, lambda: _endSome(later, gone, deadlines))
    for each in now:
        try:
            whose = ", ".join(sorted({str(ours) for ours in each.ours if ours in gone}))
            each.end(Withdrawn(f"it was made with a certificate that is withdrawn ({whose})"))
        except Exception:  # noqa: BLE001 - the others have to end, too
            _log.failure("a connection of somebody who is withdrawn could not be ended")
