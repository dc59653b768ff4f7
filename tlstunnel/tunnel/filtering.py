"""
The filters of one direction of a relay, and how much of a turn of the reactor they may take.

A message may be a single byte, so that what one read brings can be thousands of messages.  A
L{Filtering} therefore works through what arrived in pieces, small ones unless a filter says that it
only searches, and when the budget of a turn is used up, it goes on in the next one; all other
connections have their turn in between.  It stands between the two legs in both respects:

    - It speaks on the source, which reads one record at a time and is paused while there is
      something left to do.  What the source has to tell behind its last byte, its end or its
      loss, waits until all before it has passed.
    - It is what the sink pauses and resumes.

A filter may have something to say of its own (L{ISpontaneous}): it is asked for it in a turn of its
own.

Once all filters are done it makes way: from then on the direction itself speaks on the source, the
source is the sink's producer, and reads are as large as they were to be.

What must never happen: that bytes pass each other, that a byte passes behind the end, that
anything is fed to a filter when the sink takes no more, or that the source is resumed while the
backlog is not empty, which would then grow without limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.errors import TunnelError
from tlstunnel.interfaces import IFilter, ISpeaker, ISpontaneous
from tlstunnel.protocols.weakly import weakly
from tlstunnel.tls.records import RECORD_BYTES

#: Bytes that filters look at in one turn of the reactor, and messages.
MAX_BYTES_PER_TURN = 16384
MAX_MESSAGES_PER_TURN = 128


class Filtered(Protocol):
    """
    A direction of a relay, as far as its filters know it.

    @ivar ended: whether its source has ended cleanly, or its sink takes no more.
    """

    ended: bool
    source: Any
    sink: Any

    def readConnectionLost(self) -> None:
        """
        The source ended cleanly.
        """

    def writeConnectionLost(self) -> None:
        """
        The source's peer takes no more.
        """

    def connectionLost(self, reason: Failure) -> None:
        """
        The source is gone.
        """


@implementer(ISpeaker, IPushProducer)
class Filtering:
    """
    Passes what the source says through filters to the sink, until they are done.
    """

    __slots__ = (
        "__weakref__",
        "_abort",
        "_backlog",
        "_blocked",
        "_busy",
        "_clock",
        "_direction",
        "_filters",
        "_isWoken",
        "_last",
        "_readSize",
        "_spontaneous",
    )

    _log = Logger()

    def __init__(
        self,
        direction: Filtered,
        filters: Sequence[IFilter],
        clock: IReactorTime,
        abort: Callable[[TunnelError], None],
    ) -> None:
        """
        @param direction: whose place this takes for the time being.
        @param filters: those that bytes pass, in this order; at least one.
        @param clock: the reactor, whose turns are shared.
        @param abort: resets both legs.
        """
        self._direction = direction
        self._filters = list(filters)
        self._clock = clock
        self._abort = abort
        self._backlog = bytearray()
        # Whether the sink is slower than the source, and whether a turn is under way or to come.
        self._blocked = not direction.sink.isFlushed
        self._busy = False
        # What the source told last, which is due when the backlog is empty.
        self._last: Callable[[], None] | None = None
        # Whether a filter has something to say of its own.
        self._isWoken = False
        self._spontaneous = [each for each in self._filters if ISpontaneous.providedBy(each)]
        for each in self._spontaneous:
            each.wake = weakly(self._wake)
        source = direction.source
        self._readSize = source.readSize
        source.speaker = self
        source.readSize = RECORD_BYTES
        direction.sink.producer = self

    # What the source tells

    def dataReceived(self, data: bytes | memoryview) -> None:
        """
        Pass C{data} on, now or in later turns.
        """
        self._backlog += data
        if not (self._busy or self._blocked):
            self._turn()

    def readConnectionLost(self) -> None:
        """
        The source ended cleanly; so does the direction, behind the last byte.
        """
        if self._busy or self._hasMore:
            self._last = self._end
            self._go()
        elif not self._direction.sink.isClosed:
            self._busy = True
            self._end()

    def connectionLost(self, reason: Failure) -> None:
        """
        The source is gone; what it had said before is still passed on.
        """
        self._last = partial(self._direction.connectionLost, reason)
        self._go()

    def writeConnectionLost(self) -> None:
        """
        The source's peer takes no more, which concerns the other direction.
        """
        self._direction.writeConnectionLost()

    def handshakeCompleted(self) -> None:
        """
        Never called: the relay begins when TLS is up.
        """

    # What the sink tells

    def pauseProducing(self) -> None:
        """
        The sink's peer is slower than the source.
        """
        self._blocked = True
        self._direction.source.pauseProducing()

    def resumeProducing(self) -> None:
        """
        The sink has sent all that it had.
        """
        self._blocked = False
        if self._hasMore or self._last is not None:
            self._go()
        else:
            self._direction.source.resumeProducing()

    def stopProducing(self) -> None:
        """
        The sink is gone for good.
        """
        self._direction.source.stopProducing()

    # Turns

    def _wake(self) -> None:
        """
        One of the filters has something to say, in a later turn: this one is about something else.
        """
        self._isWoken = not self._direction.ended
        if self._isWoken and not (self._busy or self._blocked):
            self._busy = True
            self._clock.callLater(0, self._later)

    def _go(self) -> None:
        """
        Go on, unless that is for a later turn, or for the sink to say.
        """
        # What a source has said that says no more has an end: it is not held up.
        if not self._busy and (self._last is not None or not self._blocked):
            self._turn()

    def _turn(self) -> None:
        """
        Do what one turn of the reactor has room for.
        """
        self._busy = True
        direction, backlog = self._direction, self._backlog
        source, sink = direction.source, direction.sink
        error = None
        if self._hasMore and not (direction.ended or sink.isClosed):
            error = self._pass()
        if sink.isClosed:
            # That is the end of both legs.
            return
        if direction.ended:
            # Nobody takes it: only how the source ends is still of interest.
            backlog.clear()
            self._isWoken = False
        if error is not None:
            self._abort(error)
        elif self._hasMore and not direction.ended:
            source.pauseProducing()
            self._clock.callLater(0, self._later)
        elif self._last is not None:
            last, self._last = self._last, None
            last()
        else:
            self._busy = False
            if not self._filters:
                self._makeWay()
            if not self._blocked:
                source.resumeProducing()

    @property
    def _hasMore(self) -> bool:
        """
        Whether there is something to do: what arrived, what a filter has let lie, or has to say.
        """
        return (
            bool(self._backlog) or self._isWoken or 0 in [each.pieceBytes for each in self._filters]
        )

    def _later(self) -> None:
        self._busy = False
        self._go()

    def _pass(self) -> TunnelError | None:
        """
        Pass on what the budget allows of the backlog, and all of it once the filters are done.

        @return: why the connection must end, if it must.
        """
        backlog, filters = self._backlog, self._filters
        passed = bytearray()
        error = None
        at = messages = 0
        isWoken, self._isWoken = self._isWoken, False
        most = min(len(backlog), MAX_BYTES_PER_TURN)
        try:
            while filters and messages < MAX_MESSAGES_PER_TURN:
                piece = min([each.pieceBytes for each in filters])
                if piece and at >= most and not isWoken:
                    break
                start, at = at, min(at + piece, most)
                data = bytes(backlog[start:at])
                if not piece:
                    # One that goes on with what it let lie is not asked for ever.
                    messages += 1
                for each in tuple(filters):
                    if data or not each.pieceBytes or (isWoken and each in self._spontaneous):
                        before = each.messages
                        data = each.feed(data)
                        messages += each.messages - before
                    if each.done:
                        data += each.flush()
                        filters.remove(each)
                passed += data
                isWoken = False
        except TunnelError as ended:
            error = ended.by(self._direction.source.who)
        except Exception:  # noqa: BLE001 - a bug of ours must not spread
            error = self._bug()
        if not filters:
            passed += backlog[at:]
            backlog.clear()
        else:
            del backlog[:at]
        if passed:
            self._direction.sink.write(bytes(passed))
        return error

    def _bug(self) -> TunnelError:
        """
        One of the filters raised what it must not.
        """
        self._log.failure("a filter failed")
        return TunnelError("see the traceback above")

    # Ends

    def _end(self) -> None:
        """
        The source has ended, and all that it had said was passed to the filters.
        """
        data = b""
        try:
            for each in self._filters:
                data = (each.feed(data) if data else b"") + each.flush()
        except TunnelError as error:
            self._abort(error.by(self._direction.source.who))
            return
        except Exception:  # noqa: BLE001 - a bug of ours must not spread
            self._abort(self._bug())
            return
        if data:
            self._direction.sink.write(data)
        self._makeWay()
        self._direction.readConnectionLost()

    def _makeWay(self) -> None:
        """
        There is nothing left to filter.
        """
        source, sink = self._direction.source, self._direction.sink
        source.speaker = self._direction
        source.readSize = self._readSize
        if sink.producer is self:
            sink.producer = source
