"""
The service of one tunnel: listening, and stopping in order.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError, Stopped, asLongOption
from tlstunnel.interfaces import IObserver
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.listen import ListeningPort, bindAll
from tlstunnel.net.resolve import resolve
from tlstunnel.program.mistakes import mistakes
from tlstunnel.program.problems import asKey
from tlstunnel.program.risks import farBackends, risks
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.relay import SLOW_READER_SECONDS
from tlstunnel.tunnel.transcript import NegotiationLog

#: Seconds between looks at the connections that are left while stopping: who did not move in that
#: time is closed, unless its peer has bytes to take.
QUIET_SECONDS = 2.0

DAY_SECONDS = 86400.0


class ITunnelService(IService):
    """
    Serves a tunnel, in this process or in others.
    """

    def reload() -> None:
        """
        Read again what the tunnel needs, for new connections; if that fails nothing changes.
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

    def __init__(self, tunnel: Tunnel, reactor: Any, isVerbose: bool = False) -> None:
        """
        @param isVerbose: whether to log also what is said in clear before TLS.
        """
        self._described = tunnel
        self._isVerbose = isVerbose
        self.factory: ProxyFactory | None = None
        self._reactor = reactor
        self._ports: list[ListeningPort] = []

    def privilegedStartService(self) -> None:
        """
        Read keys and bind while we may.

        Names of hosts in C{local} are looked up by the resolver of the system, which may take its
        time: where a reactor runs already, give addresses.

        @raise ConfigurationError: if either fails; nothing stays bound.
        """
        if self._ports:
            return
        deadlines = Deadlines(self._reactor)
        observers: list[IObserver] = [] if self.tunnel.quiet else [ConnectionLog()]
        if self._isVerbose:
            observers.append(NegotiationLog())
        factory = ProxyFactory(self.tunnel, self._reactor, observers, deadlines)
        try:
            found = bindAll(self.tunnel.local, self.tunnel.access)
        except ConfigurationError:
            factory.unixLegs.closeAll()
            raise
        self._ports = factory.ports = [
            ListeningPort(
                self._reactor, deadlines, bound, factory.accepted, self.tunnel.limits.keepAlive
            )
            for bound in found
        ]
        self.factory = factory

    @property
    def tunnel(self) -> Tunnel:
        """
        The tunnel as new connections are served.
        """
        return self._described if self.factory is None else self.factory.tunnel

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
        super().startService()
        for port in self._ports:
            port.startListening()
        self._reactor.callWhenRunning(self._announce)

    def _announce(self) -> None:
        """
        Say that all is up.
        """
        if not self.running:
            return
        tunnel = self.tunnel
        assert self.factory is not None
        prepared = self.factory.prepared
        self._noticeAll()
        self._noticeLater()
        for port in self._ports:
            self._log.info(
                "{mode} tunnel up: {local} to {remote}, {how}, as {who}, {whom}",
                event="start",
                tunnel=tunnel.name or None,
                mode=tunnel.mode.value,
                local=port.name,
                remote=" or ".join(map(str, tunnel.remote)),
                how="implicit TLS" if tunnel.dialect.name == "none" else tunnel.dialect.name,
                dialect=tunnel.dialect.name,
                who=tunnel.localID or "nobody",
                local_id=str(tunnel.localID) if tunnel.localID else None,
                whom=self._whom(),
                expected=str(prepared.expected) if prepared.expected else None,
                anchors=prepared.anchors or None,
            )

    def _notice(self, sentence: str) -> None:
        name = self.tunnel.name or None
        self._log.warn("{notice}", event="notice", tunnel=name, notice=sentence)

    def _noticeAll(self) -> None:
        assert self.factory is not None
        now = self._today()
        warnings = self.factory.prepared.warnings(now)
        # Of sockets that were handed down only now the ports are known.
        local = tuple(port.address for port in self._ports)
        tunnel = replace(self.tunnel, local=local)
        probably = [
            each.inWords(asKey if tunnel.name else asLongOption) for each in mistakes(tunnel)
        ]
        for notice in (*probably, *risks(self.tunnel, local), *warnings):
            self._notice(notice)
        Deferred.fromCoroutine(self._noticeFarBackends()).addErrback(
            lambda failure: self._log.failure("looking up the backends failed", failure)
        )

    async def _noticeFarBackends(self) -> None:
        for notice in await farBackends(self.tunnel, self._lookUp):
            if self.running:
                self._notice(notice)

    async def _lookUp(self, address: TCPAddress) -> list[str]:
        assert self.factory is not None
        found = await resolve(
            self._reactor,
            self.factory.deadlines,
            address.host,
            address.port,
            self.tunnel.limits.connect,
        )
        return [each.host for each in found]

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._reactor.seconds(), UTC)

    def _noticeLater(self) -> None:
        """
        Look once a day how long our certificate will still be good.
        """
        assert self.factory is not None
        before = self._today()

        def look() -> None:
            assert self.factory is not None
            for notice in self.factory.prepared.warnings(self._today(), before):
                self._notice(notice)
            self._noticeLater()

        self.factory.deadlines.after(DAY_SECONDS, look)

    def _whom(self) -> str:
        assert self.factory is not None
        expected = self.factory.prepared.expected
        if expected is not None:
            return f"expecting {expected} by the anchors of {self.factory.prepared.anchors}"
        return (
            "serving anybody" if self.tunnel.mode is Mode.SERVER else "expecting whom the app names"
        )

    def stopService(self) -> Deferred[None]:
        """
        Accept no more, and let connections end; those that do not move are closed.

        @return: fires when all are.
        """
        super().stopService()
        for port in self._ports:
            port.stopListening()
        self._ports = []
        stopped: Deferred[None] = Deferred()
        factory = self.factory
        if factory is None:
            stopped.callback(None)
            return stopped
        stopped.addCallback(lambda _: self._clear(factory))
        factory.ports = []
        if factory.pairs:
            factory.idle = lambda: stopped.callback(None)
            self._closeQuiet(factory, {})
        else:
            stopped.callback(None)
        return stopped

    def _clear(self, factory: ProxyFactory) -> None:
        factory.deadlines.clear()
        factory.linger.closeAll()
        factory.unixLegs.closeAll()

    def hurry(self) -> None:
        """
        Close all connections now.
        """
        for pair in tuple(self.factory.pairs) if self.factory is not None else ():
            pair.end(Stopped())

    def reload(self) -> None:
        """
        Read identities and trust again, for new connections; if that fails the old ones stay.
        """
        if self.factory is None:
            return
        try:
            self.factory.renew(replace(self.tunnel, dialect=self.tunnel.dialect.renewed()))
        except ConfigurationError as error:
            self._log.error(
                "not reloaded, the old state stays: {detail}",
                event="reload",
                tunnel=self.tunnel.name or None,
                detail=str(error),
            )
        else:
            name = self.tunnel.name or None
            self._log.info("reloaded identities and trust", event="reload", tunnel=name)
            self._noticeAll()

    def _closeQuiet(self, factory: ProxyFactory, before: dict[Pair, tuple[Any, float]]) -> None:
        """
        Close the connections that have not moved for a while, and look again later.

        @param before: how far each was at the last look, and since when.
        """
        now = self._reactor.seconds()
        looked: dict[Pair, tuple[Any, float]] = {}
        for pair in tuple(factory.pairs):
            relay = pair.relay
            progress = pair.moved, relay.measure() if relay is not None else ()
            known, since = before.get(pair, (None, now))
            if known != progress:
                since = now
            # What a slow peer has not taken yet would be lost.
            isDelivering = relay is not None and relay.isDelivering
            if now - since >= (SLOW_READER_SECONDS if isDelivering else QUIET_SECONDS):
                pair.end(Stopped())
            looked[pair] = progress, since
        if factory.pairs:
            factory.deadlines.after(QUIET_SECONDS, lambda: self._closeQuiet(factory, looked))
