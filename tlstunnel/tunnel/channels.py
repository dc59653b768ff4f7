"""
Data connections beside a control connection, as FTP has them.

One end says on the control connection that it listens at a port.  L{Channels.open} then listens for
the other end, and L{Channel} is what comes of it: one connection accepted, from the host of the
control connection and from nobody else, one dialled to the host at the control connection's far
end, whatever address was told, TLS on the network side with the same peer as there, and a relay.
This module knows legs, limits and the relay, and nothing of what is said on a control connection.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import Address, TCPAddress
from tlstunnel.errors import (
    Closed,
    ConnectFailed,
    LimitReached,
    TLSFailed,
    Truncated,
    TunnelError,
)
from tlstunnel.interfaces import IChannels, ILeg, ISpeaker
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.dial import Dialler
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.listen import Bound
from tlstunnel.net.port import ListeningPort
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.tls import belonging
from tlstunnel.tunnel.limits import (
    Limits,
)
from tlstunnel.tunnel.record import RELAYING, Record
from tlstunnel.tunnel.relay import Relay
from tlstunnel.tunnel.upgrade import Upgrade

#: Data connections that one control connection may have at the same time: one moves, others end.
MAX_DATA_CONNECTIONS = 8


@implementer(IChannels)
class Channels:
    """
    The data connections of one control connection.

    @ivar host: see L{IChannels}.
    """

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        linger: Linger,
        limits: Limits,
        record: Callable[[ILeg], Record],
        accepted: Leg,
        dialled: ILeg,
        network: ILeg,
        via: Callable[[Address], Awaitable[Leg]] | None = None,
    ) -> None:
        """
        @param record: begins the record of a data connection, of which this leg was accepted.
        @param accepted: the leg of the control connection that was accepted.
        @param dialled: the other one.
        @param network: the one of them that carries TLS.
        @param via: connects through the proxy that the control connection went through.
        @raise Closed: if one of them is closed.
        """
        self.reactor = reactor
        self.deadlines = deadlines
        self.linger = linger
        self.limits = limits
        self.record = record
        self.network = network
        self.via = via
        self.acceptsNetwork = network is accepted
        self.host: str = accepted.local.host
        self.near: str = accepted.peer.host
        self.far: str = dialled.peer.host
        self.accepts, self.dials = accepted.who, dialled.who
        self._accepted = accepted.sock
        self._moved = 0
        self._channels: set[Channel] = set()
        self._listening: Channel | None = None
        self._finished: Deferred[None] | None = None

    def open(self, port: int, acceptsCut: bool = False) -> int:
        """
        Listen for a data connection, instead of one that nobody has made until now.

        @raise LimitReached: if there are too many.
        @raise ConnectFailed: if there is no address to listen at or to dial.
        """
        if self._listening is not None:
            self._listening.end(Closed("another data connection was asked for"))
        if len(self._channels) >= MAX_DATA_CONNECTIONS:
            raise LimitReached("too many data connections")
        if not self.host or not self.far:
            raise ConnectFailed("a UNIX socket has no ports for data connections")
        try:
            sock = self._listen()
        except OSError as error:
            raise ConnectFailed(f"no port to listen at ({error.strerror})") from None
        channel = self._listening = Channel(self, sock, port, acceptsCut)
        self._channels.add(channel)
        channel.start()
        chosen: int = sock.getsockname()[1]
        return chosen

    def _listen(self) -> socket.socket:
        """
        A socket that listens at a port of the system's choice, where the control connection is.

        @raise OSError: there is no descriptor, address or port for it.
        """
        sock = socket.socket(self._accepted.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            local = self._accepted.getsockname()
            sock.bind((local[0], 0, *local[2:]))
            sock.listen(2)
        except OSError:
            sock.close()
            raise
        return sock

    def demandResumption(self) -> None:
        """
        See L{IChannels.demandResumption}.
        """
        session = self.network.session
        if not belonging.IS_THERE:
            raise TLSFailed(
                "this release of pyOpenSSL or cryptography lets nobody resume a session"
            )
        if session is not None and session.belonging is not None:
            session.belonging.demands = True

    @property
    def moved(self) -> int:
        """
        A number that grows as data moves.
        """
        return self._moved + sum(channel.moved for channel in self._channels)

    def connected(self) -> None:
        """
        The one that was listened for is there.
        """
        self._listening = None

    def ended(self, channel: Channel) -> None:
        """
        C{channel} is closed.
        """
        self._moved += channel.moved
        self._channels.discard(channel)
        if channel is self._listening:
            self._listening = None
        if self._finished is not None and not self._channels:
            self._finished.callback(None)

    async def finish(self) -> None:
        """
        The control connection ended cleanly: what is under way may arrive, within the limit for
        the second of two directions.
        """
        if self._listening is not None:
            self._listening.end(Closed("the control connection ended"))
        if self._channels:
            self._finished = Deferred(lambda _: None)
            late = self.deadlines.after(self.limits.close, self.close)
            try:
                await self._finished
            finally:
                self._finished = None
                late.cancel()

    def close(self) -> None:
        """
        Reset all of them.
        """
        for channel in tuple(self._channels):
            channel.end(Closed("the control connection is gone"))


@implementer(ISpeaker)
class _CutUpload:
    """
    Speaks on the network leg of a data connection on which uploads may end with its TCP connection.
    """

    def __init__(self, direction: ISpeaker, backend: ILeg) -> None:
        """
        @param direction: what speaks there else.
        """
        self._direction = direction
        self._backend = backend
        self.dataReceived = direction.dataReceived
        self.readConnectionLost = direction.readConnectionLost
        self.writeConnectionLost = direction.writeConnectionLost
        self.handshakeCompleted = direction.handshakeCompleted

    def connectionLost(self, reason: Failure) -> None:
        """
        If the backend has said nothing, this was an upload, and all of it.
        """
        if reason.check(Truncated) and not self._backend.received:
            self._direction.readConnectionLost()
        self._direction.connectionLost(reason)


class Channel:
    """
    One data connection.

    @ivar relay: what joins its legs, once they are ready.
    """

    _log = Logger()

    def __init__(
        self, channels: Channels, sock: socket.socket, port: int, acceptsCut: bool
    ) -> None:
        """
        @param sock: listening; ours from now on.
        @param port: what to dial.
        @param acceptsCut: see L{IChannels.open}.
        """
        self.relay: Relay | None = None
        self._channels = channels
        self._port = port
        self._acceptsCut = acceptsCut
        self._accepting: Deferred[ILeg] = Deferred(lambda _: None)
        self._warned = False
        # Whether several have connected who may be those that are waited for.
        self._isContested = False
        self._listening = ListeningPort(
            channels.reactor, channels.deadlines, Bound(sock), self._accept
        )
        self._accepted: ILeg | None = None
        self._dialled: ILeg | None = None
        self._record: Record | None = None
        self._why: TunnelError | None = None
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """
        Let it happen.
        """
        self._listening.startListening()
        self._running = Deferred.fromCoroutine(self._run())

    def end(self, why: TunnelError) -> None:
        """
        Reset what there is.
        """
        if self.relay is not None:
            self.relay.abort(why)
        elif self._why is None:
            self._why = why
            self._cancel()

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    @property
    def moved(self) -> int:
        """
        A number that grows as data moves.
        """
        legs = (self._accepted, self._dialled)
        return sum(leg.received + leg.sent for leg in legs if leg is not None)

    async def _run(self) -> None:
        error: TunnelError | None
        try:
            error = await self._serve()
        except TunnelError as ended:
            error = ended
        except CancelledError:
            error = self._why
        except Exception:  # noqa: BLE001 - a bug of ours must not spread
            self._log.failure("a data connection failed")
            error = TunnelError("see the traceback above")
        self._running = None
        self._listening.stopListening()
        for leg in (self._accepted, self._dialled):
            if leg is not None and not leg.isClosed:
                # Without all of the data there is no end of data.
                leg.abortConnection()
        self._channels.ended(self)
        if self._record is not None:
            self._record.end(error)

    async def _serve(self) -> TunnelError | None:
        """
        Accept, dial, secure, relay.

        The backend is dialled before TLS is up: it may wait for the connection before it says on
        the control connection what the client waits for before it starts TLS (RFC 4217, section 7).
        Its host has verified the client there.
        """
        channels = self._channels
        limits, deadlines = channels.limits, channels.deadlines
        with deadlines.within(limits.greeting, "accepting a data connection", self._cancel):
            accepted = self._accepted = await self._accepting
        channels.connected()
        self._record = channels.record(accepted)
        upgrade = Upgrade(self._record, deadlines, limits, self._cancel, self.end)
        address = TCPAddress(channels.far, self._port)
        self._dialled = await upgrade.dial(
            Dialler(
                channels.reactor,
                deadlines,
                channels.linger,
                (address,),
                limits.connect,
                limits.keepAlive,
                via=channels.via,
            )
        )
        self._dialled.who = channels.dials
        network, plain = accepted, self._dialled
        if not channels.acceptsNetwork:
            network, plain = plain, network
        # With the peer of the control connection; nothing is read before the relay.
        creator = channels.network.creatorBeside()
        conversation = Conversation(deadlines)
        conversation.transport = network
        network.speaker = conversation
        # It begins once the server has the data (RFC 4217, section 7): from a tape that takes long.
        await upgrade.secure(network, conversation.startTLS, creator, limits.closeTotal)
        self._checkAlone(network)
        self._record.advance(RELAYING)
        self.relay = Relay(
            network, plain, (), (), deadlines, limits.close, limits.closeTotal, limits.idle or None
        )
        ending = self.relay.start(b"", b"", False, False)
        if self._acceptsCut and not network.isClosed:
            network.speaker = _CutUpload(network.speaker, plain)
        return await ending

    def _checkAlone(self, network: ILeg) -> None:
        """
        See that the client is not somebody else who was faster, where another one has come too.

        @raise TunnelError: it may be, as it has not proved anything.
        """
        self._listening.acceptWaiting()
        self._listening.stopListening()
        session = network.session
        if self._isContested and session is not None and session.belonging is not None:
            refusal = session.belonging.judge(session.isResumed, isAlone=False)
            if refusal is not None:
                raise refusal

    @property
    def _canTell(self) -> bool:
        """
        Whether the one who is waited for could prove that it is the one.
        """
        session = self._channels.network.session
        return self._channels.acceptsNetwork and bool(session and session.belonging)

    def _accept(self, sock: socket.socket, peer: Address) -> None:
        """
        Somebody connected.
        """
        if peer.host == self._channels.near and not self._accepting.called:
            if not self._canTell:
                # The first one is it, whoever it is.
                self._listening.stopListening()
            channels = self._channels
            leg = Leg(channels.reactor, channels.linger, sock, peer)
            leg.who = channels.accepts
            self._accepting.callback(leg)
            return
        sock.close()
        if peer.host == self._channels.near:
            self._isContested = True
        elif not self._warned:
            self._warned = True
            self._log.warn(
                "{peer} wanted a data connection that is for {host}",
                peer=peer,
                host=self._channels.near,
            )
