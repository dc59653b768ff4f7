"""
Data connections beside a control connection, as FTP has them.

The far end says on the control connection that it listens at a port.  L{Channels.open} then listens
for the other end, or L{Channels.connect} connects to it, where that listens as well; what comes of
it is a L{Channel}.  This module knows where they are listened for and how many there may be, and
nothing of what is said on a control connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel.address import Address
from tlstunnel.errors import Closed, ConnectFailed, LimitReached, TLSFailed
from tlstunnel.interfaces import ILeg
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.protocols.channels import IChannels
from tlstunnel.tls import belonging
from tlstunnel.tunnel.channel import Channel
from tlstunnel.tunnel.dataports import listenBeside
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.record import Record

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
        tunnel: str = "",
    ) -> None:
        """
        @param record: begins the record of a data connection with this peer.
        @param accepted: the leg of the control connection that was accepted.
        @param dialled: the other one.
        @param network: the one of them that carries TLS.
        @param via: connects through the proxy that the control connection went through.
        @param tunnel: what the log calls the tunnel, if it has a name.
        @raise Closed: if one of them is closed.
        """
        self.reactor = reactor
        self.deadlines = deadlines
        self.linger = linger
        self.limits = limits
        self.record = record
        self.network = network
        self.via = via
        self.tunnel = tunnel
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
        for channel in self._channels:
            # The client has come to these, and asks for the next: else it could take many ports of
            # a range, for as long as it begins no TLS on them.
            channel.expectNobody()
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
                tunnel=self.tunnel or None,
                peer=self.peer,
                problem=error.detail,
            )
        self._full = (self.deadlines.clock.seconds() + FULL_SECONDS, error.detail)

    def demandResumption(self) -> None:
        """
        See L{IChannels.demandResumption}.
        """
        session = self.network.session
        if not belonging.IS_SUPPORTED:
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
