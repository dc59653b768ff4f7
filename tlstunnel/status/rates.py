"""
How much happened in each of the last intervals: what a sparkline shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import add

#: Seconds of one interval, and how many are remembered: ten minutes.
INTERVAL_SECONDS = 10
INTERVALS = 60


class Rates:
    """
    Differences of counters that only grow.

    @ivar names: what is counted.
    """

    __slots__ = ("_before", "_intervals", "names")

    def __init__(self, names: Sequence[str], now: Sequence[int]) -> None:
        """
        @param now: how far each counter is.
        """
        self.names = tuple(names)
        self._before = tuple(now)
        self._intervals: deque[tuple[int, ...]] = deque(maxlen=INTERVALS)

    def sample(self, now: Sequence[int]) -> None:
        """
        An interval is over.
        """
        grown = (after - before for before, after in zip(self._before, now, strict=True))
        self._intervals.append(tuple(grown))
        self._before = tuple(now)

    def shown(self) -> dict[str, list[int]]:
        """
        By name, how much each counter grew in each interval, the oldest first.
        """
        if not self._intervals:
            return {name: [] for name in self.names}
        return dict(zip(self.names, map(list, zip(*self._intervals, strict=True)), strict=True))


class Sum:
    """
    The sum of several series of which the last intervals are the same.

    @ivar values: that of those there were.
    """

    def __init__(self) -> None:
        self.values: list[int] = []

    def add(self, series: Sequence[int]) -> None:
        """
        One more.
        """
        known = self.values
        longer, shorter = (known, series) if len(known) >= len(series) else (series, known)
        start = len(longer) - len(shorter)
        self.values = [*longer[:start], *map(add, longer[start:], shorter)]


def together(series: Sequence[Sequence[int]]) -> list[int]:
    """
    The sum of C{series}.
    """
    total = Sum()
    for each in series:
        total.add(each)
    return total.values
