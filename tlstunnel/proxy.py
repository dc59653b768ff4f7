"""
What happens to a connection, from accepting it to its end.

A L{ProxyFactory} pairs each accepted connection with one to the remote address.  A L{Pair} is one
such pair of legs; its two coroutines, one a mode, have everything in the order in which it
happens.  What is said in them belongs to the dialects, how bytes move to the relay.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.errors import (
    ConfigurationError,
    IdentityRefused,
    LimitReached,
    PlaintextAfterStartTLS,
    ServerSpokeFirst,
    TimedOut,
    TunnelError,
)
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.dial import Dialler
from tlstunnel.net.leg import Leg, tune
from tlstunnel.net.listen import ListeningPort, nameOfPeer
from tlstunnel.program.log import connectionEnded
from tlstunnel.protocols.base import (
    ClientRole,
    Role,
    ServerRole,
)
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.guards import (
    AppSpeaks,
    Greeted,
    SilenceBeforeApp,
)
from tlstunnel.tls.creators import (
    Creator,
)
from tlstunnel.tunnel.admission import Admission
from tlstunnel.tunnel.channels import Channels
from tlstunnel.tunnel.description import (
    Mode,
    Tunnel,
)
from tlstunnel.tunnel.prepared import (
    Prepared,
)
from tlstunnel.tunnel.relay import Relay

# After these a peer is not to be told anything any more.
_ATTACKS = (PlaintextAfterStartTLS, ServerSpokeFirst)


class Pair:
    """
    Two legs that belong together.

    @ivar accepted: the leg that was accepted.
    @ivar dialled: the other one, once it is connected.
    @ivar role: what speaks on the network leg, until the relay begins.
    @ivar relay: what joins them, in the end.
    @ivar isVerified: whether the network peer is who it should be.
    @ivar channels: data connections that belong to them, if the dialect has such.
    """

    _log = Logger()

    def __init__(self, factory: ProxyFactory, accepted: Leg, started: float) -> None:
        self.factory = factory
        self.accepted = accepted
        self.dialled: Leg | None = None
        self.relay: Relay | None = None
        self.channels: Channels | None = None
        self.isVerified = False
        self.started = started
        self.network: Leg | None = None
        self.role: Role | None = None
        self._prepared = factory.prepared
        self._why: TunnelError | None = None
        self._due: Deadline | None = None
        self._running: Coroutine[Deferred[Any], None, None] | None = None
        self._awaited: Deferred[Any] | None = None

    def start(self) -> None:
        """
        Let it happen.
        """
        self._running = self._run()
        self._step(None)

    def _step(self, result: object) -> None:
        """
        Go on to the next L{Deferred} that is awaited, as C{Deferred.fromCoroutine} does, at half
        its cost: nobody awaits us, and there is no context to keep.
        """
        running = self._running
        if running is None:
            return
        try:
            if isinstance(result, Failure) and result.value is not None:
                self._awaited = running.throw(result.value)
            else:
                self._awaited = running.send(None)
        except StopIteration:
            return
        self._awaited.addBoth(self._step)

    def end(self, why: TunnelError) -> None:
        """
        End both legs, whatever is going on.
        """
        if self._why is None:
            self._why = why
            # In a turn of its own: what is going on may be what called us.
            self.factory.deadlines.after(0, self._cancel)

    def _cancel(self) -> None:
        if self._running is not None and self._awaited is not None:
            self._awaited.cancel()

    async def _run(self) -> None:
        """
        Serve, whatever comes, and close what is left.
        """
        error: TunnelError | None
        serve = self._client if self._prepared.tunnel.mode is Mode.CLIENT else self._server
        try:
            ending = await serve()
            error = self._why if ending is None else await self._relayed(ending) or self._why
        except TunnelError as ended:
            error = ended
        except CancelledError:
            error = self._why
            assert error is not None
        except ConfigurationError as problem:
            error = IdentityRefused(str(problem))
        except Exception:  # noqa: BLE001 - a bug of ours must not spread
            self._log.failure("a connection from {peer} failed", peer=self.accepted.peer)
            error = TunnelError("see the traceback above")
        self._running = None
        if self._due is not None:
            self._due.cancel()
        if self.channels is not None:
            self.channels.close()
        for leg in (self.accepted, self.dialled):
            if leg is not None and not leg.isClosed:
                if leg is self.network and isinstance(error, _ATTACKS):
                    leg.abortConnection()
                else:
                    leg.loseConnection()
        self.factory.ended(self, error)

    async def _client(self) -> Deferred[TunnelError | None]:
        """
        Mode -c: the app was accepted, the network is to be dialled.
        """
        prepared, limits = self._prepared, self._prepared.tunnel.limits
        role: ClientRole = prepared.tunnel.dialect.client(prepared.setting, self.factory.deadlines)
        self.role = role
        app = role.plain = Conversation(self.factory.deadlines)
        self._attach(app, self.accepted)
        if role.talks:
            with self._within(limits.negotiation, "the app's first message"):
                await role.prepare()
        expected = role.expected()
        if expected is None:
            raise IdentityRefused("nobody knows who must be at the other end")
        creator = prepared.creatorFor(expected)
        self.network = await self._dial()
        self._attach(role, self.network)
        if role.talks:
            with self._within(limits.greeting, "the greeting"):
                await role.readGreeting()
            with self._within(role.total or limits.negotiation, "the negotiation"):
                await role.negotiate()
        with self._within(limits.handshake, "the TLS handshake"):
            await role.switch(creator)
        self.factory.verified(self)
        silence: SilenceBeforeApp | None = None
        if role.silentServer:
            await role.staySilent()
            silence = SilenceBeforeApp()
            role.toPlain.insert(0, silence)
        role.toNetwork.insert(0, AppSpeaks(silence))
        self._openChannels(role, creator)
        if role.talks:
            with self._within(limits.greeting, "greeting the app"):
                await role.greetApp()
        if prepared.awaitsGreeting:
            self._due = self._within(limits.greeting, "the greeting inside TLS")
            role.toPlain.append(Greeted(self._due))
        return self._join(role, self.network, app.takeRest(), app.inputEnded)

    async def _server(self) -> Deferred[TunnelError | None] | None:
        """
        Mode -s: the network was accepted; the backend is dialled once its peer is verified.
        """
        prepared, limits = self._prepared, self._prepared.tunnel.limits
        role: ServerRole = prepared.tunnel.dialect.server(prepared.setting, self.factory.deadlines)
        self.role = role
        self.network = self.accepted
        self._attach(role, self.network)
        if role.earlyDial:
            await self._dialBackend(role)
        if role.talks:
            with self._within(role.total or limits.negotiation, "the negotiation"):
                await role.negotiate()
        if role.inClear:
            await self._forward(role)
            return None
        with self._within(limits.handshake, "the TLS handshake"):
            await role.switch(prepared.serverCreator)
        self.factory.verified(self)
        if not role.talks:
            await self._dial()
            return self._join(role, self.network)
        if not role.earlyDial:
            await self._dialBackend(role)
        self._openChannels(role, prepared.serverCreator)
        with self._within(limits.greeting, "the backend's greeting"):
            await role.meetBackend()
        return self._join(role, self.network, role.plain.takeRest(), role.plain.inputEnded)

    async def _forward(self, role: ServerRole) -> None:
        """
        Give the backend a single message that needs no TLS, and wait until it has read it.
        """
        await self._dialBackend(role)
        backend = role.plain
        backend.write(role.inClear)
        with self._within(self._prepared.tunnel.limits.close, "the backend's end"):
            await backend.wait(lambda: backend.inputEnded or None, reading=False)

    async def _dialBackend(self, role: ServerRole) -> None:
        role.plain = Conversation(self.factory.deadlines)
        self._attach(role.plain, await self._dial())

    async def _dial(self) -> Leg:
        leg = self.factory.dialHere()
        if leg is None:
            with self._within(self._prepared.tunnel.limits.connectTotal, "connecting"):
                leg = await self.factory.dial()
        self.dialled = leg
        return leg

    def _attach(self, conversation: Conversation, leg: Leg) -> None:
        conversation.whenLost = self.end
        leg.speaker = conversation
        conversation.makeConnection(leg)

    def _openChannels(self, role: Role, creator: Creator) -> None:
        """
        Let C{role} have data connections, if it is of that kind.
        """
        if role.opensChannels:
            role.channels = self.channels = self.factory.channels(self, creator)

    def _join(
        self, role: Role, network: Leg, rest: bytes = b"", plainEnded: bool = False
    ) -> Deferred[TunnelError | None]:
        """
        Let both legs be one connection.

        @param rest: what the plain leg has given already.
        @param plainEnded: whether that was all.
        @return: fires at its end, with the reason if that was not clean.
        """
        plain = self.dialled if network is self.accepted else self.accepted
        assert plain is not None
        limits = self._prepared.tunnel.limits
        self.relay = Relay(
            network,
            plain,
            role.toPlain,
            role.toNetwork,
            self.factory.deadlines,
            limits.close,
            limits.closeTotal,
            limits.idle or None,
        )
        if self.channels is not None:
            self.relay.beside = lambda: self._movedBeside
        return self.relay.start(role.takeRest(), rest, role.inputEnded, plainEnded)

    async def _relayed(self, ending: Deferred[TunnelError | None]) -> TunnelError | None:
        """
        Wait until both legs are closed, and what belongs to them.
        """
        # Most connections spend their time here: what has negotiated is not to be kept for it.
        self.role = None
        error = await ending
        if self.channels is not None and error is None and self._why is None:
            await self.channels.finish()
        return error

    @property
    def _movedBeside(self) -> int:
        return self.channels.moved if self.channels is not None else 0

    @property
    def moved(self) -> int:
        """
        A number that grows as anything moves.
        """
        return self.accepted.received + self.accepted.sent + self._movedBeside

    def _within(self, seconds: float, what: str) -> Deadline:
        """
        End the pair if a block takes longer than C{seconds}, whatever arrives meanwhile.
        """
        return self.factory.deadlines.after(
            seconds, lambda: self.end(TimedOut(f"{what} took longer than {seconds:g} s"))
        )


class ProxyFactory(Factory):
    """
    Pairs each connection that is accepted for a tunnel with one to its remote address.

    Its own L{ListeningPort}s call L{accepted}; any other stream endpoint that gives real sockets
    can listen with it as well.

    @ivar pairs: the connections there are.
    @ivar ports: who accepts for us, to be paused while there are as many as the limits allow.
    """

    noisy = False
    _log = Logger()

    def __init__(self, tunnel: Tunnel, reactor: Any, deadlines: Deadlines | None = None) -> None:
        """
        @raise ConfigurationError: if what the tunnel needs is missing or wrong.
        """
        self.tunnel = tunnel
        self.prepared: Prepared = Prepared(tunnel)
        self.reactor = reactor
        self.deadlines = deadlines or Deadlines(reactor)
        self._dialler = Dialler(reactor, self.deadlines, tunnel.remote, tunnel.limits.connect)
        self.pairs: set[Pair] = set()
        self.ports: list[ListeningPort] = []
        self.idle: Callable[[], None] | None = None
        self._admission = Admission(tunnel.limits, self._pause)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """
        For stock endpoints: the socket is taken over as soon as it is connected.
        """
        return _Adopted(self)

    def accepted(self, sock: socket.socket, peer: str) -> None:
        """
        A connection was accepted.

        @param sock: connected and non-blocking.
        @param peer: what the log calls the other end.
        """
        self.serve(Leg(self.reactor, sock, peer))

    def serve(self, leg: Leg) -> None:
        """
        Pair C{leg}, unless there are too many already.
        """
        pair = Pair(self, leg, self.reactor.seconds())
        if not self._admission.enter(leg.peer):
            leg.abortConnection()
            self._logEnd(pair, LimitReached(f"too many connections from {leg.peer}"))
            return
        self.pairs.add(pair)
        pair.start()

    def _pause(self, full: bool) -> None:
        """
        Leave new connections in the kernel's queue while there are too many.
        """
        for port in self.ports:
            if full:
                port.pauseListening()
            else:
                port.startListening()

    def dialHere(self) -> Leg | None:
        """
        Connect to the remote address if it is on this host, where that is done at once.
        """
        return self._dialler.dialHere()

    async def dial(self) -> Leg:
        """
        Connect to the remote address.

        @raise ConnectFailed: if none of them answers.
        """
        return await self._dialler.dial()

    def channels(self, pair: Pair, creator: Creator) -> Channels:
        """
        What opens the data connections of C{pair}.

        @raise Closed: if one of its legs is closed.
        """
        assert pair.dialled is not None and pair.network is not None
        return Channels(
            self.reactor,
            self.deadlines,
            self.tunnel.limits,
            f"{self.tunnel.dialect.name}-data",
            pair.accepted,
            pair.dialled,
            pair.network,
            creator,
        )

    def verified(self, pair: Pair) -> None:
        """
        The network peer of C{pair} is who it should be, and no longer counts as a stranger.
        """
        pair.isVerified = True
        self._admission.verify(pair.accepted.peer)

    def ended(self, pair: Pair, error: TunnelError | None) -> None:
        """
        C{pair} is closed.
        """
        self.pairs.discard(pair)
        if not pair.isVerified:
            self.verified(pair)
        self._admission.leave()
        self._logEnd(pair, error)
        if self.idle is not None and not self.pairs:
            self.idle()

    def _logEnd(self, pair: Pair, error: TunnelError | None) -> None:
        connectionEnded(
            self._log,
            self.tunnel.dialect.name,
            pair.accepted,
            pair.dialled,
            pair.network,
            self.reactor.seconds() - pair.started,
            error,
        )


class _Adopted(Protocol):
    """
    Takes the socket of a stock transport over, before anything has moved on it.
    """

    transport: Any

    def __init__(self, factory: ProxyFactory) -> None:
        self._factory = factory

    def connectionMade(self) -> None:
        """
        The stock transport keeps the socket, to close it when we say so, and nothing else.
        """
        transport = self.transport
        transport.pauseProducing()
        sock = transport.getHandle()
        if sock.family != socket.AF_UNIX:
            tune(sock)
        peer = "unix" if sock.family == socket.AF_UNIX else nameOfPeer(sock.getpeername())
        self._factory.serve(Leg(self._factory.reactor, sock, peer, below=transport))
