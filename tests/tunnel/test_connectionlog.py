"""
Tests for L{tlstunnel.tunnel.connectionlog}: the one line of each connection, and its fields.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, eventAsJSON, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import Address, TCPAddress, UNIXAddress, addressOf
from tlstunnel.errors import QUOTED, Refused, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.record import Record

PEER = TCPAddress("2001:db8::1", 40000)


class ConnectionLogTests(SynchronousTestCase):
    """
    L{ConnectionLog}.
    """

    def setUp(self) -> None:
        """
        Listen.
        """
        self.clock = Clock()
        self.events: list[LogEvent] = []
        # Not globally: observers of the old kind add fields of theirs to every event.
        log = Logger("ours", observer=self.events.append)  # type: ignore[arg-type]
        self.observers = Observers([ConnectionLog(log)])

    def begin(self, name: str = "submission", peer: Address = PEER) -> Record:
        """
        The record of a connection that has only begun.
        """
        return Record(self.clock, self.observers, name, Mode.SERVER, "smtp", peer)

    def verify(self, record: Record, **known: Any) -> MemoryLeg:
        """
        TLS is up.
        """
        leg = MemoryLeg()
        leg.session = Session(None)
        for name, value in {"version": "TLSv1.3", "suite": "S", "group": "G", **known}.items():
            setattr(leg.session, name, value)
        record.verify(leg)
        return leg

    def end(self, record: Record, error: TunnelError | None = None) -> LogEvent:
        """
        It is over: the one event of it.
        """
        self.assertEqual(self.events, [])
        record.end(error)
        [event] = self.events
        self.events.clear()
        return event

    def fields(self, event: LogEvent) -> dict[str, Any]:
        """
        Those that are about the connection, as they are in JSON.
        """
        found: dict[str, Any] = json.loads(eventAsJSON(event))
        return {
            name: value
            for name, value in found.items()
            if not name.startswith("log_") and name != "text"
        }

    def test_everyFieldOfAConnection(self) -> None:
        """
        There are these and no others, each under its name.
        """
        record = self.begin()
        record.backend = UNIXAddress("/run/smtp")
        leg = self.verify(
            record,
            identity=Identity("john", "example.org"),
            serverName="mx.example.org",
            alpn=b"smtp",
        )
        leg.sent, leg.received = 1000, 200
        self.clock.advance(1.5)
        event = self.end(record)
        self.assertEqual(
            self.fields(event),
            {
                "event": "connection",
                "tunnel": "submission",
                "peer": "[2001:db8::1]:40000",
                "proxied_by": None,
                "unique_id": None,
                "backend": "/run/smtp",
                "identity": "john@example.org",
                "anchors": None,
                "sni": "mx.example.org",
                "alpn": "smtp",
                "dialect": "smtp",
                "version": "TLSv1.3",
                "suite": "S",
                "group": "G",
                "resumed": False,
                "to_network": 1000,
                "to_plain": 200,
                "seconds": 1.5,
                "outcome": "clean",
                "detail": None,
                "hint": None,
            },
        )
        # Who writes the line says which tunnel it is about.
        self.assertEqual(event["log_system"], "submission")
        self.assertEqual(
            event["text"],
            "[2001:db8::1]:40000 to /run/smtp: closed; identity john@example.org, "
            "TLSv1.3 S G, 1000 bytes sent to the network and 200 received, 1.500 s",
        )

    def test_whatThereIsNotIsNull(self) -> None:
        """
        And no empty text, which would be a value.
        """
        event = self.end(self.begin(name=""), Refused("expected 220"))
        self.assertEqual(
            self.fields(event),
            {
                "event": "connection",
                "tunnel": None,
                "peer": "[2001:db8::1]:40000",
                "proxied_by": None,
                "unique_id": None,
                "backend": None,
                "identity": None,
                "anchors": None,
                "sni": None,
                "alpn": None,
                "dialect": "smtp",
                "version": None,
                "suite": None,
                "group": None,
                "resumed": None,
                "to_network": 0,
                "to_plain": 0,
                "seconds": 0.0,
                "outcome": "refused",
                "detail": "refused: expected 220",
                "hint": None,
            },
        )
        self.assertEqual(
            event["text"],
            "[2001:db8::1]:40000 to no backend: refused: expected 220; identity none, no TLS, "
            "0 bytes sent to the network and 0 received, 0.000 s",
        )

    def test_itIsAnEventLikeOthers(self) -> None:
        """
        For observers of Twisted's log.
        """
        event = self.end(self.begin())
        self.assertIs(event["log_level"], LogLevel.info)
        self.assertEqual(event["log_namespace"], "ours")
        self.assertEqual(formatEvent(event), event["text"])
        # That of the reactor is another one.
        self.assertGreater(event["log_time"], 1e9)

    def test_whatAPeerSaysIsEscaped(self) -> None:
        """
        No line of the log is anybody else's (rule 12).
        """
        record = self.begin()
        self.verify(record, serverName="a\nb\x1b[2J\xff", alpn=b"\x00\r\n")
        event = self.end(record, Refused("no", b"554 go\r\n2026-01-01 all is well \x1b[1m"))
        self.assertEqual(event["sni"], r'"a\x0ab\x1b[2J\xff"')
        self.assertEqual(event["alpn"], r'"\x00\x0d\x0a"')
        self.assertIn(r'"554 go\x0d\x0a2026-01-01 all is well \x1b[1m"', event["detail"])
        for field in "text", "sni", "alpn", "detail":
            self.assertTrue(event[field].isprintable() and event[field].isascii(), field)

    def test_whatAPeerSaysIsCut(self) -> None:
        """
        However harmless its words are (rule 12).
        """
        record = self.begin()
        self.verify(record, serverName="n" * 255, alpn=b"a" * 255)
        event = self.end(record, Refused("no", b"w" * 10000))
        for field in "sni", "alpn", "detail":
            self.assertLess(len(event[field]), QUOTED + 50, field)

    def test_aUNIXSocketsPathIsEscaped(self) -> None:
        """
        A client can bind its end to any name.
        """
        event = self.end(self.begin(peer=addressOf("/tmp/a\nb")))
        self.assertEqual(event["peer"], r"/tmp/a\nb")
        self.assertTrue(event["text"].isprintable())
