"""
An event of the log as a line of JSON, with the fields that C{docs/log.md} promises and no others.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure

from tlstunnel.program.log import levelOf, tunnelOf

#: What every line has.
COMMON = ("time", "level", "event", "worker", "tunnel", "text")

#: What else a line has, by what happened; C{None} is whatever has no name.
FIELDS: dict[str | None, tuple[str, ...]] = {
    "start": (
        "mode",
        "local",
        "remote",
        "via",
        "dialect",
        "local_id",
        "expected",
        "client_expected",
        "anchors",
    ),
    "notice": (),
    "connection": (
        "peer",
        "proxied_by",
        "unique_id",
        "backend",
        "identity",
        "anchors",
        "client_identity",
        "sni",
        "alpn",
        "dialect",
        "version",
        "suite",
        "group",
        "resumed",
        "client_alpn",
        "client_version",
        "client_suite",
        "client_group",
        "client_resumed",
        "to_network",
        "to_plain",
        "seconds",
        "outcome",
        "detail",
        "hint",
    ),
    "refused": ("peer", "source", "outcome", "count", "detail"),
    "program": ("peer", "program", "pid", "line"),
    "remote": ("backend", "state", "outcome", "detail", "seconds"),
    "negotiation": ("peer", "backend", "dialect", "direction", "said"),
    "chat": ("peer", "report"),
    "reload": ("added", "changed", "removed", "detail"),
    "provisioned": ("path", "change", "count"),
    "status": ("local",),
    "workers": ("count",),
    "worker": ("detail", "lived", "delay"),
    "failure": ("peer", "traceback"),
    "dropped": ("dropped",),
    "stop": (),
    None: (),
}

# Of a text and of a traceback, so that a line is one that the output does not cut.
_MAX_TEXT = 5000


def jsonLine(event: LogEvent, worker: str = "") -> str:
    """
    The line for an event, without its end.

    @param worker: the number of this process among the workers, if it is one.
    """
    # The old log of Twisted has another name for it.
    failure = event.get("log_failure", event.get("failure"))
    name = event.get("event") or ("failure" if isinstance(failure, Failure) else None)
    if not isinstance(name, str) or name not in FIELDS:
        # Somebody else's, who may mean something else by this field.
        name = None
    time = datetime.fromtimestamp(event["log_time"], UTC)
    text = event.get("text")
    line: dict[str, Any] = {
        "time": time.isoformat(timespec="milliseconds"),
        "level": levelOf(event).name,
        "event": name,
        "worker": event.get("worker") or (int(worker) if worker else None),
        "tunnel": tunnelOf(event) or None,
        "text": (text if isinstance(text, str) else formatEvent(event))[:_MAX_TEXT],
    }
    for field in FIELDS[name]:
        line[field] = event.get(field)
    if "traceback" in line and isinstance(failure, Failure):
        line["traceback"] = failure.getTraceback()[-_MAX_TEXT:]
    return json.dumps(line, default=str)
