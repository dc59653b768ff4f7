"""
The relay: moving bytes between two legs that are both ready, and closing them properly.

Each direction ends on its own.  What is done when a leg ends is this table::

    seen                            on which leg    done on the other leg
    close_notify, FIN in clear      either          end of stream is passed on, the other direction
                                                    goes on until it ends, with a time limit
    FIN without close_notify        network         reset, never a clean end
    reset                           either          reset
    fatal alert, bad record         network         reset
    idle, stop                      -               end of stream where possible, then both closed

No byte that was received before a clean end is lost.  This module knows legs and filters, and
nothing of dialects.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tlstunnel.errors import CloseTimeout, Idle, TunnelError
from tlstunnel.interfaces import IFilter
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.leg import BULK, Leg
from tlstunnel.tunnel.filtering import Filtering

#: How often within a limit it is looked at whether anything moved.
SAMPLES = 4

#: Seconds to the next look whether a peer whose own words nobody wants has got all of ours.
DELIVERY = 0.1

#: Seconds in which a slow reader takes something, if it has something to take: it shows in steps of
#: what its kernel regards as worth telling, which may be 64 KiB or more.
SLOWEST = 60.0

# Of the struct tcp_info of Linux: its first byte is the state, at 120 is tcpi_bytes_acked.
_BYTES_ACKED = struct.Struct("=120xQ")
_TCP_CLOSE = b"\x07"


class Direction:
    """
    One direction of a relay: what speaks on its source leg.

    @ivar ended: whether its source has ended cleanly, or its sink takes no more.
    """

    __slots__ = ("ended", "relay", "sink", "source")

    def __init__(self, relay: Relay, source: Leg, sink: Leg) -> None:
        self.relay = relay
        self.source = source
        self.sink = sink
        self.ended = False

    def dataReceived(self, data: bytes | memoryview) -> None:
        """
        Pass C{data} on.
        """
        # Else the sink takes no more.
        if not self.ended:
            self.sink.write(data)

    def readConnectionLost(self) -> None:
        """
        The source ended cleanly: pass that on.
        """
        if self.ended:
            return
        self.ended = True
        if not self.relay.bothEnded:
            self.sink.loseWriteConnection()
        self.relay.directionEnded()

    def writeConnectionLost(self) -> None:
        """
        The source's peer takes no more.
        """
        self.relay.outputLost(self)

    def handshakeCompleted(self) -> None:
        """
        Never called: the relay begins when TLS is up.
        """

    def connectionLost(self, reason: Failure) -> None:
        """
        The source leg is gone.
        """
        error = reason.value
        assert isinstance(error, TunnelError)
        self.relay.legLost(self, error)


class Relay:
    """
    Two legs, joined.

    @ivar beside: gives a number that changes while something moves that belongs to the two legs;
        then they are not idle.
    """

    __slots__ = (
        "_close",
        "_closeTotal",
        "_deadline",
        "_deadlines",
        "_delivery",
        "_filters",
        "_finished",
        "_firstEnd",
        "_idle",
        "_moved",
        "_progress",
        "beside",
        "network",
        "plain",
        "toNetwork",
        "toPlain",
    )

    def __init__(
        self,
        network: Leg,
        plain: Leg,
        toPlain: Sequence[IFilter],
        toNetwork: Sequence[IFilter],
        deadlines: Deadlines,
        close: float,
        closeTotal: float,
        idle: float | None,
    ) -> None:
        """
        @param close: seconds without progress that one direction may take after the other's end.
        @param closeTotal: seconds that it may take in all.
        @param idle: seconds without traffic after which both legs are closed, if any.
        """
        self.network = network
        self.plain = plain
        self.toPlain = Direction(self, network, plain)
        self.toNetwork = Direction(self, plain, network)
        self._filters = ((self.toPlain, toPlain), (self.toNetwork, toNetwork))
        self._deadlines = deadlines
        self._close = close
        self._closeTotal = closeTotal
        self._idle = idle
        self._deadline: Deadline | None = None
        self._delivery: Deadline | None = None
        self._firstEnd: float | None = None
        self._moved = 0.0
        self._progress: tuple[int, ...] = ()
        self.beside: Callable[[], int] = int
        self._finished: Deferred[TunnelError | None] = Deferred(self._cancelled)

    def start(
        self, fromNetwork: bytes, fromPlain: bytes, networkEnded: bool, plainEnded: bool
    ) -> Deferred[TunnelError | None]:
        """
        Begin, with what the legs have given before: bytes, and whether that was all.

        @return: fires when both legs are closed, with the reason if it was no clean end.
        """
        network, plain = self.network, self.plain
        network.speaker, plain.speaker = self.toPlain, self.toNetwork
        network.readSize = plain.readSize = BULK
        network.producer, plain.producer = plain, network
        for direction, filters in self._filters:
            if filters:
                Filtering(direction, filters, self._deadlines.clock, self.abort)
        del self._filters
        if self._idle:
            self._watch(self._idle)
        if fromNetwork:
            network.speaker.dataReceived(fromNetwork)
        if fromPlain:
            plain.speaker.dataReceived(fromPlain)
        if networkEnded:
            network.speaker.readConnectionLost()
        if plainEnded:
            plain.speaker.readConnectionLost()
        for leg in (network, plain):
            if leg.isFlushed and leg.producer is not None:
                leg.producer.resumeProducing()
        return self._finished

    @property
    def bothEnded(self) -> bool:
        """
        Whether nothing more is to come from either leg.
        """
        return self.toPlain.ended and self.toNetwork.ended

    def directionEnded(self) -> None:
        """
        One direction ended cleanly; once both have, the legs are closed when they are flushed.
        """
        if self.bothEnded:
            self._closeWhenFlushed()
        elif self._firstEnd is None:
            self._firstEnd = self._deadlines.clock.seconds()
            self._watch(self._close)

    def _closeWhenFlushed(self) -> None:
        for leg in (self.network, self.plain):
            if not leg.isClosed:
                if leg.tls is not None or not leg.inputEnded:
                    # Else closing says the same.
                    leg.loseWriteConnection()
                if not leg.isFlushed:
                    leg.producer = _Drained(self._closeWhenFlushed)  # type: ignore[assignment]
                    return
        for leg in (self.network, self.plain):
            if not (leg.isClosed or leg.inputEnded) and _unsent(leg):
                # It still talks: closing would reset it before it has all that was sent to it.
                self._delivery = self._deadlines.after(DELIVERY, self._closeWhenFlushed)
                return
        self._finish(None)

    def outputLost(self, lost: Direction) -> None:
        """
        The peer of a leg takes no more, so that what the other one says is of no use to anybody.
        """
        other = self.toPlain if lost is self.toNetwork else self.toNetwork
        other.ended = True
        if not other.source.isClosed:
            other.source.resumeProducing()
        self.directionEnded()

    def legLost(self, lost: Direction, error: TunnelError) -> None:
        """
        A leg was reset, or its TLS failed.

        After that leg's own clean end only the other direction is over, and nothing is amiss but
        that its rest was not wanted.
        """
        if lost.ended:
            self.outputLost(lost)
        else:
            self.abort(error)

    def abort(self, error: TunnelError) -> None:
        """
        Reset both legs.
        """
        self.network.abortConnection()
        self.plain.abortConnection()
        self._finish(error)

    def _finish(self, error: TunnelError | None) -> None:
        """
        Close what is still open, and say how it ended.
        """
        for deadline in (self._deadline, self._delivery):
            if deadline is not None:
                deadline.cancel()
        self.network.loseConnection()
        self.plain.loseConnection()
        finished = self._finished
        if not finished.called:
            finished.callback(error)

    def _cancelled(self, finished: Deferred[TunnelError | None]) -> None:
        self._finish(None)

    # Limits

    def _watch(self, seconds: float) -> None:
        """
        From now on, look now and then whether anything moved within the last C{seconds}.
        """
        if self._deadline is not None:
            self._deadline.cancel()
        self._moved = self._deadlines.clock.seconds()
        # Measured when it is first looked at: most connections have ended by then.
        self._progress = ()
        self._deadline = self._deadlines.after(seconds / SAMPLES, self._sample)

    def _sample(self) -> None:
        """
        Act on a limit that has passed.
        """
        now = self._deadlines.clock.seconds()
        progress = self.measure()
        if not self._progress:
            self._progress = progress
        elif progress != self._progress:
            self._moved, self._progress = now, progress
        every = self._idle if self._firstEnd is None else self._close
        assert every is not None
        limit = max(every, SLOWEST) if self.isDelivering else every
        if self._firstEnd is None:
            if now - self._moved >= limit:
                self._finish(Idle(f"nothing moved for {limit:g} s"))
                return
        else:
            if now - self._moved >= limit or now - self._firstEnd >= self._closeTotal:
                waited = now - self._firstEnd
                self.abort(CloseTimeout(f"one direction was open {waited:.0f} s after the other"))
                return
        self._deadline = self._deadlines.after(every / SAMPLES, self._sample)

    @property
    def isDelivering(self) -> bool:
        """
        Whether a peer has not taken yet all that was sent to it.
        """
        legs = (self.network, self.plain)
        return any(not leg.isClosed and (not leg.isFlushed or _unsent(leg) > 0) for leg in legs)

    def measure(self) -> tuple[int, ...]:
        """
        Numbers that change when anything moves, also where only a slow peer empties our socket.
        """
        return (
            self.network.received,
            self.network.sent,
            self.plain.received,
            self.plain.sent,
            _taken(self.network),
            _taken(self.plain),
            self.beside(),
        )


class _Drained:
    """
    Stands for the producer of a leg that is about to be closed: told when the leg is flushed.
    """

    def __init__(self, flushed: Callable[[], None]) -> None:
        self._flushed = flushed

    def pauseProducing(self) -> None:
        """
        There is nothing to pause.
        """

    def resumeProducing(self) -> None:
        """
        The leg is flushed.
        """
        self._flushed()


def _tcpInfo(leg: Leg) -> bytes:
    """
    What Linux tells of the TCP connection of C{leg} (tcp(7)); nothing of other sockets.
    """
    try:
        return leg.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    except OSError:
        return b""


def _taken(leg: Leg) -> int:
    """
    A number that changes as the peer of C{leg} takes what was sent to it.
    """
    info = _tcpInfo(leg)
    return int(_BYTES_ACKED.unpack(info)[0]) if len(info) == _BYTES_ACKED.size else _queued(leg)


def _unsent(leg: Leg) -> int:
    """
    Bytes that the peer of C{leg} has not taken yet, and still may.
    """
    return 0 if _tcpInfo(leg)[:1] == _TCP_CLOSE else _queued(leg)


def _queued(leg: Leg) -> int:
    """
    Bytes that the peer of C{leg} has not yet acknowledged (SIOCOUTQ, which is TIOCOUTQ).
    """
    try:
        packed = fcntl.ioctl(leg.sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", packed)[0])
