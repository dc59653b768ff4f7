"""
The log: what is written of events where we run in the foreground.

Under twistd its own observers write; the events are the same.  What a peer said is in an event
only as L{tlstunnel.errors} quotes it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from time import localtime, strftime
from typing import Any

from twisted.logger import LogEvent, LogLevel, eventAsText

from tlstunnel.program.jsonlines import jsonLine


def lines(
    write: Callable[[str], bool], asJSON: bool, least: Any, worker: str = ""
) -> Callable[[LogEvent], None]:
    """
    An observer that writes a line for each event.  Where there is no room for one it is dropped;
    how many were is said as soon as there is room again.

    @param write: writes a line, its end included, and tells whether there was room for it.
    @param least: the lowest C{LogLevel} to be written.
    @param worker: the number of this process among the workers, if it is one.
    """
    line = jsonLine if asJSON else _textLine
    # To compare levels costs more than to look for one.
    written = {level for level in LogLevel.iterconstants() if level >= least}
    dropped = 0

    def observe(event: LogEvent) -> None:
        nonlocal dropped
        if event.get("log_level", LogLevel.info) not in written:
            return
        if not write(line(event, worker) + "\n"):
            dropped += 1
        elif dropped:
            about = {
                "log_level": LogLevel.warn,
                "log_namespace": __name__,
                "log_time": event["log_time"],
                "log_format": "lines of the log for which there was no room: {dropped}",
                "event": "dropped",
                "dropped": dropped,
            }
            if write(line(about, worker) + "\n"):
                dropped = 0

    return observe


def _textLine(event: LogEvent, worker: str) -> str:
    """
    The time, the worker, the level if it is not the usual one, and what the event says.
    """
    level = event.get("log_level", LogLevel.info)
    prefix = f" [worker {worker}]" if worker else ""
    if level is not LogLevel.info:
        prefix += f" {level.name}:"
    text = event.get("text") or eventAsText(event, includeTimestamp=False, includeSystem=False)
    return f"{_stamp(int(event['log_time']))}{prefix} {text}"


@lru_cache(maxsize=1)
def _stamp(second: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S%z", localtime(second))
