"""
The one line that the log has of each connection, written at its end.
"""

from __future__ import annotations

import time

from twisted.logger import Logger, LogLevel

from tlstunnel.errors import ProgramFailed, printable
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.choosing import hintFor
from tlstunnel.tunnel.observers import Observer
from tlstunnel.tunnel.record import Client, Record

_INFO = LogLevel.info

# What a connection without a backend was not joined to.
_NOWHERE = {Mode.CLIENT: "no server", Mode.SERVER: "no backend", Mode.BRIDGE: "no server"}


def _shown(said: bytes) -> str | None:
    return printable(said.decode("latin-1")) if said else None


def _client(client: Client) -> str:
    """
    The client of a bridge, for people.
    """
    tls = f"{client.version} {client.suite} {client.group}"
    return f"identity {client.identity or 'none'}, {tls}"


def _fieldsOf(client: Client) -> dict[str, object]:
    return {
        "client_identity": str(client.identity) if client.identity is not None else None,
        "client_alpn": _shown(client.alpn),
        "client_version": client.version,
        "client_suite": client.suite,
        "client_group": client.group,
        "client_resumed": client.isResumed,
    }


class ConnectionLog(Observer):
    """
    Logs each connection when it ends.
    """

    def __init__(self, log: Logger | None = None) -> None:
        """
        @param log: where to; by default a log of our own.
        """
        # Not on the class, where each look at it would make another one.
        self._log = Logger(f"{__name__}.{type(self).__name__}") if log is None else log

    def ended(self, record: Record) -> None:
        """
        All is known now.
        """
        error = record.error
        detail, hint = "closed", ""
        if error is not None:
            detail, hint = str(error), hintFor(record)
            if record.mode is Mode.BRIDGE and error.who not in detail:
                # Either side may be meant.
                detail = f"{error.who}: {detail}"
        if record.exit is not None and record.exit.status and not isinstance(error, ProgramFailed):
            detail += f" ({record.exit})"
        identity = str(record.identity) if record.identity is not None else None
        peer = str(record.peer)
        backend = str(record.backend) if record.backend is not None else None
        toNetwork, toPlain = record.toNetwork, record.toPlain
        who = (identity or "none") + (f" by {record.anchors}" if record.anchors else "")
        tls = f"{record.version} {record.suite} {record.group}" if record.version else "no TLS"
        sender = str(record.sender) if record.sender is not None else None
        by = f" by {sender}" if sender not in (None, peer) else ""
        client = record.client
        ofClient = f"client {_client(client)}, server " if client is not None else ""
        text = (
            f"{peer}{by} to {backend or _NOWHERE[record.mode]}: {detail}; "
            f"{ofClient}identity {who}, {tls}, {toNetwork} bytes sent to the network "
            f"and {toPlain} received, {record.seconds:.3f} s"
        )
        if hint:
            text += f"; hint: {hint}"
        # As Logger.info makes it, which sorts all levels and copies all fields for every event.
        log = self._log
        event: dict[str, object] = {
            "log_logger": log,
            "log_level": _INFO,
            "log_namespace": log.namespace,
            "log_source": None,
            # What Twisted's own files of a log begin the line with.
            "log_system": record.tunnel or None,
            "log_format": "{text}",
            "log_time": time.time(),
            "text": text,
            "event": "connection",
            "tunnel": record.tunnel or None,
            "peer": peer,
            "proxied_by": sender,
            "unique_id": _shown(record.uniqueID),
            "backend": backend,
            "identity": identity,
            "anchors": record.anchors or None,
            "sni": printable(record.serverName) if record.serverName else None,
            "alpn": _shown(record.alpn),
            "dialect": record.dialect,
            "version": record.version or None,
            "suite": record.suite or None,
            "group": record.group or None,
            "resumed": record.isResumed if record.version else None,
            "to_network": toNetwork,
            "to_plain": toPlain,
            "seconds": record.seconds,
            "outcome": record.outcome,
            "detail": detail if detail != "closed" else None,
            "hint": hint or None,
        }
        if client is not None:
            event |= _fieldsOf(client)
        log.observer(event)
