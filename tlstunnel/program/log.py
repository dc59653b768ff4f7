"""
The log: the record of a connection at its end, and what is written of events where we run in the
foreground.

Under twistd its own observers write; the events are the same.  What a peer said is in an event
only as L{tlstunnel.errors} quotes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TextIO

from twisted.logger import LogEvent, Logger, LogLevel, eventAsJSON, eventAsText

from tlstunnel.errors import TunnelError, quote
from tlstunnel.net.leg import Leg

_ORDER = {level: number for number, level in enumerate(LogLevel.iterconstants())}


def connectionEnded(
    log: Logger,
    dialect: str,
    accepted: Leg,
    dialled: Leg | None,
    network: Leg | None,
    seconds: float,
    error: TunnelError | None,
) -> None:
    """
    Log the one line that each connection gets.

    @param network: which of the legs carried TLS, or was to.
    @param error: why it ended, if that was not a clean end.
    """
    session = network.session if network is not None else None
    remote = dialled.peer if dialled is not None else "nobody"
    outcome = "closed" if error is None else str(error)
    identity = (session.name if session is not None else "") or "none"
    version = suite = group = alpn = serverName = ""
    up = down = 0
    if network is not None and session is not None and session.version:
        version, suite, group = session.version, session.suite, session.group
        alpn, serverName = session.alpn.decode("latin-1"), session.serverName
        if not (serverName.isascii() and serverName.isprintable()):
            serverName = quote(serverName.encode("latin-1"))
        # What TLS carried, without what was said for its sake and swallowed.
        up, down = network.sent, network.received
    tls = f"{version} {suite} {group}" if version else "no TLS"
    # As Logger.info would make it, without looking up a level, a source and a format, and with the
    # text made here: of so many fields a format would cost more than the relay does.
    log.observer(
        {
            "log_logger": log,
            "log_level": LogLevel.info,
            "log_namespace": log.namespace,
            "log_source": None,
            "log_format": "{text}",
            "log_time": time.time(),
            "text": (
                f"{accepted.peer} to {remote}: {outcome}; identity {identity}, {tls}, "
                f"{up} bytes sent to the network and {down} received, {seconds:.3f} s"
            ),
            "peer": accepted.peer,
            "remote": remote,
            "outcome": outcome,
            "reason": "closed" if error is None else error.reason,
            "dialect": dialect,
            "identity": identity,
            "serverName": serverName,
            "alpn": alpn,
            "version": version,
            "suite": suite,
            "group": group,
            "up": up,
            "down": down,
            "seconds": seconds,
        }
    )


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
