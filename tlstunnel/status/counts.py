"""
What is counted of one tunnel.

Every connection of a busy tunnel passes here, so that there are plain numbers, and nothing is
looked up, made into text or locked.  What others call the numbers is not known here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from tlstunnel.address import Address
from tlstunnel.tunnel.observers import Observer
from tlstunnel.tunnel.record import CLEAN, Record
from tlstunnel.tunnel.sources import REFUSALS

#: The upper bounds of the classes of durations, in seconds: from a handshake on the same host to
#: the time limits.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


#: Connections that have ended, and are counted together.
LOT = 100


class Histogram:
    """
    How many durations there were of each class.

    @ivar counts: a number for each of L{BOUNDS}, and one for what is longer.
    @ivar seconds: the sum of all durations.
    """

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """
        Count one more.
        """
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def copy(self) -> Histogram:
        """
        Another one with the same durations.
        """
        other = Histogram()
        other.counts[:] = self.counts
        other.seconds = self.seconds
        return other


class Counts(Observer):
    """
    Counts the connections of one tunnel.

    A connection only comes and goes here; what it was is counted in lots, or when somebody looks,
    which takes less than to look at each by itself.

    @ivar opened: those that have not ended, the oldest first.
    @ivar refusals: how many were refused for where they came from, by reason; they are not counted
        otherwise.
    """

    def __init__(self, failed: Callable[[Record], object]) -> None:
        """
        @param failed: called with each record that did not end cleanly.
        """
        self._failed = failed
        self.opened: dict[Record, None] = {}
        # Those that have ended, and are not among the following.
        self._fresh: list[Record] = []
        self._connections = 0
        self._outcomes: dict[str, int] = {CLEAN: 0}
        self._negotiation = Histogram()
        self._handshake = Histogram()
        self._resumed = 0
        self._toNetwork = 0
        self._toPlain = 0
        self.refusals = dict.fromkeys(REFUSALS, 0)

    def refused(self, peer: Address, reason: str) -> None:
        """
        A connection was refused for where it came from.
        """
        self.refusals[reason] += 1

    def began(self, record: Record) -> None:
        """
        A connection was accepted.
        """
        self.opened[record] = None

    def ended(self, record: Record) -> None:
        """
        It is over.
        """
        self.opened.pop(record, None)
        self._fresh.append(record)
        if record.error is not None:
            self._failed(record)
        if len(self._fresh) >= LOT:
            self._count()

    def _count(self) -> None:
        """
        Count those that have ended.
        """
        for record in self._fresh:
            self._connections += 1
            self._toNetwork += record.toNetwork
            self._toPlain += record.toPlain
            outcome = record.outcome
            self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
            if record.handshaken is not None:
                self._handshake.add(record.handshaken)
                self._resumed += record.isResumed
            if record.negotiated is not None:
                self._negotiation.add(record.negotiated)
        self._fresh.clear()

    @property
    def connections(self) -> int:
        """
        How many began.
        """
        return self._connections + len(self._fresh) + len(self.opened)

    @property
    def outcomes(self) -> dict[str, int]:
        """
        How many ended, by outcome.
        """
        self._count()
        return self._outcomes

    @property
    def failures(self) -> int:
        """
        How many did not end cleanly.
        """
        outcomes = self.outcomes
        return sum(outcomes.values()) - outcomes[CLEAN]

    @property
    def resumed(self) -> int:
        """
        How many handshakes have resumed a session, those of open connections included.
        """
        self._count()
        return self._resumed + sum(record.isResumed for record in self.opened)

    def durations(self) -> tuple[Histogram, Histogram]:
        """
        How long negotiations took, and handshakes, that came to their end, those of open
        connections included.
        """
        self._count()
        negotiation, handshake = self._negotiation.copy(), self._handshake.copy()
        for record in self.opened:
            if record.handshaken is not None:
                handshake.add(record.handshaken)
                if record.negotiated is not None:
                    negotiation.add(record.negotiated)
        return negotiation, handshake

    def carried(self) -> tuple[int, int]:
        """
        Bytes sent to the network and to the plain side, those of open connections included.  They
        are counted by the legs; here they are only added up.
        """
        self._count()
        toNetwork, toPlain = self._toNetwork, self._toPlain
        for record in self.opened:
            toNetwork += record.toNetwork
            toPlain += record.toPlain
        return toNetwork, toPlain
