"""
The relay: moving bytes between two legs that are both ready, and closing them properly.

Each direction ends on its own.  What is done when a leg ends is this table::

    seen                                on the other leg
    close_notify, FIN in clear          end of stream, and the other direction goes on until it
                                        ends, with a time limit
    FIN without close_notify            reset, never a clean end
    reset                               reset
    fatal alert, bad record             reset
    no progress for too long            reset
    idle, stop                          end of stream where possible, then both closed

No byte that was received before a clean end is lost.  This module knows legs and filters, and
nothing of dialects; the two legs are equal to it, and either may speak TLS.

How it works
============

A L{Relay} has two L{Direction}s.  Each is the speaker of its source, which calls it with what
arrives, and writes that to its sink.  The legs are each other's producers: while a peer is slow,
its leg pauses the other one, and that is all there is of flow control.

What a direction hears of its source leads to one of these::

    readConnectionLost    C{ended}; the sink's output is ended behind what it has to send
    writeConnectionLost   the other direction has C{ended}: nobody takes what it carries; its
                          source is read on nevertheless, since its end is still to be seen
    connectionLost        both legs are reset; but if this direction has C{ended} before, only the
                          other one is over, as after writeConnectionLost

A relay begins with C{start} and goes through these states, of which each is final for the one
before it::

    both directions pass        until one has ended; limited by C{idle}
    one passes                  until it has ended too; limited by C{close} and C{closeTotal}
    closing                     until both legs are flushed, and a peer that still talks has taken
                                what was sent to it; limited in the same way
    over                        both legs are closed, and C{start}'s Deferred has fired, once

What must never happen:

    - A leg ends cleanly towards its peer although the other one did not, but at a limit or a stop.
    - A leg is closed while its peer may still take what was sent to it; a reset is for failures.
    - A limit counts what a slow peer still takes from the system as standing still.
    - Anything is done to a leg after the relay is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.errors import CloseTimeout, Idle, TunnelError
from tlstunnel.interfaces import IFilter, ILeg, ISpeaker
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.waiting import Waiting
from tlstunnel.tunnel.filtering import Filtering

#: The most bytes that are read from a leg in one turn of the reactor.
RELAY_READ_BYTES = 1048576

#: How often within a limit it is looked at whether anything moved.
LOOKS_PER_LIMIT = 4

#: Seconds to the next look whether a peer that still talks has taken all that was sent to it.
DELIVERY_LOOK_SECONDS = 0.1

#: Seconds in which a slow reader takes something, if it has something to take: it shows in steps of
#: what its kernel regards as worth telling, which may be 64 KiB or more.
SLOW_READER_SECONDS = 60.0


@implementer(ISpeaker)
class Direction:
    """
    One direction of a relay: what speaks on its source leg.

    @ivar ended: whether its source has ended cleanly, or its sink takes no more.
    @ivar dataReceived: passes on what the source says: the sink writes it, or drops it if it takes
        no more.
    """

    __slots__ = ("dataReceived", "ended", "relay", "sink", "source")

    def __init__(self, relay: Relay, source: ILeg, sink: ILeg) -> None:
        self.relay = relay
        self.source = source
        self.sink = sink
        self.ended = False
        self.dataReceived = sink.write

    def readConnectionLost(self) -> None:
        """
        The source ended cleanly: pass that on.
        """
        relay = self.relay
        if relay.heardAll is not None:
            relay.heardAll(self.source)
        # Where the sink takes no more, this is what is still waited for.
        self.ended = True
        relay.directionEnded(self)

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


@implementer(ISpeaker)
class _Nobody:
    """
    Speaks on legs that are closed, so that they do not hold what has spoken there.
    """

    def dataReceived(self, data: bytes | memoryview) -> None:
        """There is nobody to hear it."""

    def readConnectionLost(self) -> None:
        """There is nobody to hear it."""

    writeConnectionLost = handshakeCompleted = readConnectionLost

    def connectionLost(self, reason: Failure) -> None:
        """There is nobody to hear it."""


NOBODY = _Nobody()


class Relay:
    """
    Two legs, joined.

    @ivar toLeft: the direction to the left leg.
    @ivar toRight: the other one.
    @ivar beside: gives a number that changes while something moves that belongs to the two legs;
        then they are not idle.
    @ivar heardAll: is told which leg has ended cleanly, if anything is.
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
        "_isOver",
        "_moved",
        "_progress",
        "beside",
        "heardAll",
        "left",
        "right",
        "toLeft",
        "toRight",
    )

    def __init__(
        self,
        left: ILeg,
        right: ILeg,
        toLeft: Sequence[IFilter],
        toRight: Sequence[IFilter],
        deadlines: Deadlines,
        close: float,
        closeTotal: float,
        idle: float | None,
    ) -> None:
        """
        @param toLeft: what filters the direction to the left leg, in order.
        @param toRight: the same for the other one.
        @param close: seconds without progress that one direction may take after the other's end.
        @param closeTotal: seconds that it may take in all.
        @param idle: seconds without traffic after which both legs are closed, if any.
        """
        self.left = left
        self.right = right
        self.toLeft = Direction(self, right, left)
        self.toRight = Direction(self, left, right)
        self._filters = toLeft, toRight
        self._deadlines = deadlines
        self._close = close
        self._closeTotal = closeTotal
        self._idle = idle
        self._deadline: Deadline | None = None
        self._delivery: Deadline | None = None
        self._firstEnd: float | None = None
        self._isOver = False
        self.beside: Callable[[], int] = int
        self.heardAll: Callable[[ILeg], None] | None = None
        self._finished: Waiting[TunnelError | None] = Waiting(self._cancelled)

    def start(
        self, fromLeft: bytes, fromRight: bytes, leftEnded: bool, rightEnded: bool
    ) -> Waiting[TunnelError | None]:
        """
        Begin, with what the legs have given before: bytes, and whether that was all.

        @return: fires when both legs are closed, with the reason if it was no clean end; to cancel
            it closes them.
        """
        left, right = self.left, self.right
        left.speaker, right.speaker = self.toRight, self.toLeft
        left.readSize = right.readSize = RELAY_READ_BYTES
        left.producer, right.producer = right, left
        toLeft, toRight = self._filters
        del self._filters
        if toLeft:
            Filtering(self.toLeft, toLeft, self._deadlines.clock, self.abort)
        if toRight:
            Filtering(self.toRight, toRight, self._deadlines.clock, self.abort)
        if self._idle:
            self._watch(self._idle)
        if fromLeft:
            left.speaker.dataReceived(fromLeft)
        if fromRight:
            right.speaker.dataReceived(fromRight)
        if leftEnded:
            left.speaker.readConnectionLost()
        if rightEnded:
            right.speaker.readConnectionLost()
        for leg in (left, right):
            if leg.isFlushed and leg.producer is not None:
                leg.producer.resumeProducing()
        return self._finished

    def directionEnded(self, ended: Direction) -> None:
        """
        One direction ended cleanly: that is passed on.  Once both have, the legs are closed when
        they are flushed.
        """
        if self._isOver or (self.toLeft.ended and self.toRight.ended):
            self._closeWhenFlushed()
            return
        ended.sink.loseWriteConnection()
        if self._firstEnd is None:
            self._watch(self._close)
            self._firstEnd = self._moved

    def outputLost(self, lost: Direction) -> None:
        """
        The source of C{lost} takes no more, so that what the other leg says is of no use to
        anybody.
        """
        if self._isOver:
            return
        other = self.toLeft if lost is self.toRight else self.toRight
        other.ended = True
        other.source.resumeProducing()
        self.directionEnded(other)

    def legLost(self, lost: Direction, error: TunnelError) -> None:
        """
        The source of C{lost} was reset, or its TLS failed.

        After that leg's own clean end only the other direction is over, and nothing is amiss but
        that its rest was not wanted.
        """
        if self._isOver:
            return
        if lost.ended:
            self.outputLost(lost)
        else:
            self.abort(error)

    # The end

    def _closeWhenFlushed(self, _: None = None) -> None:
        if self._isOver:
            return
        legs = self.left, self.right
        for leg in legs:
            if leg.isTLS or not leg.inputEnded:
                # Else closing says the same.
                leg.loseWriteConnection()
            if not leg.isFlushed:
                leg.whenFlushed().addCallback(self._closeWhenFlushed)
                return
        for leg in legs:
            if not leg.inputEnded and leg.unacknowledged:
                # It still talks: closing would reset it before it has all that was sent to it.
                self._delivery = self._deadlines.after(
                    DELIVERY_LOOK_SECONDS, self._closeWhenFlushed
                )
                return
        self._finish(None)

    def abort(self, error: TunnelError) -> None:
        """
        Reset both legs.
        """
        self._isOver = True
        self.left.abortConnection()
        self.right.abortConnection()
        self._finish(error)

    def _finish(self, error: TunnelError | None) -> None:
        """
        Close what is still open, and say how it ended.
        """
        self._isOver = True
        finished = self._finished
        if finished.called:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        if self._delivery is not None:
            self._delivery.cancel()
        for leg in (self.left, self.right):
            leg.loseConnection()
            leg.speaker = NOBODY
        # What refers to each other in a circle would wait for the garbage collector.
        del self.toLeft, self.toRight, self._deadline, self._delivery
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
        self._progress: tuple[int, ...] = ()
        self._deadline = self._deadlines.after(seconds / LOOKS_PER_LIMIT, self._look)

    def _look(self) -> None:
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
        limit = max(every, SLOW_READER_SECONDS) if self.isDelivering else every
        if self._firstEnd is None:
            if now - self._moved >= limit:
                self._finish(Idle(f"nothing moved for {limit:g} s"))
                return
        elif now - self._moved >= limit or now - self._firstEnd >= self._closeTotal:
            waited = now - self._firstEnd
            self.abort(CloseTimeout(f"one direction was open {waited:.0f} s after the other"))
            return
        self._deadline = self._deadlines.after(every / LOOKS_PER_LIMIT, self._look)

    @property
    def isDelivering(self) -> bool:
        """
        Whether a peer has not taken yet all that was sent to it.
        """
        legs = self.left, self.right
        return any(not leg.isFlushed or leg.unacknowledged for leg in legs)

    def measure(self) -> tuple[int, ...]:
        """
        Numbers that change when anything moves, also where only a slow peer takes what the system
        has.
        """
        return (*self.left.progress(), *self.right.progress(), self.beside())
