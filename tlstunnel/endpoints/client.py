"""
Connecting to servers that have to prove who they are: the client endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.endpoints.connections import Connections
from tlstunnel.endpoints.transport import Transport
from tlstunnel.errors import (
    Closed,
    LimitReached,
    Stopped,
    TimedOut,
    TunnelError,
)
from tlstunnel.interfaces import IObserver
from tlstunnel.net.deadlines import Deadline
from tlstunnel.protocols.base import ClientRole
from tlstunnel.tunnel.clientpair import ClientPair
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.relay import Relay
from tlstunnel.tunnel.upgrade import Upgrade


class Connecting:
    """
    One call of C{connect}: from there to the end of its connection.

    @ivar connected: fires with the protocol once the server is verified, and may be spoken to.
    @ivar transport: what the protocol has.
    @ivar due: when all of that has to be done.
    @ivar pair: what serves it, until it is over.
    @ivar isBegun: whether C{connect} has returned.
    """

    _log = Logger()

    def __init__(self, reactor: Any, factory: IProtocolFactory) -> None:
        self.connected: Deferred[IProtocol] = Deferred(self._cancelled)
        self.transport = Transport(reactor, self._begin, self._met)
        self.due: Deadline | None = None
        self.isBegun = False
        self._reactor = reactor
        self._factory = factory
        self.pair: Pair | None = None
        self._failure: Exception | None = None

    def end(self, why: TunnelError) -> None:
        """
        Wait no longer, and close everything.
        """
        if self.pair is not None:
            self.pair.end(why)

    def over(self, error: TunnelError | None) -> None:
        """
        The connection is closed.
        """
        self.pair = None
        self._cancelDue()
        self.transport.ended(error)
        try:
            self._factory.doStop()
        except Exception:  # noqa: BLE001 - that harms nobody else
            self._log.failure("the factory {factory!r} failed", factory=self._factory)
        why = self._failure or error or Closed("the connection was closed")
        self.fail(self.transport.failed or Failure(why))

    def fail(self, failure: Failure) -> None:
        """
        There will be no connection.
        """
        if self.isBegun:
            self._fail(failure)
        else:
            # Whoever tries again until it succeeds would never let the reactor go on.
            self._reactor.callLater(0, self._fail, failure)

    def _fail(self, failure: Failure) -> None:
        if not self.connected.called:
            self.connected.errback(failure)

    def _begin(self) -> IProtocol | None:
        if self.connected.called:
            # It was cancelled in this very turn.
            return None
        assert self.pair is not None and self.pair.network is not None
        self.transport.speaksOn(self.pair.network)
        protocol = self._factory.buildProtocol(self.transport.getPeer())
        if protocol is None:
            self._failure = NoProtocol()
        return protocol

    def _met(self, protocol: IProtocol) -> None:
        self._cancelDue()
        if not self.connected.called:
            self.connected.callback(protocol)

    def _cancelDue(self) -> None:
        due, self.due = self.due, None
        if due is not None:
            due.cancel()

    def _cancelled(self, connected: Deferred[IProtocol]) -> None:
        self.end(Stopped("nobody waits for it any more"))


class InnerClientPair(ClientPair):
    """
    The story of a connection to a server, for a protocol of this process: it is made once the
    server is verified, and so says nothing before; or where its first words have to be part of the
    negotiation (mysql, nats), when the server has greeted it.
    """

    __slots__ = ()

    factory: ClientConnections

    async def prepare(self, role: ClientRole) -> None:
        """
        The endpoint knows whom the protocol wants.
        """
        if not self.prepared.tunnel.dialect.earlyDial:
            role.prepareAlone()

    async def met(self, role: ClientRole, upgrade: Upgrade) -> None:
        """
        What the protocol has to say first, it says to a server that is verified.
        """
        if type(role).prepare is not ClientRole.prepare:
            self.factory.transports[self.record].open()
            seconds = self.prepared.tunnel.limits.negotiation
            with upgrade.within(seconds, "the first message of the protocol"):
                await role.prepare()

    def joined(self, relay: Relay) -> None:
        """
        See L{Pair.joined}.
        """
        self.factory.transports[self.record].open()


class ClientConnections(Connections):
    """
    Those of a client endpoint.
    """

    def __init__(
        self, tunnel: Tunnel, reactor: Any, observers: Sequence[IObserver] | None = None
    ) -> None:
        self._calls: dict[Transport, Connecting] = {}
        super().__init__(tunnel, reactor, observers)

    def connect(self, factory: IProtocolFactory, seconds: float | None) -> Deferred[IProtocol]:
        """
        Begin with a connection.

        @param seconds: how long it may take, whatever the limits say of its parts.
        """
        self.refresh()
        factory.doStart()
        call = Connecting(self.reactor, factory)
        leg = call.transport.leg
        record = self.record(leg.peer)
        if not self.admission.enter():
            full = LimitReached("as many connections as the limits allow")
            record.end(full)
            factory.doStop()
            call.fail(Failure(full))
            return call.connected
        try:
            pair = call.pair = InnerClientPair(self, leg, record)
        except BaseException:
            # A fault of ours, which takes nobody else's place.
            self._leave(record, TunnelError("see the traceback above"))
            factory.doStop()
            raise
        self._calls[call.transport] = call
        self.has(record, call.transport)
        if seconds is not None:
            late = TimedOut(f"connecting took longer than {seconds:g} s")
            call.due = self.deadlines.after(seconds, lambda: call.end(late))
        self.pairs.add(pair)
        pair.start()
        call.isBegun = True
        return call.connected

    def closed(self, transport: Transport, error: TunnelError | None) -> None:
        """
        See L{Connections.closed}.
        """
        self._calls.pop(transport).over(error)


@implementer(IStreamClientEndpoint)
class TunnelClientEndpoint:
    """
    Connects to a server as a client tunnel does, and gives the protocol what a program at that
    tunnel would have.

    @ivar tunnel: where to, and who must be there.
    @ivar timeout: seconds that C{connect} may take in all, if that is limited.
    @ivar connections: those that were made, once there was one.
    """

    def __init__(
        self,
        reactor: Any,
        tunnel: Tunnel,
        timeout: float | None = None,
        observers: Sequence[IObserver] | None = None,
    ) -> None:
        """
        @param tunnel: where to connect to, and who must be there: in client mode, and with nothing
            in C{local}.
        @param timeout: seconds that C{connect} may take in all; C{None} where the limits of the
            tunnel, which are for each of its steps, are enough.
        @param observers: told of every connection; by default one that logs its end, unless the
            tunnel is quiet.
        """
        if tunnel.mode is not Mode.CLIENT:
            raise ValueError("a client endpoint takes a tunnel in client mode")
        self._reactor = reactor
        self.tunnel = tunnel
        self.timeout = timeout
        self._observers = observers
        self.connections: ClientConnections | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect, negotiate and verify.

        @return: fires with the protocol when the server is who it has to be and may be spoken to;
            fails with a L{TunnelError} where it does not come to that, or with a
            L{ConfigurationError} where keys or trust are missing.  To cancel it closes everything.
        """
        try:
            if self.connections is None:
                self.connections = ClientConnections(self.tunnel, self._reactor, self._observers)
            return self.connections.connect(protocolFactory, self.timeout)
        except Exception:  # noqa: BLE001 - also what the factory raises as it starts
            return fail()

    def stop(self) -> Deferred[None]:
        """
        End all connections that were made.

        @return: fires when none is left, and nothing of them in the reactor.
        """
        connections = self.connections
        return succeed(None) if connections is None else connections.stop()
