"""
One timer structure for all connections.

A tunnel has few distinct limits and many connections, so that deadlines of the same length expire
in the order in which they were set: a queue for each length, and one delayed call of the clock for
the head of each queue.  Setting and cancelling a deadline costs a dictionary entry.  Of very many
that are due at once some expire in each turn of the reactor, so that others have their turns in
between.  This module knows a clock, and nothing of connections.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Self

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tlstunnel.errors import TimedOut

#: Deadlines of one length that expire in one turn of the reactor: each may end a connection.
EXPIRED_PER_TURN = 32


class Deadline:
    """
    A moment at which something will be called, unless it is cancelled before.
    """

    __slots__ = ("_expired", "_queue", "due")

    def __init__(self, queue: _Queue, due: float, expired: Callable[[], Any]) -> None:
        self._queue: _Queue | None = queue
        self.due = due
        self._expired = expired

    @property
    def isPending(self) -> bool:
        """
        Whether it is still to come.
        """
        return self._queue is not None

    def cancel(self) -> None:
        """
        Forget this deadline; does nothing if it has passed or was cancelled.
        """
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.pending.pop(self, None)

    def __enter__(self) -> Self:
        """
        As a context manager it is cancelled when the block ends.
        """
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: object
    ) -> None:
        """
        The block has ended.
        """
        self.cancel()

    def expire(self) -> None:
        """
        Call what this deadline is for, once.
        """
        self._queue = None
        self._expired()


class TimeLimit(Deadline):
    """
    A block of a coroutine that has to end in time::

        with deadlines.within(15.0, "the TLS handshake", running.cancel):
            await ...

    When the time has passed, what the block awaits is cancelled, and the block raises L{TimedOut}.

    @ivar hasPassed: whether it did not end in time.
    """

    __slots__ = ("_seconds", "_what", "hasPassed")

    def __init__(
        self, queue: _Queue, due: float, cancel: Callable[[], Any], seconds: float, what: str
    ) -> None:
        self._queue = queue
        self.due = due
        self._expired = cancel
        self.hasPassed = False
        self._seconds = seconds
        self._what = what

    def expire(self) -> None:
        """
        Cancel what the block awaits.
        """
        self.hasPassed = True
        super().expire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: object
    ) -> None:
        """
        The block has ended.

        @raise TimedOut: if it was not in time, and nothing else was wrong.
        """
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.pending.pop(self, None)
        if self.hasPassed and (kind is None or kind is CancelledError):
            raise TimedOut(f"{self._what} took longer than {self._seconds:g} s") from None


class _Queue:
    """
    All pending deadlines of one length, the earliest first.
    """

    __slots__ = ("call", "pending")

    def __init__(self) -> None:
        self.pending: dict[Deadline, None] = {}
        self.call: IDelayedCall | None = None


class Deadlines:
    """
    Deadlines on one clock.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self._queues: dict[float, _Queue] = {}

    def after(self, seconds: float, expired: Callable[[], Any]) -> Deadline:
        """
        Call C{expired} once C{seconds} have passed.
        """
        queue = self._queues.get(seconds) or self._queueFor(seconds)
        deadline = Deadline(queue, self.clock.seconds() + seconds, expired)
        queue.pending[deadline] = None
        return deadline

    def _queueFor(self, seconds: float) -> _Queue:
        """
        Make the queue for a length that has none.
        """
        queue = self._queues[seconds] = _Queue()
        queue.call = self.clock.callLater(seconds, self._expire, seconds, queue)
        return queue

    def within(self, seconds: float, what: str, cancel: Callable[[], object]) -> TimeLimit:
        """
        Limit a block of a coroutine to C{seconds} from now, whatever happens meanwhile.

        @param what: is said to have taken longer.
        @param cancel: called then; cancels what the block awaits.
        """
        queue = self._queues.get(seconds) or self._queueFor(seconds)
        limit = TimeLimit(queue, self.clock.seconds() + seconds, cancel, seconds, what)
        queue.pending[limit] = None
        return limit

    def clear(self) -> None:
        """
        Forget all deadlines.
        """
        for queue in self._queues.values():
            queue.pending.clear()
            if queue.call is not None:
                queue.call.cancel()
                queue.call = None
        self._queues.clear()

    def _expire(self, seconds: float, queue: _Queue) -> None:
        """
        Expire what is due in C{queue}, then wait for its new head, or drop it if it is empty.
        """
        queue.call = None
        now = self.clock.seconds()
        pending = queue.pending
        due = [each for each in islice(pending, EXPIRED_PER_TURN) if each.due <= now]
        try:
            for each in due:
                # One of the others may have cancelled it.
                if each in pending:
                    del pending[each]
                    each.expire()
        finally:
            if not queue.pending:
                if self._queues.get(seconds) is queue:
                    del self._queues[seconds]
            elif queue.call is None:
                head = next(iter(queue.pending))
                queue.call = self.clock.callLater(
                    max(0.0, head.due - now), self._expire, seconds, queue
                )
