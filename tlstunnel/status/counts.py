"""
What is counted of one tunnel.

Every connection of a busy tunnel passes here, so that there are plain numbers, and nothing is
looked up, made into text or locked.  What others call the numbers is not known here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from tlstunnel.tunnel.observers import Observer
from tlstunnel.tunnel.record import CLEAN, Record

#: The upper bounds of the classes of durations, in seconds: from a handshake on the same host to
#: the time limits.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


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


class Counts(Observer):
    """
    Counts the connections of one tunnel.

    @ivar connections: how many began.
    @ivar opened: those that have not ended, the oldest first.
    @ivar outcomes: how many ended, by outcome.
    @ivar negotiation: how long negotiations took that came to their end.
    @ivar handshake: how long handshakes took that came to their end.
    """

    def __init__(self, failed: Callable[[Record], object]) -> None:
        """
        @param failed: called with each record that did not end cleanly.
        """
        self._failed = failed
        self.connections = 0
        self.opened: dict[Record, None] = {}
        self.outcomes: dict[str, int] = {CLEAN: 0}
        self.negotiation = Histogram()
        self.handshake = Histogram()
        self._toNetwork = 0
        self._toPlain = 0

    def began(self, record: Record) -> None:
        """
        A connection was accepted.
        """
        self.connections += 1
        self.opened[record] = None

    def verified(self, record: Record) -> None:
        """
        TLS is up.
        """
        assert record.handshaken is not None
        self.handshake.add(record.handshaken)
        if record.negotiated is not None:
            self.negotiation.add(record.negotiated)

    def ended(self, record: Record) -> None:
        """
        It is over.
        """
        self.opened.pop(record, None)
        self._toNetwork += record.toNetwork
        self._toPlain += record.toPlain
        error = record.error
        outcome = CLEAN if error is None else error.reason
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if error is not None:
            self._failed(record)
            if record.negotiated is not None and not record.version:
                self.negotiation.add(record.negotiated)

    @property
    def failures(self) -> int:
        """
        How many did not end cleanly.
        """
        return sum(self.outcomes.values()) - self.outcomes.get(CLEAN, 0)

    def carried(self) -> tuple[int, int]:
        """
        Bytes sent to the network and to the plain side, those of open connections included.  They
        are counted by the legs; here they are only added up.
        """
        toNetwork, toPlain = self._toNetwork, self._toPlain
        for record in self.opened:
            toNetwork += record.toNetwork
            toPlain += record.toPlain
        return toNetwork, toPlain
