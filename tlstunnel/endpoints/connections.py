"""
What a client and a server endpoint have in common: the connections that they have made.

They are those of a L{ProxyFactory}, whose plain legs lead to protocols of this process.  It does on
its own what the C{tlstunnel} program does for a tunnel: it looks for renewed certificates, it ends
connections when the reactor stops, and it leaves nothing in the reactor once there are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tlstunnel.endpoints.transport import Transport
from tlstunnel.errors import ConfigurationError, Stopped, TunnelError
from tlstunnel.interfaces import IObserver
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.record import Record

#: Seconds after which keys, certificates and trust are read again, at the next connection.
FRESH_SECONDS = 3600.0


def checkDialect(tunnel: Tunnel) -> None:
    """
    See that the dialect can do with one connection.

    @raise ConfigurationError: it cannot.
    """
    if tunnel.dialect.opensChannels:
        raise ConfigurationError(
            f"`starttls` {tunnel.dialect.name}",
            "has data connections beside this one, which an endpoint cannot make",
            "run a tunnel for it",
        )


class Connections(ProxyFactory):
    """
    Those of one endpoint.

    @ivar lastRead: when keys, certificates and trust were read.
    @ivar transports: what their protocols have, by the records of their connections.
    """

    _log = Logger()

    def __init__(
        self, tunnel: Tunnel, reactor: Any, observers: Sequence[IObserver] | None = None
    ) -> None:
        """
        @raise ConfigurationError: what the tunnel needs is missing or wrong.
        """
        checkDialect(tunnel)
        self.transports: dict[Record, Transport] = {}
        self._trigger: Any = None
        self._isStopping = False
        self.lastRead = reactor.seconds()
        super().__init__(tunnel, reactor, observers)

    def refresh(self) -> None:
        """
        Read keys, certificates and trust again, if that was long ago.
        """
        now = self.reactor.seconds()
        if now - self.lastRead < FRESH_SECONDS:
            return
        self.lastRead = now
        try:
            self.renew(self.tunnel)
        except ConfigurationError as problem:
            self._log.error("all is as before, as it cannot be read again: {why}", why=str(problem))

    def has(self, record: Record, transport: Transport) -> None:
        """
        C{transport} leads to the protocol of a connection.
        """
        transport.record = record
        self.transports[record] = transport
        if self._trigger is None and not self._isStopping:
            # Not before: what programs do then, they may want to do over these connections.
            self._trigger = self.reactor.addSystemEventTrigger("during", "shutdown", self._shutdown)

    def _shutdown(self) -> None:
        """
        The reactor is about to stop, with this turn.  Connections that begin in it come to nothing
        with the reactor: whoever begins another one for each that fails would never be done.
        """
        self._trigger = None
        self._isStopping = True
        for pair in tuple(self.pairs):
            pair.endNow(Stopped())

    def verified(self, pair: Pair) -> None:
        """
        See L{ProxyFactory.verified}.
        """
        super().verified(pair)
        transport = self.transports.get(pair.record)
        if transport is not None:
            assert pair.network is not None
            transport.speaksOn(pair.network)

    def ended(self, pair: Pair, error: TunnelError | None) -> None:
        """
        See L{ProxyFactory.ended}.
        """
        transport = self.transports.pop(pair.record, None)
        super().ended(pair, error)
        if transport is not None:
            self.closed(transport, error)
        if not self.isBusy:
            self._rest()

    def closed(self, transport: Transport, error: TunnelError | None) -> None:
        """
        The connection of C{transport} is closed.
        """
        transport.ended(error)

    def _rest(self) -> None:
        """
        There are no connections: there is nothing to wait for.
        """
        self.deadlines.clear()
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self.reactor.removeSystemEventTrigger(trigger)

    def stop(self) -> Deferred[None]:
        """
        See L{ProxyFactory.stop}; nothing of ours is left in the reactor then.
        """
        return super().stop().addCallback(lambda _: self.linger.closeAll())
