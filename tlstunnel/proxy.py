"""
What happens to a connection, from accepting it to its end.

A L{ProxyFactory} pairs each accepted connection with one to the remote address.  A L{Pair} is one
such pair of legs; its two coroutines, one a mode, have everything in the order in which it
happens.  What is said in them belongs to the dialects, how bytes move to the relay.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Connection
from twisted.logger import Logger

from tlstunnel.address import addressOf
from tlstunnel.errors import (
    ConfigurationError,
    IdentityRefused,
    LimitReached,
    PlaintextAfterStartTLS,
    ServerSpokeFirst,
    TimedOut,
    TunnelError,
)
from tlstunnel.interfaces import IDialler, ILeg, IObserver
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.dial import Dialler
from tlstunnel.net.kernel import tune
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.listen import ListeningPort
from tlstunnel.protocols.base import ClientRole, Role, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.guards import Greeted
from tlstunnel.tunnel.admission import Admission
from tlstunnel.tunnel.channels import Channels
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Address, Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import Record, Stage
from tlstunnel.tunnel.relay import Relay
from tlstunnel.tunnel.upgrade import Upgrade

# After these a peer is not to be told anything any more.
_ATTACKS = (PlaintextAfterStartTLS, ServerSpokeFirst)


class Pair:
    """
    Two legs that belong together.

    @ivar record: what is known of the connection.
    @ivar accepted: the leg that was accepted.
    @ivar dialled: the other one, once it is connected.
    @ivar network: which of them carries TLS.
    @ivar role: what speaks on the network leg, until the relay begins.
    @ivar relay: what joins them, in the end.
    @ivar channels: data connections that belong to them, if the dialect has such.
    """

    __slots__ = (
        "_factory",
        "_greetingDue",
        "_prepared",
        "_running",
        "_why",
        "accepted",
        "channels",
        "dialled",
        "network",
        "record",
        "relay",
        "role",
    )

    _log = Logger()

    def __init__(self, factory: ProxyFactory, accepted: Leg, record: Record) -> None:
        self.record = record
        self.accepted = accepted
        self.dialled: ILeg | None = None
        self.network: ILeg | None = None
        self.role: Role | None = None
        self.relay: Relay | None = None
        self.channels: Channels | None = None
        self._factory = factory
        self._prepared = factory.prepared
        self._why: TunnelError | None = None
        self._greetingDue: Deadline | None = None
        self._running: Deferred[Any] | None = None

    def start(self) -> None:
        """
        Let it happen.
        """
        running = Deferred.fromCoroutine(self._run())
        if self._running is None and not running.called:
            self._running = running

    def end(self, why: TunnelError) -> None:
        """
        End both legs, whatever is going on.
        """
        if self._why is None:
            self._why = why
            # In a turn of its own: what is going on may be what called us.
            self._factory.deadlines.after(0, self._cancel)

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        """
        Serve until the relay begins, whatever comes.
        """
        factory = self._factory
        tunnel = self._prepared.tunnel
        upgrade = Upgrade(self.record, factory.deadlines, tunnel.limits, self._cancel, self.end)
        error: TunnelError | None
        try:
            relaying = await (self._client if tunnel.mode is Mode.CLIENT else self._server)(upgrade)
        except TunnelError as ended:
            error = ended
        except CancelledError:
            error = self._why
            assert error is not None
        except ConfigurationError as problem:
            error = IdentityRefused(str(problem))
        except Exception:  # noqa: BLE001 - a bug of ours must not spread
            self._log.failure("a connection from {peer} failed", peer=self.record.peer)
            error = TunnelError("see the traceback above")
        else:
            # Most connections spend their time relaying: nothing of the negotiation is kept.
            self.role = None
            self._running = relaying
            relaying.addCallback(self._relayed)
            return
        self._close(error)

    def _relayed(self, error: TunnelError | None) -> None:
        """
        Both legs are closed: wait for what belongs to them.
        """
        if self.channels is None or error is not None or self._why is not None:
            self._close(error or self._why)
            return
        self._running = Deferred.fromCoroutine(self.channels.finish())
        self._running.addErrback(lambda failure: failure.trap(CancelledError))
        self._running.addCallback(lambda _: self._close(self._why))

    def _close(self, error: TunnelError | None) -> None:
        """
        Close what is left.
        """
        self._running = None
        if self._greetingDue is not None:
            self._greetingDue.cancel()
        if self.channels is not None:
            self.channels.close()
        for leg in (self.accepted, self.dialled):
            if leg is not None and not leg.isClosed:
                if leg is self.network and isinstance(error, _ATTACKS):
                    leg.abortConnection()
                else:
                    leg.loseConnection()
        self._factory.ended(self, error)

    async def _client(self, upgrade: Upgrade) -> Deferred[TunnelError | None]:
        """
        Mode -c: the app was accepted, the network is to be dialled.
        """
        prepared, limits = self._prepared, self._prepared.tunnel.limits
        dialect = prepared.tunnel.dialect
        role: ClientRole = dialect.client(prepared.setting, self._factory.deadlines)
        self.role = role
        app = role.plain = Conversation(self._factory.deadlines)
        upgrade.attach(app, self.accepted)
        if dialect.talks:
            with upgrade.within(limits.negotiation, "the app's first message"):
                await role.prepare()
        expected = role.expected()
        if expected is None:
            raise IdentityRefused("nobody knows who must be at the other end")
        creator = prepared.creatorFor(expected)
        self.network = self.dialled = network = await upgrade.dial(self._factory.dialler)
        upgrade.attach(role, network)
        await upgrade.negotiate(dialect, role)
        await upgrade.secure(network, role.switch(creator))
        self._factory.verified(self)
        if dialect.silentServer:
            await role.demandSilence()
        self._openChannels(role)
        if dialect.talks:
            self.record.advance(Stage.GREETING)
            with upgrade.within(limits.greeting, "greeting the app"):
                await role.greetApp()
        if prepared.awaitsGreeting:
            self._greetingDue = self._factory.deadlines.after(limits.greeting, self._notGreeted)
            role.toPlain.append(Greeted(self._greetingDue))
        return self._join(role, app.takeRest(), app.inputEnded)

    async def _server(self, upgrade: Upgrade) -> Deferred[TunnelError | None]:
        """
        Mode -s: the network was accepted; the backend is dialled once its peer is verified.
        """
        prepared = self._prepared
        dialect = prepared.tunnel.dialect
        role: ServerRole = dialect.server(prepared.setting, self._factory.deadlines)
        self.role = role
        self.network = network = self.accepted
        upgrade.attach(role, network)
        if dialect.earlyDial:
            await self._dialBackend(role, upgrade)
        await upgrade.negotiate(dialect, role)
        if role.inClear:
            return await self._forward(role, upgrade)
        await upgrade.secure(network, role.switch(prepared.serverCreator))
        self._factory.verified(self)
        if not dialect.talks:
            self.dialled = await upgrade.dial(self._factory.dialler)
            return self._join(role)
        if not dialect.earlyDial:
            await self._dialBackend(role, upgrade)
        self._openChannels(role)
        self.record.advance(Stage.GREETING)
        with upgrade.within(prepared.tunnel.limits.greeting, "the backend's greeting"):
            await role.meetBackend()
        return self._join(role, role.plain.takeRest(), role.plain.inputEnded)

    async def _dialBackend(self, role: ServerRole, upgrade: Upgrade) -> None:
        self.dialled = await upgrade.dial(self._factory.dialler)
        role.plain = Conversation(self._factory.deadlines)
        upgrade.attach(role.plain, self.dialled)

    async def _forward(self, role: ServerRole, upgrade: Upgrade) -> Deferred[TunnelError | None]:
        """
        Give the backend a single message that needs no TLS, and wait until it has read it.
        """
        await self._dialBackend(role, upgrade)
        backend = role.plain
        backend.write(role.inClear)
        with upgrade.within(self._prepared.tunnel.limits.close, "the backend's end"):
            await backend.wait(lambda: backend.inputEnded or None, reading=False)
        return succeed(None)

    def _notGreeted(self) -> None:
        limit = self._prepared.tunnel.limits.greeting
        self.end(TimedOut(f"the greeting inside TLS took longer than {limit:g} s"))

    def _openChannels(self, role: Role) -> None:
        """
        Let C{role} have data connections, if it is of that kind.
        """
        if self._prepared.tunnel.dialect.opensChannels:
            role.channels = self.channels = self._factory.channels(self)

    def _join(
        self, role: Role, rest: bytes = b"", plainEnded: bool = False
    ) -> Deferred[TunnelError | None]:
        """
        Let both legs be one connection.

        @param rest: what the plain leg has given already.
        @param plainEnded: whether that was all.
        @return: fires at its end, with the reason if that was not clean.
        """
        network = self.network
        plain = self.dialled if network is self.accepted else self.accepted
        assert network is not None and plain is not None
        limits = self._prepared.tunnel.limits
        self.record.advance(Stage.RELAYING)
        self.relay = Relay(
            network,
            plain,
            role.toNetwork,
            role.toPlain,
            self._factory.deadlines,
            limits.close,
            limits.closeTotal,
            limits.idle or None,
        )
        if self.channels is not None:
            self.relay.beside = lambda: self._movedBeside
        return self.relay.start(role.takeRest(), rest, role.inputEnded, plainEnded)

    @property
    def _movedBeside(self) -> int:
        return self.channels.moved if self.channels is not None else 0

    @property
    def moved(self) -> int:
        """
        A number that grows as anything moves.
        """
        return self.accepted.received + self.accepted.sent + self._movedBeside


class ProxyFactory(Factory):
    """
    Pairs each connection that is accepted for a tunnel with one to its remote address.

    Its own L{ListeningPort}s call L{accepted}.  A stock endpoint of plain TCP or UNIX sockets can
    listen with it as well.

    @ivar prepared: the tunnel, and what its new connections are made with.
    @ivar dialler: connects to its remote address.
    @ivar linger: closes the sockets of its connections where that may not be done at once.
    @ivar pairs: the connections there are.
    @ivar ports: who accepts for us, to be paused while there are as many as the limits allow.
    @ivar idle: called when the last of the connections has ended, if anything is to be.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        tunnel: Tunnel,
        reactor: Any,
        observers: Sequence[IObserver] | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        """
        @param observers: told of every connection; by default one that logs its end.
        @raise ConfigurationError: if what the tunnel needs is missing or wrong.
        """
        self.reactor = reactor
        self.deadlines = deadlines or Deadlines(reactor)
        self.linger = Linger(reactor)
        self.pairs: set[Pair] = set()
        self.ports: list[ListeningPort] = []
        self.idle: Callable[[], None] | None = None
        self._observers = (ConnectionLog(),) if observers is None else tuple(observers)
        self._warned = False
        self._admission = Admission(tunnel.limits, self._pause)
        self.renew(tunnel)

    def renew(self, tunnel: Tunnel) -> None:
        """
        Read what C{tunnel} needs; from now on new connections are made with that.

        @raise ConfigurationError: if something is missing or wrong; then nothing has changed.
        """
        self.prepared = Prepared(tunnel)
        self.dialler: IDialler = Dialler(
            self.reactor, self.deadlines, self.linger, tunnel.remote, tunnel.limits.connect
        )
        self._admission.renew(tunnel.limits)

    @property
    def tunnel(self) -> Tunnel:
        """
        What this serves.
        """
        return self.prepared.tunnel

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """
        For stock endpoints: the socket is taken over as soon as it is connected.
        """
        return _Adopted(self)

    def accepted(self, sock: socket.socket, peer: Address) -> None:
        """
        A connection was accepted.

        @param sock: connected and non-blocking.
        @param peer: the other end.
        """
        self.serve(Leg(self.reactor, self.linger, sock, peer))

    def serve(self, leg: Leg) -> None:
        """
        Pair C{leg}, unless there are too many already.
        """
        record = self.record(leg)
        if not self._admission.enter(leg.peer):
            leg.abortConnection()
            record.end(LimitReached(f"too many connections from {leg.peer}"))
            return
        pair = Pair(self, leg, record)
        self.pairs.add(pair)
        pair.start()

    def record(self, leg: ILeg, dialect: str = "") -> Record:
        """
        A blank record.

        @param leg: was accepted.
        @param dialect: what is spoken on it, if not the dialect of the tunnel.
        """
        tunnel = self.prepared.tunnel
        return Record(
            self.reactor,
            self._observers,
            tunnel.name,
            tunnel.mode,
            dialect or tunnel.dialect.name,
            leg.peer,
        )

    def _pause(self, full: bool) -> None:
        """
        Leave new connections in the kernel's queue while there are too many.
        """
        for port in self.ports:
            if full:
                port.pauseListening()
            else:
                port.startListening()

    def channels(self, pair: Pair) -> Channels:
        """
        What opens the data connections of C{pair}.

        @raise Closed: if one of its legs is closed.
        """
        assert pair.dialled is not None and pair.network is not None
        return Channels(
            self.reactor,
            self.deadlines,
            self.linger,
            self.tunnel.limits,
            lambda leg: self.record(leg, f"{self.tunnel.dialect.name}-data"),
            pair.accepted,
            pair.dialled,
            pair.network,
        )

    def verified(self, pair: Pair) -> None:
        """
        The network peer of C{pair} is who it should be, and no longer counts as a stranger.
        """
        self._admission.verify(pair.record.peer)

    def ended(self, pair: Pair, error: TunnelError | None) -> None:
        """
        C{pair} is closed.
        """
        self.pairs.discard(pair)
        if not pair.record.isVerified:
            self._admission.verify(pair.record.peer)
        self._admission.leave()
        pair.record.end(error)
        if self.idle is not None and not self.pairs:
            self.idle()

    def adopt(self, transport: Any) -> None:
        """
        Serve the connection of a stock transport, which keeps the socket, to close it when we say
        so, and nothing else.
        """
        transport.pauseProducing()
        if not isinstance(transport, Connection) or transport.TLS:
            # What a wrapper does to the bytes would be passed by, as we take the socket.
            transport.abortConnection()
            if not self._warned:
                self._warned = True
                self._log.error(
                    "connections over {transport} are refused: a ProxyFactory takes the socket "
                    "itself, so it listens on endpoints of plain TCP or UNIX sockets only, without "
                    "TLS and without wrappers such as haproxy:",
                    transport=type(transport).__name__,
                )
            return
        sock = transport.getHandle()
        try:
            peer = addressOf(sock.getpeername())
            if sock.family != socket.AF_UNIX:
                tune(sock)
        except OSError:
            # It is gone already.
            transport.abortConnection()
            return
        self.serve(Leg(self.reactor, self.linger, sock, peer, below=transport))


class _Adopted(Protocol):
    """
    Hands a stock transport over, before anything has moved on it.
    """

    def __init__(self, factory: ProxyFactory) -> None:
        self._factory = factory

    def connectionMade(self) -> None:
        """
        Nothing has been read yet.
        """
        self._factory.adopt(self.transport)
