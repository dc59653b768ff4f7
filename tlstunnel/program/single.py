"""
A process for one connection, which somebody has made before: C{--local stdio} and C{fd:NUMBER}.

It ends with the connection, and its exit code says how that ended.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from tlstunnel.address import Address, DescriptorAddress, UNIXAddress
from tlstunnel.errors import Reset, Stopped, TunnelError
from tlstunnel.net.kernel import tune
from tlstunnel.net.leg import Leg
from tlstunnel.net.stdio import Connection, connectionAt
from tlstunnel.program import signals
from tlstunnel.program.lookups import HostNames
from tlstunnel.program.risks import ofKeyLog
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.hints.choosing import hintFor
from tlstunnel.tunnel.observers import Observer
from tlstunnel.tunnel.record import Record
from tlstunnel.tunnel.transcript import NegotiationLog

_STOPPED = "stopped by a signal"


def descriptorOf(tunnel: Tunnel) -> DescriptorAddress | None:
    """
    The connection that C{tunnel} is for, if it is for one.
    """
    first = tunnel.local[0]
    return first if isinstance(first, DescriptorAddress) else None


class Single(Observer):
    """
    Serves that connection.

    @ivar complaint: why it ended, if that was not a clean end.
    """

    _log = Logger()

    def __init__(self, tunnel: Tunnel, reactor: Any, isVerbose: bool) -> None:
        """
        @param isVerbose: whether to log the connection, and what is said in clear before TLS.
        @raise ConfigurationError: something that is needed is missing or wrong.
        """
        address = descriptorOf(tunnel)
        assert address is not None
        self.complaint = ""
        self._isOver = self._isStopped = False
        self._reactor = reactor
        logs = [ConnectionLog(), NegotiationLog()] if isVerbose else []
        self._factory = ProxyFactory(HostNames().named(tunnel), reactor, [self, *logs])
        self._factory.idle = self._end
        self._connection: Connection = connectionAt(address)

    def run(self) -> str:
        """
        Serve it to its end, or to that of the process.

        @return: why it ended, if that was not a clean end; else nothing.
        """
        self._reactor.callWhenRunning(self._begin)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        self._reactor.run()
        if self._isStopped:
            # Who reads standard output may not do so for a long time.
            return self.complaint or _STOPPED
        signals.surrender()
        lost = self._connection.finish()
        return self.complaint or lost

    def _begin(self) -> None:
        for notice in ofKeyLog(self._factory.tunnel):
            self._log.warn("{notice}", event="notice", notice=notice)
        signals.take(lambda: self._reactor.callFromThread(self._signalled), lambda: None)
        factory, sock, peer = self._factory, self._connection.sock, self._connection.peer
        if sock.family != socket.AF_UNIX:
            tune(sock, factory.tunnel.limits.keepAlive)
        if peer == UNIXAddress("stdio"):
            # Our own: the end of a stream that was cut is told by the exit code.
            factory.serve(Leg(self._reactor, factory.linger, sock, peer))
        else:
            factory.accepted(sock, peer)
        if not factory.isBusy:
            self._end()
        self._connection.begin(partial(self._reactor.callFromThread, self._broken))

    def _stop(self) -> Deferred[None] | None:
        if self._isOver:
            return None
        self.complaint = _STOPPED
        if not self._factory.isBusy:
            return None
        stopped = self._factory.stop()
        self._cut(Stopped())
        return stopped

    def _broken(self, why: str) -> None:
        """
        There is more to be read, and it cannot be.
        """
        self._cut(Reset(why))

    def _cut(self, error: TunnelError) -> None:
        """
        End the connection in such a way that nobody takes what was said for all of it.
        """
        for pair in tuple(self._factory.pairs):
            if pair.relay is None:
                pair.end(error)
            else:
                pair.relay.abort(error)

    def refused(self, peer: Address, reason: str) -> None:
        """
        See L{IObserver.refused}.
        """
        self._isOver = True
        self.complaint = f"{peer} was refused for where it comes from ({reason})"

    def ended(self, record: Record) -> None:
        """
        See L{IObserver.ended}.
        """
        self._isOver = True
        if record.error is not None:
            hint = hintFor(record)
            self.complaint = str(record.error) + (f"; hint: {hint}" if hint else "")

    def _end(self) -> None:
        """
        There is nothing more to be done, but for what is still to be heard by the peer.
        """
        if len(self._factory.linger) or len(self._factory.unixLegs.hold):
            self._factory.deadlines.after(0.01, self._end)
            return
        self._quit()

    def _signalled(self) -> None:
        self._isStopped = True
        self._quit()

    def _quit(self) -> None:
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            # It stops already, and waits for connections: the second time, not even that.
            for pair in tuple(self._factory.pairs):
                pair.end(Stopped())
