"""
What happens to a connection, from accepting it to its end.

A L{ProxyFactory} pairs each accepted connection with one to the remote address.  What happens up to
the relay is in L{tlstunnel.tunnel.clientpair}, L{tlstunnel.tunnel.serverpair} and
L{tlstunnel.tunnel.bridgepair}, in order; how bytes move is in the relay.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import proxy

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from tlstunnel.address import Address, SRVAddress, TCPAddress, UNIXAddress
from tlstunnel.errors import LimitReached, Stopped, TunnelError
from tlstunnel.interfaces import IObserver
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.kernel import resetOnClose
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.port import ListeningPort
from tlstunnel.net.remotes import Backend
from tlstunnel.net.resolve import Directory
from tlstunnel.net.stock import REFUSED, Adopted, isPlain, takeOver
from tlstunnel.net.unixleg import UNIXLegs
from tlstunnel.tunnel.admission import Admission
from tlstunnel.tunnel.channels import Channels
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.destinations import Destination, Destinations
from tlstunnel.tunnel.ends import marksEnd, unixKey
from tlstunnel.tunnel.modes import NEGOTIATIONS, PAIRS
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.reception import Receptions, Senders
from tlstunnel.tunnel.record import Record
from tlstunnel.tunnel.refusals import RefusalLog
from tlstunnel.tunnel.servedname import Addresses
from tlstunnel.tunnel.sources import Sources
from tlstunnel.tunnel.withdrawal import Heeding

if TYPE_CHECKING:
    from tlstunnel.tunnel.dane import TLSALookup


class ProxyFactory(Factory):
    """
    Pairs each connection that is accepted for a tunnel with one to its remote address.

    Its own L{ListeningPort}s call L{accepted}.  A stock endpoint of plain TCP or UNIX sockets can
    listen with it as well.

    @ivar prepared: the tunnel, and what its new connections are made with.
    @ivar dialler: connects to its remote addresses.
    @ivar diallers: the same for names and protocols that have remote addresses of their own.
    @ivar linger: closes the sockets of its connections where that may not be done at once.
    @ivar unixLegs: makes the plain legs that are UNIX sockets.
    @ivar pairs: the connections there are; C{admission} says how many are let in.
    @ivar receptions: those of which it is not known yet on whose behalf they come.
    @ivar heeding: sees to it that nobody is served as somebody who is withdrawn.
    @ivar ports: who accepts for us; paused while there are as many connections as the limits allow.
    @ivar idle: called when the last of the connections has ended, if anything is to be.
    """

    noisy = False
    _log = Logger()

    dialler: Destination
    diallers: Mapping[Addresses, Destination]

    def __init__(
        self,
        tunnel: Tunnel | Prepared,
        reactor: Any,
        observers: Sequence[IObserver] | None = None,
        deadlines: Deadlines | None = None,
        directory: Directory | None = None,
    ) -> None:
        """
        @param tunnel: what to serve, prepared already or not.
        @param observers: told of every connection; by default one that logs its end, unless the
            tunnel is quiet.
        @param directory: knows what names mean, where others ask it as well.
        @raise ConfigurationError: if what the tunnel needs is missing or wrong.
        """
        self.reactor = reactor
        self.deadlines = deadlines or Deadlines(reactor)
        self.linger = Linger(reactor)
        self.unixLegs = UNIXLegs(reactor, self.linger, self.deadlines)
        self.pairs: set[Pair] = set()
        self.ports: list[ListeningPort] = []
        self.idle: Callable[[], None] | None = None
        prepared = tunnel if isinstance(tunnel, Prepared) else Prepared(tunnel)
        described = prepared.tunnel
        self._destinations = Destinations(
            reactor, self.deadlines, self.linger, described.name, directory
        )
        if observers is None:
            observers = () if described.quiet else (ConnectionLog(),)
        self._told = tuple(observers)
        self._warned = False
        # Nothing of a tunnel that is gone is left for the garbage collector.
        me = proxy(self)
        self.receptions = Receptions(me)
        self.admission = Admission(described.limits, lambda _: me.listen(), described.name)
        self._sources: Sources | None = None
        self._refusals = RefusalLog(self.deadlines, described.name)
        self.heeding = Heeding(lambda: me.pairs)
        self.open(prepared)
        self.use(prepared, observers)

    def renew(self, tunnel: Tunnel) -> None:
        """
        Read what C{tunnel} needs; from now on new connections are made with that.

        @raise ConfigurationError: if something is missing or wrong; then nothing has changed.
        """
        prepared = Prepared(tunnel)
        self.open(prepared)
        self.use(prepared)

    def open(self, prepared: Prepared) -> None:
        """
        Open what it takes to use what has been prepared.

        @raise ConfigurationError: something cannot be opened; nothing has changed.
        """
        prepared.open()
        self.unixLegs.open(unixKey(prepared.tunnel))

    def use(self, prepared: Prepared, observers: Sequence[IObserver] | None = None) -> None:
        """
        Make new connections with what has been prepared, where all is open for it.

        @param observers: told of them from now on; by default those that were told before.
        """
        tunnel = prepared.tunnel
        self.prepared = prepared
        self._tlsa: TLSALookup | None = None
        if observers is not None:
            self._told = tuple(observers)
        self._observers = Observers((*self._told, *prepared.traces))
        self.unixLegs.renew(tunnel.name, marksEnd(tunnel, tunnel.local), tunnel.limits.idle)
        self._acceptsPlain = tunnel.mode is Mode.CLIENT
        self._protocol, onward = tunnel.protocol, tunnel.onward
        self._dialects = None if onward is None else (tunnel.dialect.name, onward.dialect.name)
        self.diallers = self._destinations.follow(prepared, self.unixLegs)
        self.dialler = self.diallers[tunnel.remote]
        self._pair = (NEGOTIATIONS if tunnel.negotiatesOnly else PAIRS)[tunnel.mode]
        self._senders = Senders.of(tunnel)
        self.admission.renew(tunnel.limits)
        self._sources = (
            Sources(self.reactor, tunnel, (each.record.peer for each in self.pairs), self._sources)
            if Sources.areLimited(tunnel)
            else None
        )
        self.heeding.use(prepared, self.deadlines)

    def stop(self) -> Deferred[None]:
        """
        End all connections, once nobody accepts more of them.

        @return: fires when none is left.
        """
        stopped: Deferred[None] = Deferred()
        before = self.idle

        def idle() -> None:
            self.idle = before
            self.unixLegs.closeAll()
            stopped.callback(None)
            if before is not None:
                before()

        self.idle = idle
        for pair in self.pairs:
            pair.end(Stopped())
        self.receptions.dismiss()
        if not (self.isBusy or stopped.called):
            idle()
        return stopped

    @property
    def tunnel(self) -> Tunnel:
        """
        What this serves.
        """
        return self.prepared.tunnel

    @property
    def backends(self) -> list[Backend]:
        """
        Where new connections go to, as far as it is known.
        """
        return self._destinations.backends

    async def hosts(self, address: TCPAddress | SRVAddress) -> Sequence[str]:
        """
        The addresses that one of our remotes means at the moment.
        """
        return await self._destinations.hosts(address)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """
        For stock endpoints: the socket is taken over as soon as it is connected.
        """
        return Adopted(self.adopt)

    def accepted(self, sock: socket.socket, peer: Address, below: Any = None) -> None:
        """
        A connection was accepted.

        @param sock: connected and non-blocking.
        @param peer: the other end.
        @param below: see L{Leg}.
        """
        if self._senders is not None and peer in self._senders:
            self.receptions.receive(sock, peer, below)
        elif self._sources is None or self.letsIn(peer):
            self.serve(self.leg(sock, peer, below))
        else:
            resetOnClose(sock)
            (sock.close if below is None else below.abortConnection)()

    def letsIn(self, peer: Address) -> bool:
        """
        Whether C{peer} may come in, for where it is.
        """
        sources = self._sources
        reason = "" if sources is None else sources.enter(peer)
        if sources is not None and reason:
            self._refusals.add(sources, peer, reason)
            self._observers.refuse(self.tunnel.name, peer, reason)
        return not reason

    def leg(self, sock: socket.socket, peer: Address, below: Any = None) -> Leg:
        """
        The leg of a connection that was accepted.
        """
        if self._acceptsPlain and isinstance(peer, UNIXAddress):
            return self.unixLegs.leg(sock, peer, below)
        return Leg(self.reactor, self.linger, sock, peer, below)

    def serve(self, leg: Leg) -> None:
        """
        Pair C{leg}, unless there are too many already.
        """
        record = self.record(leg.peer)
        if self.admission.enter():
            self.begin(leg, record)
            return
        if self._sources is not None:
            self._sources.leave(leg.peer)
        leg.abortConnection()
        record.end(LimitReached("as many connections as the limits allow"))

    def begin(self, leg: Leg, record: Record) -> None:
        """
        Serve what was let in; a fault of ours at that takes nobody else's place.
        """
        pair: Pair | None = None
        try:
            pair = self._pair(self, leg, record)
            self.pairs.add(pair)
            pair.start()
        except BaseException:
            if not leg.isClosed:
                leg.abortConnection()
            error = TunnelError("see the traceback above")
            if pair is None:
                self._leave(record, error)
            elif pair in self.pairs:
                self.ended(pair, error)
            raise

    def record(self, peer: Address, dialect: str = "") -> Record:
        """
        A blank record.

        @param peer: whose connection was accepted.
        @param dialect: what is spoken on it, if not the dialect of the tunnel.
        """
        tunnel = self.prepared.tunnel
        return Record(
            self.reactor,
            self._observers,
            tunnel.name,
            tunnel.mode,
            dialect or self._protocol,
            peer,
            self._dialects,
        )

    def listen(self) -> None:
        """
        Let the ports accept, or leave connections in the kernel's queue while there are too many.
        """
        for port in self.ports:
            if self.admission.isFull:
                port.pauseListening()
            else:
                port.startListening()

    def tlsa(self, resolver: TCPAddress) -> TLSALookup:
        """
        What looks up TLSA records at C{resolver}.  What it has found is forgotten at a reload.
        """
        # Few need it, and DNS takes memory.
        from tlstunnel.net.dnssec import ValidatingResolver
        from tlstunnel.tunnel.dane import TLSALookup

        found = self._tlsa
        if found is None or found.address != resolver:
            asked = ValidatingResolver(self.reactor, resolver)
            found = self._tlsa = TLSALookup(asked, self.reactor)
        return found

    def channels(self, pair: Pair) -> Channels:
        """
        What opens the data connections of C{pair}.

        @raise Closed: if one of its legs is closed.
        """
        assert isinstance(pair.accepted, Leg)
        assert pair.dialled is not None and pair.network is not None
        tunnel = pair.prepared.tunnel
        return Channels(
            self.reactor,
            self.deadlines,
            self.linger,
            tunnel.limits,
            lambda peer: self.record(peer, f"{tunnel.dialect.name}-data"),
            pair.accepted,
            pair.dialled,
            pair.network,
            self._destinations.via(pair.prepared),
            tunnel.name,
        )

    def verified(self, pair: Pair) -> None:
        """
        The network peer of C{pair} is who it should be, and no longer counts as a stranger.
        """
        self.admission.verify()

    def ended(self, pair: Pair, error: TunnelError | None) -> None:
        """
        C{pair} is closed.
        """
        self.pairs.discard(pair)
        self._leave(pair.record, error)

    def _leave(self, record: Record, error: TunnelError | None) -> None:
        """
        Let others have the place of a connection that is over.
        """
        if record.isStranger:
            self.admission.verify()
        self.admission.leave()
        if self._sources is not None:
            self._sources.leave(record.peer)
        record.end(error)
        self.tellIdle()

    def tellIdle(self) -> None:
        """
        One has gone: call C{idle}, if it was the last.
        """
        if self.idle is not None and not self.isBusy:
            self.idle()

    @property
    def isBusy(self) -> bool:
        """
        Whether there are connections.
        """
        return bool(self.pairs or self.receptions)

    def adopt(self, transport: Any) -> None:
        """
        Serve the connection of a stock transport, which keeps the socket, to close it when we say
        so, and nothing else.
        """
        if not isPlain(transport):
            getattr(transport, "abortConnection", transport.loseConnection)()
            if not self._warned:
                self._warned = True
                self._log.error(REFUSED, transport=type(transport).__name__)
            return
        taken = takeOver(transport, self.tunnel.limits.keepAlive)
        if taken is not None:
            self.accepted(*taken, transport)
