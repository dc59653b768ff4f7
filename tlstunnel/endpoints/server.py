"""
Listening for TLS, and for what leads up to it: the server endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from tlstunnel.endpoints.connections import Connections
from tlstunnel.endpoints.transport import Transport
from tlstunnel.errors import ConfigurationError, TunnelError
from tlstunnel.interfaces import ILeg, IObserver
from tlstunnel.net.destination import IDestination, ISearch
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import Record


@implementer(ISearch)
class Meeting:
    """
    The way of one connection to a protocol of this process: there is one, and nothing to search.
    """

    isOver = True

    def __init__(self, connections: ServerConnections, record: Record, network: ILeg) -> None:
        self._connections = connections
        self._record = record
        self._network = network

    async def dial(self) -> ILeg:
        """
        See L{IDialler.dial}.
        """
        return self._connections.meet(self._record, self._network)

    def failed(self, error: TunnelError, isItsFault: bool = True) -> bool:
        """
        See L{ISearch.failed}.
        """
        return False

    def served(self) -> None:
        """
        See L{ISearch.served}.
        """

    def end(self, isHurried: bool = False) -> None:
        """
        See L{ISearch.end}.
        """


@implementer(IDestination)
class ServerConnections(Connections):
    """
    Those of a server endpoint; it is the destination of all of them.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        reactor: Any,
        protocols: IProtocolFactory,
        observers: Sequence[IObserver] | None = None,
    ) -> None:
        """
        @param protocols: makes the protocol of each connection.
        """
        self._protocols = protocols
        super().__init__(tunnel, reactor, observers)

    def use(self, prepared: Prepared, observers: Sequence[IObserver] | None = None) -> None:
        """
        See L{ProxyFactory.use}: all connections go to our own protocols.
        """
        super().use(prepared, observers)
        self.dialler, self.diallers = self, {(): self}

    def startFactory(self) -> None:
        """
        Somebody listens.
        """
        self._protocols.doStart()

    def stopFactory(self) -> None:
        """
        Nobody does any more.
        """
        self._protocols.doStop()

    def adopt(self, transport: Any) -> None:
        """
        See L{ProxyFactory.adopt}.
        """
        self.refresh()
        super().adopt(transport)

    def search(self, record: Record, accepted: ILeg) -> Meeting:
        """
        See L{IDestination.search}.
        """
        return Meeting(self, record, accepted)

    def meet(self, record: Record, network: ILeg) -> ILeg:
        """
        Let there be a protocol.

        @return: the leg that leads to it.
        """

        def begin() -> IProtocol | None:
            return self._protocols.buildProtocol(transport.getPeer())

        transport = Transport(self.reactor, begin)
        transport.speaksOn(network, record.locate(network))
        self.has(record, transport)
        transport.open()
        return transport.leg


@implementer(IStreamServerEndpoint)
class TunnelServerEndpoint:
    """
    Accepts as a server tunnel does, and gives protocols what a backend of that tunnel would have.

    @ivar inner: where.
    @ivar tunnel: who we are, and who may come.
    @ivar connections: those of each call of C{listen}.
    """

    def __init__(
        self,
        reactor: Any,
        inner: IStreamServerEndpoint,
        tunnel: Tunnel,
        observers: Sequence[IObserver] | None = None,
    ) -> None:
        """
        @param inner: listens for connections: an endpoint of plain TCP or UNIX sockets.
        @param tunnel: who we are, and who may come: in server mode, and with nothing in C{local}
            and C{remote}.
        @param observers: told of every connection; by default one that logs its end, unless the
            tunnel is quiet.
        """
        if tunnel.mode is not Mode.SERVER or tunnel.remote or tunnel.names:
            raise ValueError(
                "a server endpoint takes a tunnel in server mode that leads nowhere else"
            )
        self._reactor = reactor
        self.inner = inner
        self.tunnel = tunnel
        self._observers = observers
        self.connections: list[ServerConnections] = []

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Listen with C{protocolFactory}: its protocols have clients that have spoken TLS, and have
        proved who they are where that is asked for.

        @return: fires with the port of the inner endpoint; fails with a L{ConfigurationError}
            where keys or trust are missing.
        """
        try:
            connections = ServerConnections(
                self.tunnel, self._reactor, protocolFactory, self._observers
            )
        except ConfigurationError as problem:
            return fail(problem)

        def listens(port: IListeningPort) -> IListeningPort:
            self.connections.append(connections)
            return port

        listening: Deferred[IListeningPort] = self.inner.listen(connections)
        return listening.addCallback(listens)

    def renew(self) -> None:
        """
        Read keys, certificates and trust again, now: new connections are made with them.

        @raise ConfigurationError: something is missing or wrong; all is as before.
        """
        for each in self.connections:
            each.renew(each.tunnel)

    def stop(self) -> Deferred[None]:
        """
        End all connections, once nobody listens any more.

        @return: fires when none is left, and nothing of them in the reactor.
        """
        return gatherResults([each.stop() for each in self.connections]).addCallback(lambda _: None)
