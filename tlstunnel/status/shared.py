"""
What takes its time to make, made once for all who want it at about the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")

#: So old an answer may be, in seconds: however often somebody asks, it is made so often at most.
FRESH_SECONDS = 1.0


class Shared(Generic[T]):
    """
    The last that was made, as long as it is fresh.
    """

    def __init__(self, clock: IReactorTime, make: Callable[[], Deferred[T]]) -> None:
        self._clock = clock
        self._make = make
        self._waiting: list[Deferred[T]] = []
        self._last: T | None = None
        self._due = float("-inf")

    def get(self) -> Deferred[T]:
        """
        One that is fresh, or a new one.
        """
        if self._last is not None:
            if self._clock.seconds() < self._due:
                return succeed(self._last)
            self._last = None
        waiting: Deferred[T] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            self._make().addBoth(self._made)
        return waiting

    def _made(self, result: T | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        if not isinstance(result, Failure):
            self._last = result
            self._due = self._clock.seconds() + FRESH_SECONDS
        for each in waiting:
            each.callback(result)
