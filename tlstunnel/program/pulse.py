"""
Whether workers still run, and how many connections they have: the parent asks them from time to
time, where a service manager wants to know how we are.

Its watchdog hears from the parent alone, which touches no connection and would go on for ever; so
the parent is the watchdog of the workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.child import Child
from tlstunnel.program.orders import Order

#: Seconds between questions, unless the watchdog is less patient.
ASK_SECONDS = 10.0

#: The fewest looks without an answer after which a worker is taken for dead.  Looks are counted, as
#: time passes also where the whole machine, and so the parent, stands still.
MISSED_LOOKS = 2


class Pulse:
    """
    Asks all workers.
    """

    _log = Logger()

    def __init__(self, reactor: Any, workers: Sequence[Child], limit: float) -> None:
        """
        @param limit: the seconds of silence after which a worker is replaced; 0 for no limit.
        """
        self._reactor = reactor
        self._workers = workers
        self._limit = limit
        self._interval = min(ASK_SECONDS, limit / MISSED_LOOKS) if limit else ASK_SECONDS
        self._missed: dict[Child, int] = {}
        self._connections: dict[Child, int] = {}

    @property
    def connections(self) -> int:
        """
        How many there are in all workers, as they said last.
        """
        return sum(self._connections.values())

    def start(self) -> None:
        """
        Ask, and go on with it for as long as the process lives, whatever fails.
        """
        self._reactor.callLater(self._interval, self.start)
        for worker in self._workers:
            if not worker.isServing:
                continue
            if worker not in self._missed:
                self._ask(worker)
                continue
            self._missed[worker] += 1
            if self._limit and self._missed[worker] >= self._limit / self._interval:
                worker.kill(f"has not answered for {self._limit:g} s")

    def _ask(self, worker: Child) -> None:
        self._missed[worker] = 0
        worker.ask(Order.TALLY).addBoth(self._answered, worker)

    def _answered(self, answer: Mapping[str, Any] | Failure, worker: Child) -> None:
        del self._missed[worker]
        if isinstance(answer, Failure):
            # It is gone, and another one takes its place.
            answer.trap(ConfigurationError)
            self._connections.pop(worker, None)
        else:
            self._connections[worker] = answer.get("connection", 0)
