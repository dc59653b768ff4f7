"""
Connections that say first on whose behalf they come.

Some are made by others, as load balancers, for whoever is behind them.  These begin with a header
of the PROXY protocol, and only then is known who it is that may come in, or may not.  Until then
such a connection counts among those of strangers.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Protocol

from tlstunnel.address import Address, UNIXAddress
from tlstunnel.errors import LimitReached, Stopped, TimedOut, TunnelError
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.leg import Leg
from tlstunnel.net.networks import Networks, numberOf
from tlstunnel.net.proxyheader import NO_HEADER, Header
from tlstunnel.net.proxyreading import HeaderReader
from tlstunnel.tunnel.admission import Admission
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.record import Record

#: Seconds that the header may take: who sends it, sends it at once.
HEADER_SECONDS = 10.0

#: What the log calls who sends it.
SENDER = "the sender of the header"


@dataclass(frozen=True)
class Senders:
    """
    Whose connections begin with a header.
    """

    networks: Networks
    isUNIX: bool

    @classmethod
    def of(cls, tunnel: Tunnel) -> Senders | None:
        """
        Those of a tunnel; C{None} if there are none.
        """
        if not (tunnel.proxyFrom or tunnel.proxyFromUNIX):
            return None
        return cls(tunnel.proxyFrom, tunnel.proxyFromUNIX)

    def __contains__(self, peer: Address) -> bool:
        """
        Whether C{peer}, who has connected, is one of them.
        """
        if isinstance(peer, UNIXAddress):
            return self.isUNIX
        return numberOf(peer.host) in self.networks


class Receives(Protocol):
    """
    What receptions need of whoever accepts connections.
    """

    reactor: Any
    deadlines: Deadlines
    admission: Admission

    def leg(self, sock: socket.socket, peer: Address, below: Any = None) -> Leg:
        """
        The leg of a connection that was accepted.
        """

    def letsIn(self, peer: Address) -> bool:
        """
        Whether C{peer} may come in, for where it is.
        """

    def record(self, peer: Address) -> Record:
        """
        A blank record.
        """

    def begin(self, leg: Leg, record: Record) -> None:
        """
        Serve what was let in.
        """

    def tellIdle(self) -> None:
        """
        One has gone.
        """


class Receptions:
    """
    Those of one tunnel.
    """

    def __init__(self, factory: Receives) -> None:
        self._factory = factory
        self._waiting: set[_Reception] = set()

    def __len__(self) -> int:
        """
        How many wait for their headers.
        """
        return len(self._waiting)

    def receive(self, sock: socket.socket, sender: Address, below: Any = None) -> None:
        """
        Wait for the header of a connection, if there is room for one more.

        @param sender: who has connected.
        @param below: see L{tlstunnel.net.leg.Leg}.
        """
        factory = self._factory
        if not factory.admission.enter():
            self._turnAway(
                factory.leg(sock, sender, below),
                LimitReached("as many connections as the limits allow"),
            )
            return
        reception = _Reception(sock, sender, below, factory.reactor.seconds())
        reader = reception.reader = HeaderReader(
            factory.reactor, sock, lambda result: self._received(reception, result)
        )
        late = TimedOut(
            f"the header of the PROXY protocol took longer than {HEADER_SECONDS:g} s",
            cause=NO_HEADER,
        )
        reception.due = factory.deadlines.after(HEADER_SECONDS, lambda: reader.end(late))
        self._waiting.add(reception)
        reader.start()

    def dismiss(self) -> None:
        """
        Wait no longer.
        """
        for each in tuple(self._waiting):
            each.reader.end(Stopped())

    def _received(self, reception: _Reception, result: Header | TunnelError) -> None:
        """
        It is known on whose behalf a connection comes, which counts from now on; or there was no
        way to learn it.
        """
        factory = self._factory
        self._waiting.discard(reception)
        reception.due.cancel()
        record = None
        try:
            leg = factory.leg(reception.sock, reception.sender, reception.below)
            if isinstance(result, TunnelError):
                self._turnAway(leg, result, reception.began)
            else:
                leg.peer = result.source or leg.peer
                if factory.letsIn(leg.peer):
                    record = factory.record(leg.peer)
                    record.began = reception.began
                    record.cameBy(reception.sender, result)
                else:
                    leg.abortConnection()
        finally:
            if record is None:
                factory.admission.verify()
                factory.admission.leave()
                factory.tellIdle()
        if record is not None:
            factory.begin(leg, record)

    def _turnAway(self, leg: Leg, error: TunnelError, began: float | None = None) -> None:
        """
        Close a connection of which nobody knows on whose behalf it comes.

        @param began: when it was accepted, if that is a while ago.
        """
        leg.abortConnection()
        record = self._factory.record(leg.peer)
        record.began = record.began if began is None else began
        record.end(error.by(SENDER))


class _Reception:
    """
    One connection, until its header is there.
    """

    __slots__ = ("began", "below", "due", "reader", "sender", "sock")

    due: Deadline
    reader: HeaderReader

    def __init__(self, sock: socket.socket, sender: Address, below: Any, began: float) -> None:
        self.began = began
        self.sock = sock
        self.sender = sender
        self.below = below
