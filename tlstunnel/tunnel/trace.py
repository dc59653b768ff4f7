"""
The transcript of connections, for who looks for a fault: what was said in clear up to the switch,
and which messages of TLS came from there on.

It has nothing secret: no password, and nothing of what TLS protects.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import time

from tlstunnel.address import Peer
from tlstunnel.errors import printable
from tlstunnel.tls.messages import Message
from tlstunnel.tls.notes import Notes
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.discretion import Discretion
from tlstunnel.tunnel.observers import Observer
from tlstunnel.tunnel.record import CONNECTING, HANDSHAKING, Record

#: Lines of one connection, but for alerts and its end; and how many alerts.
MOST_LINES = 400
MOST_ALERTS = 8

# What an error quotes of what a peer has said.
_QUOTED = re.compile(r'"[^"]*"(?:\.\.\.)?')

# Everybody's connections are counted together: two tunnels may have the same file.
_numbers = count(1)


class _Connection:
    """
    What is known of one connection.
    """

    __slots__ = ("alerts", "discretion", "lines", "name")

    def __init__(self, record: Record) -> None:
        self.name = f"{os.getpid()}.{next(_numbers)}"
        self.discretion = Discretion(record.dialect, record.mode is Mode.SERVER)
        self.lines = MOST_LINES
        self.alerts = MOST_ALERTS


class Trace(Observer):
    """
    Writes it down, to the end of a file.
    """

    def __init__(self, path: Path) -> None:
        self.notes = Notes(path, "trace")
        self._connections: dict[Record, _Connection] = {}

    def began(self, record: Record) -> None:
        """
        See L{IObserver.began}.
        """
        self._connections[record] = _Connection(record)
        tunnel = f", tunnel {record.tunnel}" if record.tunnel else ""
        app = f" for {record.peer}" if record.mode is Mode.CLIENT else ""
        self._tell(record, f"begins{app}: {record.dialect}, {record.mode.value}{tunnel}")

    def advanced(self, record: Record) -> None:
        """
        See L{IObserver.advanced}.
        """
        self._tell(record, record.stage.value)

    def said(self, record: Record, isOurs: bool, words: bytes) -> None:
        """
        See L{IObserver.said}.
        """
        connection = self._connections.get(record)
        if connection is not None:
            self._tell(record, f"{_way(isOurs)} {connection.discretion.shown(isOurs, words)}")

    def exchanged(self, record: Record, message: Message) -> None:
        """
        See L{IObserver.exchanged}.
        """
        connection = self._connections.get(record)
        if connection is None:
            return
        size = f", {message.size} bytes" if message.size else ""
        text = f"{_way(message.isOurs)} TLS {message.kind} {message.name}".rstrip() + size
        if message.kind != "alert":
            self._tell(record, text)
        elif connection.alerts:
            connection.alerts -= 1
            self._write(record, connection, text)

    def verified(self, record: Record) -> None:
        """
        See L{IObserver.verified}.
        """
        facts = [
            f"{record.version} {record.suite} {record.group}".rstrip(),
            f"ALPN {printable(record.alpn.decode('latin-1'))}" if record.alpn else "",
            f"SNI {printable(record.serverName)}" if record.serverName else "",
            f"identity {record.identity or 'none'}",
            "resumed" if record.isResumed else "",
        ]
        self._tell(record, f"TLS is up: {', '.join(filter(None, facts))}")

    def ended(self, record: Record) -> None:
        """
        See L{IObserver.ended}.
        """
        connection = self._connections.pop(record, None)
        if connection is None:
            return
        error = record.error
        detail = ""
        if error is not None and error.detail:
            who = error.who or "the peer"
            detail = f" ({error.detail.replace('the peer', who)})"
            if record.reached not in (CONNECTING, HANDSHAKING):
                # Said in clear, or within TLS.
                detail = _QUOTED.sub('"..."', detail)
        self._write(
            record,
            connection,
            f"ends: {record.outcome}{detail}, {record.toNetwork} bytes sent inside TLS and "
            f"{record.toPlain} received, {record.seconds:.3f} s",
        )

    def _tell(self, record: Record, text: str) -> None:
        """
        Write a line, if there were not too many of them.
        """
        connection = self._connections.get(record)
        if connection is None or not connection.lines:
            return
        connection.lines -= 1
        self._write(record, connection, text)
        if not connection.lines:
            self._write(record, connection, "more than that is not told, but for alerts")

    def _write(self, record: Record, connection: _Connection, text: str) -> None:
        at = datetime.fromtimestamp(time(), UTC).isoformat(timespec="microseconds")
        peer = _networkPeer(record) or "-"
        line = f"{at.removesuffix('+00:00')}Z {peer} {connection.name} {text}"
        if not line.isprintable():
            # The path of a UNIX socket is its owner's to choose.
            line = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in line)
        self.notes.write(line.encode("ascii", "backslashreplace"))


def _networkPeer(record: Record) -> Peer | None:
    return record.peer if record.mode is Mode.SERVER else record.backend


def _way(isOurs: bool) -> str:
    return "sent" if isOurs else "received"
