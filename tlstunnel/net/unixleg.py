"""
The plain legs of a service that are UNIX sockets.

L{UNIXLegs} makes them.  Each is a L{Leg} but for three things: it leaves a byte unread
(L{tlstunnel.net.unixwire}), so it is told of news instead of watching the socket
(L{tlstunnel.net.edges}), and where that cannot turn closing into a reset, its socket is held
(L{tlstunnel.net.hold}).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.python.failure import Failure

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.edges import AVAILABLE, ENDED, Edges
from tlstunnel.net.hold import Hold
from tlstunnel.net.kernel import unread
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger, discard
from tlstunnel.net.unixsocket import UNIXSocket
from tlstunnel.net.unixwire import Kept


class UNIXLegs:
    """
    Makes them, and closes their sockets.

    @ivar marksEnd: whether what is spoken says itself where data ends, so that no socket has to be
        held.
    @ivar seconds: for which one may be held; 0 for no limit.
    """

    def __init__(self, reactor: Any, linger: Linger, deadlines: Deadlines) -> None:
        self.reactor = reactor
        self.linger = linger
        self.edges = Edges(reactor)
        self.hold = Hold(self.edges, deadlines)
        self.marksEnd = False
        self.seconds = 0.0

    def open(self, key: str) -> None:
        """
        Be ready for legs that are UNIX sockets.

        @param key: of the setting that says that there will be any; empty if there will not.
        @raise ConfigurationError: if they could not be told of news.
        """
        if key and AVAILABLE:
            try:
                self.edges.open()
            except OSError as error:
                raise ConfigurationError(
                    f"`{key}`",
                    f"has UNIX sockets, and there is no descriptor to watch them: {error.strerror}",
                    "raise the limit of open files (LimitNOFILE in a unit)",
                ) from None

    def renew(self, name: str, marksEnd: bool, seconds: float) -> None:
        """
        What is true of the legs from now on.

        @param name: what the log calls the tunnel, if it has a name.
        """
        self.hold.name = name
        self.marksEnd = marksEnd
        self.seconds = seconds

    def leg(
        self,
        sock: socket.socket,
        peer: TCPAddress | UNIXAddress,
        below: Any = None,
        isTold: Callable[[], bool] = bool,
        isFresh: bool = False,
    ) -> Leg:
        """
        A leg; see L{Leg} for what it is made of.

        @param isTold: whether its peer learns in another way that something was cut, so that its
            socket need not be held.
        @param isFresh: whether its peer has not had its socket yet.
        """
        if below is None:
            sock = UNIXSocket.of(sock, isFresh)
        if not AVAILABLE:
            return Leg(self.reactor, self.linger, sock, peer, below)
        return UNIXLeg(self, sock, peer, below, isTold)

    def closeAll(self) -> None:
        """
        Close what is held: the service has ended.
        """
        self.hold.closeAll()
        self.edges.close()


class UNIXLeg(Leg):
    """
    A leg whose peer sees a reset where there is one.
    """

    __slots__ = ("_edges",)

    _kind: ClassVar[type[Kept]] = Kept

    # Seconds for which its socket may be held; 0 for what the tunnel says.
    _longest: ClassVar[float] = 0.0

    _wire: Kept

    def __init__(
        self,
        legs: UNIXLegs,
        sock: socket.socket,
        peer: TCPAddress | UNIXAddress,
        below: Any,
        isTold: Callable[[], bool] = bool,
    ) -> None:
        wire = self._kind(sock)
        closing = _Closing(legs, sock, wire, below, self._longest, isTold)
        super().__init__(legs.reactor, legs.linger, sock, peer, closing)
        self._wire = wire
        self._edges = legs.edges

    def startReading(self) -> None:
        """
        Call C{changed} at once, if there is anything, and when there is more.
        """
        if not self._reading:
            self._reading = True
            self._edges.watch(self.sock.fileno(), self)

    def stopReading(self) -> None:
        """
        Do not call C{changed} any more.
        """
        if self._reading:
            self._reading = False
            self._edges.forget(self.sock.fileno())

    def changed(self, event: int) -> None:
        """
        The socket may have something for us.
        """
        wire = self._wire
        if event & ENDED:
            wire.isEnding = True
        self.doRead()
        if self._reading and not wire.isDry:
            self._edges.again(self.sock.fileno())

    def pendingInput(self, count: int = 1) -> bytes:
        """
        See L{tlstunnel.interfaces.ILeg.pendingInput}: what was passed on is read.
        """
        kept = self._wire.kept
        return super().pendingInput(count + kept)[kept:]

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        self.stopReading()
        super().connectionLost(reason)


class _Closing:
    """
    Closes the socket of a leg, in the place of the stock transport that owns it, if one does.
    """

    __slots__ = ("_below", "_isTold", "_legs", "_longest", "_sock", "_wire")

    def __init__(
        self,
        legs: UNIXLegs,
        sock: socket.socket,
        wire: Kept,
        below: Any,
        longest: float,
        isTold: Callable[[], bool],
    ) -> None:
        self._legs = legs
        self._sock = sock
        self._wire = wire
        self._below = below
        self._longest = longest
        self._isTold = isTold

    def loseConnection(self) -> None:
        """
        Close it, with nothing unread.
        """
        if self._below is None:
            self._legs.linger.closeGently(self._sock)
        else:
            discard(self._sock)
            self._below.loseConnection()

    def abortConnection(self) -> None:
        """
        Close it so that its peer sees a reset, or has no reason to think that it has all; or hold
        it.
        """
        legs, wire = self._legs, self._wire
        close = self._sock.close if self._below is None else self._below.abortConnection
        isClear = legs.marksEnd or self._isTold()
        if isClear or wire.hasEnded or not wire.sent or unread(self._sock):
            close()
        else:
            legs.hold.hold(self._sock, close, self._longest or legs.seconds)
