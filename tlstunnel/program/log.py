"""
The log: which events are written, and as what.

What a peer said is in an event only as L{tlstunnel.errors} quotes it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from time import localtime, strftime
from typing import Any

from twisted.logger import LogEvent, LogLevel, eventAsText

_LEVELS = tuple(LogLevel.iterconstants())
_INFO = LogLevel.info


class Losses:
    """
    What the log of this process lacks.

    @ivar lines: how many there was no room for.
    """

    lines = 0


#: There is one log in a process.
losses = Losses()


def levelOf(event: LogEvent) -> Any:
    """
    The C{LogLevel} of an event, whoever made it: what is no level is C{info}.
    """
    level = event.get("log_level")
    if level is _INFO:
        # As nearly all are: a line for each connection.
        return level
    return level if any(level is known for known in _LEVELS) else _INFO


def tunnelOf(event: LogEvent) -> str:
    """
    The name of the tunnel that an event is about; empty if it is about none that has a name.
    """
    tunnel = event.get("tunnel")
    return tunnel if isinstance(tunnel, str) else ""


def textOf(event: LogEvent) -> str:
    """
    What an event says: its C{text}, where it has one, or its format and what was raised; behind the
    name of the tunnel that it is about.
    """
    text = event.get("text")
    if not (isinstance(text, str) and text):
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    tunnel = tunnelOf(event)
    return f"{tunnel}: {text}" if tunnel else text


def lines(
    write: Callable[[str], bool], line: Callable[[LogEvent], str], least: Any
) -> Callable[[LogEvent], None]:
    """
    An observer that writes a line for each event, or more of them.  Where there is no room for it
    it is dropped; how many were is said as soon as there is room again.

    @param write: writes a line, its end included, and tells whether there was room for it.
    @param line: what is to be written of an event, without the end of the last line.
    @param least: the lowest C{LogLevel} to be written.
    """
    # To compare levels costs more than to look for one.
    written = {level for level in _LEVELS if level >= least}
    dropped = 0

    def observe(event: LogEvent) -> None:
        nonlocal dropped
        if levelOf(event) not in written:
            return
        if not write(line(event) + "\n"):
            dropped += 1
            losses.lines += 1
        elif dropped:
            about = {
                "log_level": LogLevel.warn,
                "log_namespace": __name__,
                "log_time": event["log_time"],
                "log_format": "lines of the log for which there was no room: {dropped}",
                "event": "dropped",
                "dropped": dropped,
            }
            if write(line(about) + "\n"):
                dropped = 0

    return observe


def textLine(event: LogEvent, worker: str = "") -> str:
    """
    The time, the worker, the level if it is not the usual one, and what the event says.

    @param worker: the number of this process among the workers, if it is one.
    """
    level = levelOf(event)
    prefix = f" [worker {worker}]" if worker else ""
    if level is not _INFO:
        prefix += f" {level.name}:"
    return f"{_stamp(int(event['log_time']))}{prefix} {textOf(event)}"


@lru_cache(maxsize=1)
def _stamp(second: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S%z", localtime(second))
