"""
The service of one tunnel: listening, and stopping in order.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel.errors import ConfigurationError, Stopped
from tlstunnel.interfaces import IObserver
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.linger import LINGER_SECONDS
from tlstunnel.net.listen import Bound, bindAll
from tlstunnel.net.port import ListeningPort
from tlstunnel.net.resolve import Directory
from tlstunnel.program.announcements import Announcements
from tlstunnel.program.quiet import closeQuiet
from tlstunnel.program.stapling import Stapling
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Tunnel
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
class TunnelService(Service):
    """
    Listens for a tunnel.

    It leaves alone what there is once in a process, such as signals: any number of them run beside
    each other, and in any Twisted program.

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
        self._directory = directory
        self._observers = tuple(observers)
        self._described = tunnel
        self._isVerbose = isVerbose
        self.factory: ProxyFactory | None = None
        self._reactor = reactor
        self._ports: list[ListeningPort] = []
        # Who waits for the end of all connections.
        self._ending: list[Deferred[None]] = []
        self._announcements: Announcements | None = None
        self._stapling = Stapling(reactor)
        self._up: Deferred[None] = Deferred()

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
                bound = bindAll(self.tunnel.local, self.tunnel.access)
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
        """The same with what has been prepared already."""
        if self.factory is None:
            self.factory = ProxyFactory(
                prepared, self._reactor, (), Deadlines(self._reactor), self._directory
            )
        else:
            self.factory.open(prepared)

    def abandon(self) -> None:
        """Let go of what was prepared, where nothing has been used."""
        factory, self.factory = self.factory, None
        if factory is not None:
            factory.unixLegs.closeAll()

    def use(
        self, prepared: Prepared, bound: Sequence[Bound], others: Sequence[IObserver] = ()
    ) -> None:
        """
        Serve new connections with what has been prepared from now on; those that there are go on as
        they began.  This cannot fail.

        @param bound: where they come from: at the sockets that we had and that are not among these,
            nothing is accepted any more, but they stay open.
        @param others: who else is told of new connections.
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

    def acceptLast(self, kept: Container[Bound]) -> None:
        """
        Accept what waits at those of our sockets that are not among C{kept}: it has connected while
        we listened there.
        """
        for port in self._ports:
            if port.bound not in kept:
                port.acceptWaiting()

    def letGo(self) -> None:
        """
        Accept nothing more until there is something to use again; the sockets stay open.
        """
        for port in self._ports:
            port.letGo()
        self._ports = []

    @property
    def tunnel(self) -> Tunnel:
        """
        The tunnel as new connections are served.
        """
        return self._described if self.factory is None else self.factory.tunnel

    @property
    def connections(self) -> int:
        """
        How many there are.
        """
        return 0 if self.factory is None else len(self.factory.pairs)

    @property
    def addresses(self) -> list[str]:
        """
        Where it listens, as it came out: with the port that the system chose for port 0.
        """
        return [port.name for port in self._ports]

    def startService(self) -> None:
        """
        Accept connections from now on.
        """
        self.privilegedStartService()
        self.accept()
        self._reactor.callWhenRunning(self._begun)

    def accept(self) -> None:
        """
        The same, with what it was given to use, and without a word about it.
        """
        super().startService()
        assert self.factory is not None
        self.factory.idle = None
        self.factory.listen()
        self._stapling.start()
        if self._announcements is None:
            self._announcements = Announcements(self.factory)

    def _begun(self) -> None:
        if self.running and not self._up.called:
            self._up.callback(None)
        self.announce()

    def announce(self) -> None:
        """
        Say that all is up, and what should be said of it.
        """
        if self.running and self._announcements is not None:
            self._announcements.announce(self._ports)

    def warn(self) -> None:
        """
        Say what should be said of our certificate and of the anchors.
        """
        if self.running and self._announcements is not None:
            self._announcements.warn()

    def stopService(self) -> Deferred[None]:
        """
        Accept no more, and let connections end; those that do not move are closed.

        @return: fires when all are.
        """
        for port in self._ports:
            port.stopListening()
        stopped = self._stopAccepting()
        if self.factory is not None and self.factory.isBusy:
            closeQuiet(self.factory, self._reactor)
        return stopped.addCallback(self._clear)

    def drain(self, seconds: float) -> Deferred[None]:
        """
        Accept no more, and let connections go on, also those that do not move; the sockets that
        listened stay open.

        @param seconds: how long they may take; 0 for no limit.
        @return: fires when all have ended.
        """
        self.letGo()
        return Deferred.fromCoroutine(self._drained(self._stopAccepting(), seconds))

    async def _drained(self, ended: Deferred[None], seconds: float) -> None:
        factory = self.factory
        if factory is None:
            return
        due = factory.deadlines.after(seconds, self.hurry) if seconds else None
        await ended
        # What is closed has to be heard, too.
        while (due is None or due.isPending) and (
            len(factory.linger) or len(factory.unixLegs.hold)
        ):
            heard: Deferred[None] = Deferred()
            factory.deadlines.after(LINGER_SECONDS, partial(heard.callback, None))
            await heard
        self._clear(None)

    def _stopAccepting(self) -> Deferred[None]:
        """
        Be at the end of it.

        @return: fires when there are no connections any more.
        """
        super().stopService()
        self._stapling.stop()
        self._ports = []
        announcements, self._announcements = self._announcements, None
        if announcements is not None:
            announcements.stop()
        ended: Deferred[None] = Deferred()
        factory = self.factory
        if factory is None:
            ended.callback(None)
            return ended
        factory.ports = []
        self._ending.append(ended)
        factory.idle = self._ended
        if not factory.isBusy:
            self._ended()
        return ended

    def _ended(self) -> None:
        ending, self._ending = self._ending, []
        for each in ending:
            each.callback(None)

    def _clear(self, result: None) -> None:
        factory = self.factory
        if factory is not None:
            factory.idle = None
            factory.deadlines.clear()
            factory.linger.closeAll()
            factory.unixLegs.closeAll()

    def hurry(self) -> None:
        """
        Close all connections now.
        """
        for pair in tuple(self.factory.pairs) if self.factory is not None else ():
            pair.end(Stopped())
        if self.factory is not None:
            self.factory.receptions.dismiss()

    def whenUp(self) -> Deferred[None]:
        """
        See L{ITunnelService.whenUp}.
        """
        return self._up

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
        self._log.info("reloaded identities and trust", event="reload", tunnel=name)
        if self._announcements is not None:
            self._announcements.notice(self._ports)
        return succeed("")
