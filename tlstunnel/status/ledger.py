"""
What one process remembers of itself: the counts of its tunnels, the last failures, the rates of the
last minutes, and what its reloads changed.

Everything here is bounded, whatever peers do.  It is filled by whoever serves the tunnels, and read
by L{tlstunnel.status.snapshot}.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tlstunnel.status.counts import Counts
from tlstunnel.status.facts import PullFacts
from tlstunnel.status.rates import INTERVAL_SECONDS, Rates
from tlstunnel.tunnel.record import Record

#: The failures and the reloads that are remembered.
FAILURES = 100
RELOADS = 20

#: What a reload can come to.
Result = Literal["applied", "failed"]


@dataclass(frozen=True)
class Reload:
    """
    What came of reading the configuration again.

    @ivar time: when, in seconds of the reactor's clock.
    @ivar result: whether everything of the new one counts now, or nothing.
    @ivar changes: what it changed, a line each, in our own words: C{tunnel web: added}.
    @ivar problems: why it failed, a line each.
    """

    time: float
    result: Result
    changes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Entry:
    """
    One tunnel: its counts, and how they grew.
    """

    __slots__ = ("counts", "rates")

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.rates = Rates(("connections", "failures", "to_network", "to_plain"), self._now())

    def _now(self) -> tuple[int, int, int, int]:
        return (self.counts.connections, self.counts.failures, *self.counts.carried())

    def sample(self) -> None:
        """
        An interval is over.
        """
        self.rates.sample(self._now())


class Ledger:
    """
    What one process remembers of itself.

    @ivar clock: says what time it is.
    @ivar began: when the process began.
    @ivar entries: by the name of the tunnel.
    @ivar failures: the records of the last connections that did not end cleanly.
    @ivar reloads: the last of them.
    @ivar results: how many reloads came to what.
    @ivar following: tells how the directory is that the pool follows, if it follows one.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self.began = clock.seconds()
        self.entries: dict[str, Entry] = {}
        self.failures: deque[Record] = deque(maxlen=FAILURES)
        self.reloads: deque[Reload] = deque(maxlen=RELOADS)
        self.results: Counter[str] = Counter(applied=0, failed=0)
        self.following: Callable[[], PullFacts | None] = lambda: None
        self._next: IDelayedCall | None = None

    def observer(self, tunnel: str) -> Counts:
        """
        What counts the connections of C{tunnel}: after a reload too, so that counters never fall.
        """
        entry = self.entries.get(tunnel)
        if entry is None:
            entry = self.entries[tunnel] = Entry(Counts(self.failures.append))
        return entry.counts

    def keep(self, tunnels: Collection[str]) -> None:
        """
        Forget all tunnels but C{tunnels}, unless they still have connections.
        """
        for name in list(self.entries):
            if name not in tunnels and not self.entries[name].counts.opened:
                del self.entries[name]

    def reloaded(
        self, result: Result, changes: Collection[str] = (), problems: Collection[str] = ()
    ) -> None:
        """
        The configuration was read again.

        @param changes: see L{Reload}.
        @param problems: see L{Reload}.
        """
        self.results[result] += 1
        now = self.clock.seconds()
        self.reloads.append(Reload(now, result, tuple(changes), tuple(problems)))

    def start(self) -> None:
        """
        Take down from now on how the counts grow.
        """
        if self._next is None:
            self._sampleLater()

    def _sampleLater(self) -> None:
        # All processes of a program end their intervals together, so that they can be added up.
        left = INTERVAL_SECONDS - self.clock.seconds() % INTERVAL_SECONDS
        self._next = self.clock.callLater(left, self._sample)

    def stop(self) -> None:
        """
        Take down nothing more.
        """
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _sample(self) -> None:
        self._sampleLater()
        for entry in self.entries.values():
            entry.sample()
