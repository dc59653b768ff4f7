"""
The watchdog of a service manager: it ends us if it does not hear from us for some time, as our
loop stands still then (sd_watchdog_enabled(3)).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: Microseconds at which systemd takes no time any more.
_INFINITY = 2**64 - 1


def watchdogSeconds(environment: Mapping[str, str], pid: int) -> float:
    """
    The seconds after which the watchdog of process C{pid} ends it; 0 where there is none.

    @raise ValueError: the variables make no sense; the message is a sentence for the user.
    """
    owner = environment.get("WATCHDOG_PID")
    # An empty variable is what `Environment=` in a unit makes of one that is not wanted.
    if owner and _number("WATCHDOG_PID", owner) != pid:
        return 0.0
    limit = environment.get("WATCHDOG_USEC")
    if not limit:
        return 0.0
    return _number("WATCHDOG_USEC", limit) / 1e6


def _number(name: str, value: str) -> int:
    if value.isascii() and value.isdigit() and len(value) <= 20 and 0 < int(value) < _INFINITY:
        return int(value)
    raise ValueError(f"{name} is {value[:40]!r}, and not a number above 0")


class Watchdog:
    """
    Says at regular times, from the loop of the reactor, that this still runs.
    """

    def __init__(self, reactor: Any, seconds: float, ping: Callable[[], object]) -> None:
        """
        @param seconds: the longest time between pings that is allowed; half of it is what we take.
        @param ping: says it.
        """
        self._reactor = reactor
        self._interval = seconds / 2
        self._ping = ping

    def start(self) -> None:
        """
        Say it from now on, until the process ends, even if that fails once.
        """
        self._reactor.callLater(self._interval, self.start)
        self._ping()
