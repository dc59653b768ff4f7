"""
What was looked up, kept for as long as it counts, and asked for once however many want to know.

Here it is decided who waits for what, as RFC 8767 has it; how something is looked up, others know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from tlstunnel.net.deadlines import Deadlines

T = TypeVar("T")

#: Seconds that a new answer is waited for where there is an old one (RFC 8767, section 5).
PATIENCE_SECONDS = 1.8

#: Seconds until something is looked up again after that has failed, where there is an old answer.
RECHECK_SECONDS = 30.0

#: Seconds that an old answer may serve for, behind its time, when there comes no new one.
STALE_SECONDS = 600.0

#: Answers that are kept: who answers for a name can bring in others.
MOST_ANSWERS = 1000


class _Entry(Generic[T]):
    """
    What is known of one name.

    @ivar value: the last answer.
    @ivar came: when it came.
    @ivar ends: when its time is over.
    @ivar asked: when it was asked for, if that is still going on.
    @ivar recheck: when to ask again at the earliest, as long as there is an old answer.
    """

    __slots__ = ("asked", "came", "ends", "recheck", "value", "waiting")

    def __init__(self) -> None:
        self.forget()
        self.asked: float | None = None
        self.waiting: list[Deferred[None]] = []

    def forget(self) -> None:
        """
        Know nothing of it.
        """
        self.value: T | None = None
        self.came = self.ends = self.recheck = float("-inf")


class Lookups(Generic[T]):
    """
    The answers about names of one kind.
    """

    def __init__(
        self, clock: IReactorTime, ask: Callable[[str], Deferred[tuple[T, float]]]
    ) -> None:
        """
        @param ask: looks a name up; gives the answer, and for how many seconds it counts.
        """
        self._clock = clock
        self._ask = ask
        self._entries: dict[str, _Entry[T]] = {}

    async def get(self, deadlines: Deadlines, name: str, seconds: float) -> T | None:
        """
        What C{name} means now, or did not long ago.

        @param seconds: how long that may take.
        @return: C{None}, if nobody knows in time.
        """
        now = self._clock.seconds()
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = _Entry()
        if now < entry.came:
            # Somebody has put the clock back, and the times say nothing any more.
            entry.forget()
        if now < entry.ends:
            return entry.value
        old = entry.value if now < entry.ends + STALE_SECONDS else None
        if entry.asked is None:
            if old is not None and now < entry.recheck:
                return old
            self._begin(name, entry, now)
        if old is not None and entry.asked is not None:
            seconds = min(seconds, entry.asked + PATIENCE_SECONDS - now)
        if entry.asked is not None and seconds > 0:
            await self._wait(deadlines, entry, seconds)
        if self._clock.seconds() < entry.ends:
            return entry.value
        return old

    async def _wait(self, deadlines: Deadlines, entry: _Entry[T], seconds: float) -> None:
        waiting: Deferred[None] = Deferred(lambda _: None)
        entry.waiting.append(waiting)
        try:
            with deadlines.after(seconds, lambda: waiting.callback(None)):
                await waiting
        finally:
            if waiting in entry.waiting:
                entry.waiting.remove(waiting)

    def _begin(self, name: str, entry: _Entry[T], now: float) -> None:
        entry.asked = now
        # The last to be forgotten.
        self._entries[name] = self._entries.pop(name)
        if len(self._entries) > MOST_ANSWERS:
            self._forget()
        self._ask(name).addBoth(self._answered, entry)

    def _forget(self) -> None:
        for name, each in list(self._entries.items()):
            if len(self._entries) <= MOST_ANSWERS:
                break
            if each.asked is None:
                del self._entries[name]

    def _answered(self, result: tuple[T, float] | Failure, entry: _Entry[T]) -> None:
        now = self._clock.seconds()
        entry.asked = None
        entry.came = now
        if isinstance(result, Failure):
            entry.recheck = now + RECHECK_SECONDS
        else:
            entry.value, lifetime = result
            entry.ends = now + lifetime
        waiting, entry.waiting = entry.waiting, []
        for each in waiting:
            each.callback(None)
