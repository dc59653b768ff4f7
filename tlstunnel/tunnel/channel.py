"""
One data connection beside a control connection: a connection dialled to the host at the far end of
that, whatever address was told; one with the host of its near end, and with nobody else; TLS on the
network side with the same peer as there, and a relay.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from tlstunnel.address import Address, TCPAddress
from tlstunnel.errors import TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.dial import Dialler
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.listen import Bound
from tlstunnel.net.port import ListeningPort
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.tunnel.cutupload import CutUpload
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.record import RELAYING, Record
from tlstunnel.tunnel.relay import Relay
from tlstunnel.tunnel.upgrade import Upgrade


class IBeside(Protocol):
    """
    What belongs to all data connections of one control connection.

    @ivar host: our address there.
    @ivar peer: that of the near end.
    @ivar far: that of the far end.
    @ivar network: the leg that carries TLS.
    @ivar acceptsNetwork: whether that is the one of the near end.
    @ivar accepts: what the log calls the near end.
    @ivar dials: what it calls the far end.
    @ivar tunnel: what it calls the tunnel, if that has a name.
    """

    reactor: Any
    deadlines: Deadlines
    linger: Linger
    limits: Limits
    record: Callable[[Address], Record]
    via: Callable[[Address], Awaitable[Leg]] | None
    network: ILeg
    acceptsNetwork: bool
    host: str
    peer: str
    far: str
    accepts: str
    dials: str
    tunnel: str

    def connected(self) -> None:
        """
        The one that was waited for is there.
        """

    def ended(self, channel: Channel) -> None:
        """
        C{channel} is closed.
        """


class Channel:
    """
    One data connection.

    @ivar relay: what joins its legs, once they are ready.
    """

    _log = Logger()

    def __init__(
        self,
        channels: IBeside,
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
        # Whether several have connected who may be those that are waited for.
        self._isContested = False
        self._towards = towards
        self._listening: ListeningPort | None = None
        if sock is not None:
            self._listening = ListeningPort(
                channels.reactor,
                channels.deadlines,
                Bound(sock),
                self._accept,
                tunnel=channels.tunnel,
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

    def expectNobody(self) -> None:
        """
        Accept those who have connected already, and listen no more.
        """
        if self._listening is not None:
            self._listening.acceptWaiting()
            self._listening.stopListening()

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
        try:
            self._close()
        except Exception:  # noqa: BLE001 - the control connection waits for the end
            self._log.failure("a data connection could not be closed")
        self._channels.ended(self)
        if self._record is not None:
            self._record.end(error)

    def _close(self) -> None:
        self._stopListening()
        for leg in (self._accepted, self._dialled):
            if leg is not None and not leg.isClosed:
                # Without all of the data there is no end of data.
                leg.abortConnection()

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
        self._checkAlone(network)
        self._record.advance(RELAYING)
        self.relay = Relay(
            network, plain, (), (), deadlines, limits.close, limits.closeTotal, limits.idle or None
        )
        ending = self.relay.start(b"", b"", False, False)
        if self._acceptsCut and not network.isClosed:
            network.speaker = CutUpload(network.speaker, plain)
        return await ending

    def _checkAlone(self, network: ILeg) -> None:
        """
        See that the client is not somebody else who was faster, where another one has come too.

        @raise TunnelError: it may be, as it has not proved anything.
        """
        self.expectNobody()
        session = network.session
        if self._isContested and session is not None and session.belonging is not None:
            refusal = session.belonging.judge(session.isResumed, isAlone=False)
            if refusal is not None:
                raise refusal

    @property
    def _canTell(self) -> bool:
        """
        Whether the client could prove that a data connection is its own.
        """
        session = self._channels.network.session
        return self._channels.acceptsNetwork and bool(session and session.belonging)

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
        if peer.host == self._channels.peer and not self._accepting.called:
            if not self._canTell:
                # The first one is it, whoever it is.
                self._stopListening()
            channels = self._channels
            leg = Leg(channels.reactor, channels.linger, sock, peer)
            leg.who = channels.accepts
            self._accepting.callback(leg)
            return
        sock.close()
        if peer.host == self._channels.peer:
            self._isContested = True
        elif not self._warned:
            self._warned = True
            self._log.warn(
                "{peer} wanted a data connection that is for {host}",
                tunnel=self._channels.tunnel or None,
                peer=peer,
                host=self._channels.peer,
            )
