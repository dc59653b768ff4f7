"""
The log: what is written of events where we run in the foreground.

Under twistd its own observers write; the events are the same.  What a peer said is in an event
only as L{tlstunnel.errors} quotes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TextIO

from twisted.logger import LogEvent, LogLevel, eventAsJSON, eventAsText

_ORDER = {level: number for number, level in enumerate(LogLevel.iterconstants())}


def lines(file: TextIO, asJSON: bool, least: Any, worker: str = "") -> Callable[[LogEvent], None]:
    """
    An observer that writes a line for each event.

    @param least: the lowest C{LogLevel} to be written.
    @param worker: the number of this process among the workers, if it is one.
    """
    lowest = _ORDER[least]
    prefix = f"[worker {worker}] " if worker else ""
    second, stamp = 0, ""

    def observe(event: LogEvent) -> None:
        nonlocal second, stamp
        level = event.get("log_level", LogLevel.info)
        if level is not LogLevel.info and _ORDER[level] < lowest:
            return
        if asJSON:
            file.write(eventAsJSON(event | {"worker": worker} if worker else event) + "\n")
            return
        now = int(event["log_time"])
        if now != second:
            second, stamp = now, time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now))
        text = event.get("text") or eventAsText(event, includeTimestamp=False, includeSystem=False)
        word = "" if level is LogLevel.info else f"{level.name}: "
        file.write(f"{stamp} {prefix}{word}{text}\n")

    return observe
