"""
The pool as a service: listening for programs, and stopping in order.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.logger import Logger

from tlstunnel.address import Address
from tlstunnel.errors import ConfigurationError
from tlstunnel.interfaces import IObserver
from tlstunnel.local.quotas import Quotas
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.listen import Bound, bindAll
from tlstunnel.net.port import ListeningPort
from tlstunnel.poolservice.description import NAME, PoolDescription
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.handovers import HandOvers
from tlstunnel.poolservice.inventory import Inventory
from tlstunnel.poolservice.native import NativePrograms
from tlstunnel.poolservice.v2port import V2Port
from tlstunnel.tunnel.accepting import AcceptingService
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.transcript import NegotiationLog

#: Seconds between looks at how long certificates will still be good.
DAY_SECONDS = 86400.0


class Door(Protocol):
    """
    Where programs come in that speak the same protocol with us.
    """

    def accepted(self, sock: socket.socket, peer: Address) -> None:
        """
        One has connected.

        @param sock: non-blocking; the door's from now on.
        """

    def close(self) -> None:
        """
        Close all that are connected.
        """


#: Who lets programs in at a socket, by what that carries; and what the log calls them.
DOORS: Mapping[int, tuple[str, Callable[[HandOvers, Quotas], Door]]] = {
    socket.SOCK_SEQPACKET: ("programs", NativePrograms),
    socket.SOCK_STREAM: ("programs of the TLS Pool", V2Port),
}


class PoolService(AcceptingService[PoolDescription, Inventory]):
    """
    Listens for programs.

    @ivar handOvers: the connections that they have handed over, once it is ready.
    """

    _log = Logger()

    def __init__(
        self,
        description: PoolDescription,
        reactor: Any,
        isVerbose: bool = False,
        observers: Sequence[IObserver] = (),
        doors: Mapping[int, tuple[str, Callable[[HandOvers, Quotas], Door]]] = DOORS,
    ) -> None:
        """
        @param isVerbose: whether to log also what is said in clear before TLS.
        @param observers: who else is told of every connection.
        @param doors: see L{DOORS}.
        """
        super().__init__(reactor)
        self._quotas = Quotas(description.perUser)
        self._kinds = doors
        self._doors: dict[int, Door] = {}
        self._description = description
        self._isVerbose = isVerbose
        self._observers = tuple(observers)
        self.handOvers: HandOvers | None = None
        self.inventory = Inventory(description)
        self._daily: Deadline | None = None

    def privilegedStartService(self) -> None:
        """
        Look at the pool and bind while we may.

        @raise ConfigurationError: if either fails; nothing stays bound.
        """
        if self._ports:
            return
        prepared = self.prepare(self.described)
        bound: list[Bound] = []
        try:
            for claim in self.described.claims:
                bound += bindAll(claim)
        except ConfigurationError:
            for each in bound:
                each.close()
            self.abandon()
            raise
        self.use(prepared, bound, self._observers)

    def prepare(self, description: PoolDescription) -> Inventory:
        """
        Get ready to serve by C{description}, which may be ours in another form.

        @return: for L{use}.
        @raise ConfigurationError: something that it needs is missing or wrong; nothing has changed.
        """
        inventory = Inventory(description)
        for _ in inventory.steps():
            pass
        self.ready(inventory)
        return inventory

    def ready(self, prepared: Inventory) -> None:
        """
        See L{AcceptingService.ready}.
        """
        if self.handOvers is None:
            deadlines = Deadlines(self._reactor)
            handOvers = HandOvers(prepared.description, self._reactor, (), deadlines)
            self.handOvers = handOvers
            self._doors = {
                kind: make(handOvers, self._quotas) for kind, (_, make) in self._kinds.items()
            }
        else:
            self.handOvers.ready(prepared.description)

    def abandon(self) -> None:
        """
        See L{AcceptingService.abandon}.
        """
        handOvers, self.handOvers = self.handOvers, None
        if handOvers is not None:
            handOvers.unixLegs.closeAll()

    def use(
        self, prepared: Inventory, bound: Sequence[Bound], others: Sequence[IObserver] = ()
    ) -> None:
        """
        See L{AcceptingService.use}.
        """
        self.letGo()
        description = prepared.description
        observers = list(others)
        if not description.quiet:
            observers.append(ConnectionLog())
        if self._isVerbose:
            observers.append(NegotiationLog())
        handOvers = self.handOvers
        assert handOvers is not None
        self.inventory = prepared
        handOvers.use(description, observers)
        self._quotas.perUser = description.perUser
        self._ports = [
            ListeningPort(
                self._reactor,
                handOvers.deadlines,
                each,
                self._doors[each.sock.type].accepted,
                tunnel=NAME,
            )
            for each in bound
        ]
        if self.running:
            self._listen()

    @property
    def described(self) -> PoolDescription:
        """
        See L{AcceptingService.described}.
        """
        return self._description if self.handOvers is None else self.handOvers.description

    @property
    def serving(self) -> HandOvers | None:
        """
        See L{AcceptingService.serving}.
        """
        return self.handOvers

    def moving(self) -> Collection[HandOver]:
        """
        See L{AcceptingService.moving}.
        """
        return () if self.handOvers is None else self.handOvers.open

    def _listen(self) -> None:
        for port in self._ports:
            port.startListening()

    def _opened(self) -> None:
        assert self.handOvers is not None
        self.handOvers.accepts = True
        self._listen()

    def _closed(self) -> None:
        if self.handOvers is not None:
            self.handOvers.accepts = False
        daily, self._daily = self._daily, None
        if daily is not None:
            daily.cancel()

    def _clear(self, result: None) -> None:
        for each in self._doors.values():
            each.close()
        super()._clear(result)

    # What the log says

    def announce(self) -> None:
        """
        See L{AcceptingService.announce}.
        """
        if not self.running:
            return
        for sentence in self.inventory.notices:
            self._notice(sentence)
        self.warn()
        self._lookDaily()
        for port in self._ports:
            self._log.info(
                "pool service up: {local} for {whom}, pool {pool} with {count}",
                event="start",
                log_system=NAME,
                tunnel=NAME,
                mode="pool",
                local=port.name,
                whom=self._kinds[port.bound.sock.type][0],
                pool=str(self.described.pool.path),
                count=_counted(len(self.inventory.certificates)),
            )

    def warn(self, since: datetime | None = None) -> None:
        """
        See L{AcceptingService.warn}.

        @param since: given, what was said then is not repeated.
        """
        if self.running:
            for sentence in self.inventory.warnings(self._today(), since):
                self._notice(sentence)

    def _notice(self, sentence: str) -> None:
        self._log.warn("{notice}", event="notice", tunnel=NAME, log_system=NAME, notice=sentence)

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._reactor.seconds(), UTC)

    def _lookDaily(self) -> None:
        """
        Look once a day how long our certificates will still be good.
        """
        before = self._today()
        if self._daily is not None:
            self._daily.cancel()

        def look() -> None:
            self._lookDaily()
            self.warn(before)

        assert self.handOvers is not None
        self._daily = self.handOvers.deadlines.after(DAY_SECONDS, look)


def _counted(identities: int) -> str:
    return f"{identities} {'identity' if identities == 1 else 'identities'}"
