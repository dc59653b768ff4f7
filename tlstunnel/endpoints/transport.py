"""
What a protocol of Twisted has as its transport, at the other end of an L{InnerLeg}.

It does what a TLS transport of Twisted does: everything that protocols may ask of one, half-closed
connections and producers of both kinds included.  Of tunnels it knows the record of its connection
and the leg that carries TLS.

How it works
============

All that the protocol hears, it hears in a turn of its own (L{Turn}): C{makeConnection} first, then
bytes, the end, and C{connectionLost} when all else is over.  What it says goes to the leg at once,
which has its turns as well.  So nothing that a protocol does is done in the middle of ours, and
what it raises ends its own connection.

C{connectionLost} comes once the connection is closed, so that a clean one means that all was sent;
what had arrived before is delivered first, also where the end was none that is clean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import Address
from tlstunnel.endpoints.addresses import twisteds
from tlstunnel.endpoints.interfaces import IVerifiedTransport
from tlstunnel.endpoints.leg import InnerLeg
from tlstunnel.endpoints.producing import Producing
from tlstunnel.endpoints.turn import Turn
from tlstunnel.errors import TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import ILeg
from tlstunnel.tls.channelbinding import ChannelBinding
from tlstunnel.tls.pyopenssl import asX509
from tlstunnel.tunnel.record import Record

#: The most bytes that a protocol is given at once.
PIECE_BYTES = 65536


def nothing() -> None:
    """
    There will be no protocol.
    """


@implementer(IVerifiedTransport)
class Transport(Producing):
    """
    The transport of one protocol.

    @ivar leg: the leg at whose other end we are.
    @ivar record: what is known of the connection.
    @ivar connected: whether the protocol may speak.
    @ivar disconnecting: whether it has said that it will not.
    @ivar failed: what the protocol has raised, if it has.
    """

    _log = Logger()

    record: Record

    def __init__(
        self,
        reactor: Any,
        begin: Callable[[], IProtocol | None],
        met: Callable[[IProtocol], object] | None = None,
    ) -> None:
        """
        @param begin: makes the protocol, in a turn of its own, once there is anything for it to
            hear, or C{open} was called.
        @param met: is given the protocol, once C{open} was called.
        """
        leg = InnerLeg(reactor, self._changed, self._heard)
        super().__init__(leg, Turn(reactor, self._act))
        self.reactor = reactor
        self._begin: Callable[[], IProtocol | None] = begin
        self._met = met
        self._peer: Any = None
        self._host: Address | None = None
        self._certificate: Any = None
        self.channelBinding: ChannelBinding | None = None
        self._isWanted = False
        self._isOpen = False
        self._isPaused = False
        self._isActing = False
        self._isAsked = False
        self._isAborted = False
        self._isTold = False
        self.failed: Failure | None = None
        self._over: Failure | None = None

    # Of whom we are the transport

    def speaksOn(self, network: ILeg, host: Address | None = None) -> None:
        """
        Know the leg that carries TLS, or is going to; at the latest when its peer is verified.

        @param host: the address that the peer has connected to, if others know it better.
        """
        self._peer = network.peer
        self._host = host or self._host or network.local
        self._certificate = network.peerCertificate
        self.channelBinding = network.channelBinding

    def open(self) -> None:
        """
        Let there be a protocol: all that it is to be told of its peer is known.
        """
        self._isWanted = self._isOpen = True
        self._turn.ask()

    def ended(self, error: TunnelError | None) -> None:
        """
        The connection is closed.
        """
        if self._isAborted:
            reason: Exception = ConnectionAborted()
        elif error is None:
            reason = ConnectionDone()
        else:
            reason = ConnectionLost(str(error))
            reason.__cause__ = error
        self._over = self.failed or Failure(reason)
        self.channelBinding = None
        if self.protocol is None:
            self._letGo()
        # There may be no other turn: the reactor may be stopping.
        self._act()

    # What happens

    def _changed(self) -> None:
        """
        The leg has something for us.
        """
        self._isWanted = True
        self._turn.ask()

    def _heard(self) -> None:
        """
        All that we have said was read.
        """
        self._isHeard = True
        self._turn.ask()

    def _act(self) -> None:
        """
        Let the protocol hear what there is.
        """
        if self._isActing:
            self._isAsked = True
            return
        self._isActing = True
        try:
            self._isAsked = True
            while self._isAsked:
                self._isAsked = False
                self._hear()
        finally:
            self._isActing = False

    def _hear(self) -> None:
        if self.protocol is None and self._isWanted and self._over is None:
            self._make()
        if self.protocol is None:
            return
        if self._isOpen and self.failed is None and self._met is not None:
            met, self._met = self._met, None
            met(self.protocol)
        self._deliver()
        self._goOn()
        if self._isAborted:
            self.leg.reset()
        elif self._isLeaving and self.producer is None:
            self.leg.sayEnd()
            self.leg.refuse()
        # Whoever is paused must take the rest of what has ended cleanly.
        isIdle = self._isLeaving or self._isCut or self.leg.isAtEnd
        if self._over is not None and isIdle:
            self._lose(self._over)

    def _make(self) -> None:
        self._isWanted = False
        try:
            protocol = self._begin()
            if protocol is None:
                self.leg.reset("the factory made no protocol")
                return
            self.protocol, self.connected = protocol, True
            protocol.makeConnection(self)
        except BaseException:  # noqa: BLE001 - what a protocol does wrong is its own end
            self._fail()

    def _deliver(self) -> None:
        leg = self.leg
        while not (self._isPaused or self._isLeaving):
            piece = leg.take(PIECE_BYTES)
            if not piece:
                break
            # Which may put another protocol in its place.
            self._call(self.protocol.dataReceived, piece)
        if leg.isAtEnd and not (self._isPaused or self._isTold or self._isLeaving or leg.isReset):
            self._isTold = True
            if self._isCut:
                return
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self._call(self.protocol.readConnectionLost)
            else:
                self.loseConnection()

    @property
    def _isCut(self) -> bool:
        """
        Whether the connection has ended, and not cleanly.
        """
        return self._over is not None and not self._over.check(ConnectionDone)

    def _lose(self, reason: Failure) -> None:
        protocol, self.protocol = self.protocol, None
        assert protocol is not None
        self.connected = False
        producer, self.producer = self.producer, None
        if producer is not None:
            self._call(producer.stopProducing)
        self._call(protocol.connectionLost, reason)
        self._letGo()

    def _letGo(self) -> None:
        """
        Refer to nothing any more that refers to us.
        """
        self._turn.forget()
        self.leg.letGo()
        self._begin = nothing
        self._met = None

    def _call(self, told: Callable[..., object], *arguments: object) -> None:
        """
        Tell the protocol something, or its producer.
        """
        try:
            told(*arguments)
        except BaseException:  # noqa: BLE001 - as above
            self._fail()

    def _fail(self) -> None:
        """
        The protocol has raised: that is its end, as with Twisted's own transports.
        """
        failed = self.failed = Failure()
        self._log.failure("the protocol {protocol!r} failed", failed, protocol=self.protocol)
        # It would keep all that was going on there, us included, and we keep it.
        failed.cleanFailure()
        self._isLeaving = True
        self.leg.reset("the protocol failed")

    # What the protocol may ask for

    def loseConnection(self) -> None:
        """
        Close, once all was sent that was written.
        """
        if self.connected and not self._isLeaving:
            self._isLeaving = self.disconnecting = True
            self._turn.ask()

    def abortConnection(self) -> None:
        """
        Close with a reset, and without close_notify.
        """
        if self.connected and not self._isAborted:
            self._isLeaving = self.disconnecting = self._isAborted = True
            self._turn.ask()

    def pauseProducing(self) -> None:
        """
        Deliver nothing; the peer is made to wait.
        """
        self._isPaused = True

    def resumeProducing(self) -> None:
        """
        Deliver what arrives.
        """
        if self._isPaused and self.connected:
            self._turn.ask()
        self._isPaused = False

    def stopProducing(self) -> None:
        """
        Nothing is wanted any more.
        """
        self.loseConnection()

    # What there is to know

    @property
    def identity(self) -> Identity | None:
        """Who the peer has proved to be."""
        return self.record.identity

    @property
    def version(self) -> str:
        """That of TLS."""
        return self.record.version

    @property
    def suite(self) -> str:
        """Its cipher suite."""
        return self.record.suite

    @property
    def group(self) -> str:
        """The group of its key exchange."""
        return self.record.group

    @property
    def alpn(self) -> bytes:
        """The application protocol agreed on."""
        return self.record.alpn

    @property
    def serverName(self) -> str:
        """What the client has asked for with SNI."""
        return self.record.serverName

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The same as C{alpn}, as Twisted has it."""
        return self.record.alpn or None

    def getPeerCertificate(self) -> Any:
        """
        The certificate of the peer, as pyOpenSSL has it; C{None} if it has shown none.
        """
        return None if self._certificate is None else asX509(self._certificate)

    def getPeer(self) -> Any:
        """
        The address of the peer.
        """
        return twisteds(self._peer)

    def getHost(self) -> Any:
        """
        Our own.
        """
        assert self._host is not None
        return twisteds(self._host)

    def getTcpNoDelay(self) -> bool:
        """
        Nothing that is written is held back.
        """
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        It is so already.
        """

    def getTcpKeepAlive(self) -> bool:
        """
        Whether the system asks now and then whether the peer is still there: see
        L{tlstunnel.tunnel.limits.Limits}.
        """
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        The limits say so.
        """

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        Send several pieces.
        """
        self.write(b"".join(iovec))
