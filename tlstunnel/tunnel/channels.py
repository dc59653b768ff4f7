"""
Data connections beside a control connection, as FTP has them.

The far end says on the control connection that it listens at a port.  L{Channels.open} then listens
for the other end, or L{Channels.connect} connects to it, where that listens as well.  L{Channel} is
what comes of it: one connection dialled to the host at the control connection's far end, whatever
address was told; one with the host of its near end, and with nobody else; TLS on the network side
with the same peer as there, and a relay.
This module knows legs, limits and the relay, and nothing of what is said on a control connection.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel.address import Address, TCPAddress
from tlstunnel.errors import Closed, ConnectFailed, LimitReached, TunnelError
from tlstunnel.interfaces import IChannels, ILeg
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.dial import Dialler
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.listen import Bound
from tlstunnel.net.port import ListeningPort
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.tunnel.cutupload import CutUpload
from tlstunnel.tunnel.dataports import listenBeside
from tlstunnel.tunnel.limits import (
    Limits,
)
from tlstunnel.tunnel.record import RELAYING, Record
from tlstunnel.tunnel.relay import Relay
from tlstunnel.tunnel.upgrade import Upgrade

#: Data connections that one control connection may have at the same time: one moves, others end.
MAX_DATA_CONNECTIONS = 8

#: Seconds for which a client is told at once that all ports are in use, once it has been: whoever
#: asks again and again shall not have us look for one each time.
FULL_SECONDS = 0.1


@implementer(IChannels)
class Channels:
    """
    The data connections of one control connection.

    @ivar host: see L{IChannels}.
    @ivar peer: see L{IChannels}.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        linger: Linger,
        limits: Limits,
        record: Callable[[Address], Record],
        accepted: Leg,
        dialled: ILeg,
        network: ILeg,
        via: Callable[[Address], Awaitable[Leg]] | None = None,
    ) -> None:
        """
        @param record: begins the record of a data connection with this peer.
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
        self.peer: str = accepted.peer.host
        self.far: str = dialled.peer.host
        self.accepts, self.dials = accepted.who, dialled.who
        self._accepted = accepted.sock
        self._moved = 0
        self._channels: set[Channel] = set()
        self._awaited: Channel | None = None
        self._finished: Deferred[None] | None = None
        # Until when nothing is to be listened at again, and why.
        self._full: tuple[float, str] | None = None

    def open(self, port: int, acceptsCut: bool = False, ports: range | None = None) -> int:
        """
        Listen for a data connection, instead of one that nobody has made until now.

        @raise LimitReached: if there are too many, or no port is free.
        @raise ConnectFailed: if there is no address to listen at or to dial.
        """
        self._makeRoom()
        if self._full is not None and self.deadlines.clock.seconds() < self._full[0]:
            raise LimitReached(self._full[1])
        try:
            sock = listenBeside(self._accepted, ports)
        except OSError as error:
            raise ConnectFailed(f"no port to listen at ({error.strerror})") from None
        except LimitReached as error:
            self._noteFull(error)
            raise
        chosen: int = sock.getsockname()[1]
        self._begin(Channel(self, port, acceptsCut, sock=sock))
        return chosen

    def connect(self, port: int, towards: int, acceptsCut: bool = False) -> None:
        """
        Make a data connection, instead of one that nobody has made until now.

        @raise LimitReached: if there are too many.
        @raise ConnectFailed: if there is no address to dial.
        """
        self._makeRoom()
        self._begin(Channel(self, port, acceptsCut, towards=towards))

    def _makeRoom(self) -> None:
        if self._awaited is not None:
            self._awaited.end(Closed("another data connection was asked for"))
        if len(self._channels) >= MAX_DATA_CONNECTIONS:
            raise LimitReached("too many data connections")
        if not self.host or not self.peer or not self.far:
            raise ConnectFailed("a UNIX socket has no ports for data connections")

    def _begin(self, channel: Channel) -> None:
        self._awaited = channel
        self._channels.add(channel)
        channel.start()

    def _noteFull(self, error: LimitReached) -> None:
        """
        Say it, once for all that the client may try, and do not look again for a moment.
        """
        if self._full is None:
            self._log.warn(
                "{peer} gets no data connection: {problem}; give a wider range",
                peer=self.peer,
                problem=error.detail,
            )
        self._full = (self.deadlines.clock.seconds() + FULL_SECONDS, error.detail)

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
        self._awaited = None

    def ended(self, channel: Channel) -> None:
        """
        C{channel} is closed.
        """
        self._moved += channel.moved
        self._channels.discard(channel)
        if channel is self._awaited:
            self._awaited = None
        if self._finished is not None and not self._channels:
            self._finished.callback(None)

    async def finish(self) -> None:
        """
        The control connection ended cleanly: what is under way may arrive, within the limit for
        the second of two directions.
        """
        if self._awaited is not None:
            self._awaited.end(Closed("the control connection ended"))
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


class Channel:
    """
    One data connection.

    @ivar relay: what joins its legs, once they are ready.
    """

    _log = Logger()

    def __init__(
        self,
        channels: Channels,
        port: int,
        acceptsCut: bool,
        sock: socket.socket | None = None,
        towards: int = 0,
    ) -> None:
        """
        @param port: what to dial at the far end.
        @param acceptsCut: see L{IChannels.open}.
        @param sock: listening for the near end; ours from now on.
        @param towards: what to dial there, if nothing listens.
        """
        self.relay: Relay | None = None
        self._channels = channels
        self._port = port
        self._acceptsCut = acceptsCut
        self._accepting: Deferred[ILeg] = Deferred(lambda _: None)
        self._warned = False
        self._towards = towards
        self._listening: ListeningPort | None = None
        if sock is not None:
            self._listening = ListeningPort(
                channels.reactor, channels.deadlines, Bound(sock), self._accept
            )
        # That of the near end, also where it was not accepted.
        self._accepted: ILeg | None = None
        self._dialled: ILeg | None = None
        self._record: Record | None = None
        self._why: TunnelError | None = None
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """
        Let it happen.
        """
        if self._listening is not None:
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

    def _stopListening(self) -> None:
        if self._listening is not None:
            self._listening.stopListening()

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
        self._stopListening()
        for leg in (self._accepted, self._dialled):
            if leg is not None and not leg.isClosed:
                # Without all of the data there is no end of data.
                leg.abortConnection()
        self._channels.ended(self)
        if self._record is not None:
            self._record.end(error)

    async def _serve(self) -> TunnelError | None:
        """
        Accept, dial, secure, relay; or dial both, the far end first: where nobody is there, the
        near one hears of it on the control connection only.

        The backend is dialled before TLS is up: it may wait for the connection before it says on
        the control connection what the client waits for before it starts TLS (RFC 4217, section 7).
        Its host has verified the client there.
        """
        channels = self._channels
        limits, deadlines = channels.limits, channels.deadlines
        if not self._towards:
            with deadlines.within(limits.greeting, "accepting a data connection", self._cancel):
                self._accepted = await self._accepting
            channels.connected()
        peer = TCPAddress(channels.peer, self._towards)
        self._record = channels.record(self._accepted.peer if self._accepted else peer)
        upgrade = Upgrade(self._record, deadlines, limits, self._cancel, self.end)
        self._dialled = await upgrade.dial(
            self._dialler(TCPAddress(channels.far, self._port), via=channels.via)
        )
        self._dialled.who = channels.dials
        if self._accepted is None:
            dialler = self._dialler(peer, source=channels.host)
            with upgrade.within(limits.connectTotal, "connecting"):
                self._accepted = await dialler.dial()
            self._accepted.who = channels.accepts
            channels.connected()
        network, plain = self._accepted, self._dialled
        if not channels.acceptsNetwork:
            network, plain = plain, network
        # With the peer of the control connection; nothing is read before the relay.
        creator = channels.network.creatorBeside()
        conversation = Conversation(deadlines)
        conversation.transport = network
        network.speaker = conversation
        # It begins once the server has the data (RFC 4217, section 7): from a tape that takes long.
        await upgrade.secure(network, conversation.startTLS, creator, limits.closeTotal)
        self._record.advance(RELAYING)
        self.relay = Relay(
            network, plain, (), (), deadlines, limits.close, limits.closeTotal, limits.idle or None
        )
        ending = self.relay.start(b"", b"", False, False)
        if self._acceptsCut and not network.isClosed:
            network.speaker = CutUpload(network.speaker, plain)
        return await ending

    def _dialler(self, address: TCPAddress, **how: Any) -> Dialler:
        """
        What connects to one of the ends.
        """
        channels = self._channels
        limits = channels.limits
        return Dialler(
            channels.reactor,
            channels.deadlines,
            channels.linger,
            (address,),
            limits.connect,
            limits.keepAlive,
            **how,
        )

    def _accept(self, sock: socket.socket, peer: Address) -> None:
        """
        Somebody connected.
        """
        if peer.host == self._channels.peer:
            self._stopListening()
            channels = self._channels
            leg = Leg(channels.reactor, channels.linger, sock, peer)
            leg.who = channels.accepts
            self._accepting.callback(leg)
            return
        sock.close()
        if not self._warned:
            self._warned = True
            self._log.warn(
                "{peer} wanted a data connection that is for {host}",
                peer=peer,
                host=self._channels.peer,
            )
