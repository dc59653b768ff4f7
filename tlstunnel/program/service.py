"""
The service of one tunnel: listening, and stopping in order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import proxy

from twisted.application.service import IService
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel.errors import ConfigurationError
from tlstunnel.interfaces import IObserver
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.listen import Bound, bindAll
from tlstunnel.net.port import ListeningPort
from tlstunnel.net.resolve import Directory
from tlstunnel.program.announcements import Announcements
from tlstunnel.program.renewal import Renewal
from tlstunnel.program.stapling import Stapling
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.accepting import AcceptingService
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.transcript import NegotiationLog


class ITunnelService(IService):
    """
    Serves tunnels, in this process or in others.
    """

    def whenUp() -> Deferred[None]:
        """
        Fires once connections are accepted; for one caller.
        """

    def reload() -> Deferred[str]:
        """
        Read again what is needed, for new connections.

        @return: fires when that is over, with what is wrong, so that nothing has changed; empty if
            nothing is.
        """

    def tally() -> Mapping[str, int]:
        """
        How many there are: of each C{tunnel}, C{connection} and C{worker}, as far as it knows.
        """

    def hurry() -> None:
        """
        Close all connections now.
        """


@implementer(ITunnelService)
class TunnelService(AcceptingService[Tunnel, Prepared]):
    """
    Listens for a tunnel.

    @ivar factory: what serves its connections, from C{privilegedStartService} on.
    """

    _log = Logger()

    def __init__(
        self,
        tunnel: Tunnel,
        reactor: Any,
        isVerbose: bool = False,
        observers: Sequence[IObserver] = (),
        directory: Directory | None = None,
    ) -> None:
        """
        @param isVerbose: whether to log also what is said in clear before TLS.
        @param observers: who else is told of every connection.
        @param directory: knows what names mean, for other tunnels as well.
        """
        super().__init__(reactor)
        self._directory = directory
        self._observers = tuple(observers)
        self._described = tunnel
        self._isVerbose = isVerbose
        self.factory: ProxyFactory | None = None
        self._announcements: Announcements | None = None
        self._stapling = Stapling(reactor)
        # Nobody waits for the garbage collector to let go of us.
        me = proxy(self)

        def use(prepared: Prepared) -> None:
            me._renewed(prepared)

        self._renewal = Renewal(reactor, use)

    def privilegedStartService(self) -> None:
        """
        Read keys and bind while we may.

        Names of hosts in C{local} are looked up by the resolver of the system, which may take its
        time: where a reactor runs already, give addresses.

        @raise ConfigurationError: if either fails; nothing stays bound.
        """
        if not self._ports:
            prepared = self.prepare(self.tunnel)
            try:
                bound = bindAll(self.tunnel.claim)
            except ConfigurationError:
                self.abandon()
                raise
            self.use(prepared, bound, self._observers)

    def prepare(self, tunnel: Tunnel) -> Prepared:
        """
        Get ready to serve C{tunnel}, which may be ours with another description.

        @return: for L{use}.
        @raise ConfigurationError: something that it needs is missing or wrong; nothing has changed.
        """
        prepared = Prepared(tunnel)
        self.ready(prepared)
        return prepared

    def ready(self, prepared: Prepared) -> None:
        """
        See L{AcceptingService.ready}.
        """
        if self.factory is None:
            self.factory = ProxyFactory(
                prepared, self._reactor, (), Deadlines(self._reactor), self._directory
            )
        else:
            self.factory.open(prepared)

    def heed(self) -> Iterator[None]:
        """
        See L{AcceptingService.heed}.
        """
        factory = self.factory
        if factory is not None:
            yield from factory.heeding.heed(factory.prepared, factory.deadlines)

    def abandon(self) -> None:
        """
        See L{AcceptingService.abandon}.
        """
        factory, self.factory = self.factory, None
        if factory is not None:
            factory.unixLegs.closeAll()

    def letGo(self) -> None:
        """
        See L{AcceptingService.letGo}.
        """
        super().letGo()
        if self.factory is not None:
            # Where there is room again for one more connection, they may be another tunnel's.
            self.factory.ports = []

    def use(
        self, prepared: Prepared, bound: Sequence[Bound], others: Sequence[IObserver] = ()
    ) -> None:
        """
        See L{AcceptingService.use}.
        """
        self.letGo()
        tunnel = prepared.tunnel
        observers = list(others)
        if not tunnel.quiet:
            observers.append(ConnectionLog())
        if self._isVerbose:
            observers.append(NegotiationLog())
        assert self.factory is not None
        factory = self.factory
        factory.use(prepared, observers)
        self._stapling.use(prepared.staples, tunnel.name)
        self._renewal.follow(prepared)
        self._ports = factory.ports = [
            ListeningPort(
                self._reactor,
                factory.deadlines,
                each,
                factory.accepted,
                tunnel.limits.keepAlive,
                tunnel.name,
            )
            for each in bound
        ]
        if self.running:
            factory.listen()

    def _renewed(self, prepared: Prepared) -> None:
        """
        An agent gave other certificates.
        """
        assert self.factory is not None
        self.factory.use(prepared)
        self._stapling.use(prepared.staples, self.tunnel.name)

    @property
    def tunnel(self) -> Tunnel:
        """
        The tunnel as new connections are served.
        """
        return self._described if self.factory is None else self.factory.tunnel

    @property
    def described(self) -> Tunnel:
        """
        The same.
        """
        return self.tunnel

    @property
    def serving(self) -> ProxyFactory | None:
        """
        See L{AcceptingService.serving}.
        """
        return self.factory

    def moving(self) -> Collection[Pair]:
        """
        See L{AcceptingService.moving}.
        """
        return () if self.factory is None else self.factory.pairs

    def dismiss(self) -> None:
        """
        See L{AcceptingService.dismiss}.
        """
        if self.factory is not None:
            self.factory.receptions.dismiss()

    def _opened(self) -> None:
        assert self.factory is not None
        self.factory.listen()
        self._stapling.start()
        self._renewal.start()
        if self._announcements is None:
            self._announcements = Announcements(self.factory)

    def _closed(self) -> None:
        self._stapling.stop()
        self._renewal.stop()
        announcements, self._announcements = self._announcements, None
        if announcements is not None:
            announcements.stop()
        if self.factory is not None:
            self.factory.ports = []

    def announce(self) -> None:
        """
        See L{AcceptingService.announce}.
        """
        if self.running and self._announcements is not None:
            self._announcements.announce(self._ports)

    def warn(self) -> None:
        """
        See L{AcceptingService.warn}.
        """
        if self.running and self._announcements is not None:
            self._announcements.warn()

    def tally(self) -> Mapping[str, int]:
        """
        See L{ITunnelService.tally}.
        """
        return {"tunnel": 1, "connection": self.connections}

    def reload(self) -> Deferred[str]:
        """
        Read identities and trust again, for new connections; if that fails the old ones stay.

        @return: has fired, with what is wrong; empty if nothing is.
        """
        if self.factory is None:
            return succeed("")
        for _ in self.heed():
            pass
        try:
            self.factory.renew(replace(self.tunnel, dialect=self.tunnel.dialect.renewed()))
        except ConfigurationError as error:
            self._log.error(
                "not reloaded, the old state stays: {detail}",
                event="reload",
                tunnel=self.tunnel.name or None,
                detail=str(error),
            )
            return succeed(str(error))
        name = self.tunnel.name or None
        self._stapling.use(self.factory.prepared.staples, self.tunnel.name)
        self._renewal.follow(self.factory.prepared)
        self._log.info("reloaded identities and trust", event="reload", tunnel=name)
        if self._announcements is not None:
            self._announcements.notice(self._ports)
        return succeed("")
