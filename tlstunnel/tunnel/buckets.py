"""
How often each of many may come: a token bucket for each.

A bucket holds the tokens of one second, or one token where a second has less; to come takes one.
A bucket that is full again is forgotten, and so are the oldest where there are too many: whoever
comes from everywhere fills no memory.
"""

from __future__ import annotations

from collections.abc import Hashable

from twisted.internet.interfaces import IReactorTime

#: Buckets that are kept at most.
MOST_BUCKETS = 100_000

# What may be missing of a token, as times are not exact.
_NEARLY = 1e-3


class Buckets:
    """
    The buckets.

    Instead of its tokens each has the moment at which it will be full.  They are kept in two
    generations: what has not been asked for throughout one of them is full, so that the elder one
    is dropped as a whole.
    """

    def __init__(self, clock: IReactorTime, rate: float, most: int = MOST_BUCKETS) -> None:
        """
        @param rate: tokens a second.
        @param most: buckets that are kept at most; an even number.
        """
        self._clock = clock
        # Times are counted from here: far from 0 they are not exact enough for a high rate.
        self._epoch = clock.seconds()
        self._each = 1 / rate
        self._patience = (max(1.0, rate) - 1 + _NEARLY) / rate
        # How long the emptiest takes to be full.
        self._longest = max(1.0, rate) / rate
        self._half = most // 2
        self._since = 0.0
        self._young: dict[Hashable, float] = {}
        self._old: dict[Hashable, float] = {}

    def __len__(self) -> int:
        """
        How many are kept.
        """
        return len(self._young) + len(self._old)

    def take(self, whose: Hashable) -> bool:
        """
        Take a token, if there is one.
        """
        # The clock may have been set back, so that a moment is farther away than any could be.
        now = self._clock.seconds() - self._epoch
        full = self._young.get(whose)
        if full is None:
            full = self._old.get(whose, now)
        if not 0 < full - now <= self._longest + self._each:
            full = now
        if full - now > self._patience:
            return False
        if not 0 <= now - self._since <= self._longest or len(self._young) >= self._half:
            self._old, self._young, self._since = self._young, {}, now
        self._young[whose] = full + self._each
        return True
