"""
Tests for L{tlstunnel.program.jsonlines}: that a line has the fields which are documented, and no
others.  Those of the running program are in L{tests.program.test_program}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import Refused
from tlstunnel.program.jsonlines import COMMON, FIELDS, jsonLine
from tlstunnel.program.log import lines
from tlstunnel.program.output import MAX_LINE_BYTES
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.record import Record
from tlstunnel.tunnel.transcript import NegotiationLog

DOCS = Path(__file__).parents[2] / "docs"


def documented(line: str) -> dict[str, Any]:
    """
    What a line says.

    @raise AssertionError: if it is anything but what is documented.
    """
    assert line.endswith("\n") and line.count("\n") == 1, line
    fields: dict[str, Any] = json.loads(line)
    assert tuple(fields) == (*COMMON, *FIELDS[fields["event"]]), line
    assert datetime.fromisoformat(fields["time"]).utcoffset() == timedelta(0), line
    assert fields["level"] in {"debug", "info", "warn", "error", "critical"}, line
    assert isinstance(fields["text"], str), line
    assert fields["worker"] is None or isinstance(fields["worker"], int), line
    assert "" not in [fields[name] for name in FIELDS[fields["event"]]], line
    return fields


def into(written: list[str]) -> Callable[[str], bool]:
    """
    What appends lines to a list, where there is always room.
    """

    def write(line: str) -> bool:
        written.append(line)
        return True

    return write


class JSONLineTests(SynchronousTestCase):
    """
    L{jsonLine}.
    """

    def line(self, write: Callable[[Logger], object], worker: str = "") -> dict[str, Any]:
        """
        What is written of what C{write} logs.
        """
        written: list[str] = []
        observer = lines(into(written), partial(jsonLine, worker=worker), LogLevel.debug)
        write(Logger("here", observer=observer))  # type: ignore[arg-type]
        (line,) = written
        self.assertNotIn("log_", line)
        return documented(line)

    def test_theTimeIsInUTC(self) -> None:
        """
        As ISO 8601 has it, to the millisecond.
        """
        event: LogEvent = {"log_time": 1800000000.25, "log_format": "x"}
        self.assertEqual(json.loads(jsonLine(event))["time"], "2027-01-15T08:00:00.250+00:00")

    def test_whatHasNoName(self) -> None:
        """
        Such as what libraries have to say: the text, and nothing of their fields.
        """
        found = self.line(lambda log: log.warn("{what} is odd", what="it", event="theirs"))
        self.assertEqual(
            {name: found[name] for name in found if name != "time"},
            {"level": "warn", "event": None, "worker": None, "tunnel": None, "text": "it is odd"},
        )
        for odd in {"a": 1}, ["x"], 7:
            self.assertIsNone(self.line(lambda log, odd=odd: log.info("x", event=odd))["event"])  # type: ignore[misc]

    def test_workers(self) -> None:
        """
        Each says its number; the parent says of whom it speaks.
        """
        self.assertEqual(self.line(lambda log: log.info("x"), "3")["worker"], 3)
        found = self.line(lambda log: log.info("x", event="worker", worker=2, lived=1.5))
        self.assertEqual((found["worker"], found["lived"], found["delay"]), (2, 1.5, None))

    def test_aFailureHasItsTraceback(self) -> None:
        """
        In a field of its own.
        """

        def fail(log: Logger) -> None:
            try:
                raise ValueError("such luck")
            except ValueError:
                log.failure("a connection from {peer} failed", peer=TCPAddress("::1", 7))

        found = self.line(fail)
        self.assertEqual((found["event"], found["level"]), ("failure", "critical"))
        self.assertEqual(found["peer"], "[::1]:7")
        self.assertEqual(found["text"], "a connection from [::1]:7 failed")
        self.assertIn("ValueError: such luck", found["traceback"])
        self.assertIn("Traceback", found["traceback"])

    def test_failuresOfTheOldLogHaveTheirsToo(self) -> None:
        """
        Such as errors in Deferreds that nobody hears.
        """
        written: list[str] = []
        observer = lines(into(written), jsonLine, LogLevel.info)
        globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observer)  # type: ignore[arg-type]
        legacy.err(Failure(KeyError("old")), "Unhandled Error")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        (line,) = written
        found = documented(line)
        self.assertEqual(found["event"], "failure")
        self.assertIn("KeyError: 'old'", found["traceback"])

    def test_connections(self) -> None:
        """
        What L{ConnectionLog} logs is documented, field by field.
        """

        def end(log: Logger) -> None:
            observers = Observers([ConnectionLog(log)])
            peer = TCPAddress("::1", 7)
            Record(Clock(), observers, "", Mode.CLIENT, "smtp", peer).end(Refused("no"))

        found = self.line(end)
        self.assertEqual((found["event"], found["outcome"]), ("connection", "refused"))
        self.assertIn("[::1]:7 to no server: refused: no", found["text"])

    def test_negotiations(self) -> None:
        """
        The same of L{NegotiationLog}.
        """

        def say(log: Logger) -> None:
            observers = Observers([NegotiationLog(log)])
            record = Record(Clock(), observers, "t", Mode.CLIENT, "smtp", TCPAddress("::1", 7))
            record.say(True, b"EHLO x\r\n")

        found = self.line(say)
        self.assertEqual((found["tunnel"], found["said"]), ("t", r'"EHLO x\x0d\x0a"'))

    def test_aLineIsNeverCut(self) -> None:
        """
        However much there is to say, it is an object: the output cuts lines that are longer.
        """

        def fail(log: Logger) -> None:
            try:
                raise ValueError("\x01" * 100000)
            except ValueError:
                log.failure("\x02" * 100000)

        written: list[str] = []
        observer = lines(into(written), jsonLine, LogLevel.info)
        fail(Logger("here", observer=observer))  # type: ignore[arg-type]
        documented(written[0])
        self.assertLess(len(written[0]), MAX_LINE_BYTES)

    @given(st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.binary()))
    def test_anythingCanBeLogged(self, text: str, fields: dict[str, Any]) -> None:
        """
        Nothing that anybody logs raises, or makes more or less than one object.
        """
        event: LogEvent = {**fields, "log_time": 1.0, "log_format": text}
        documented(jsonLine(event) + "\n")


class DocumentationTests(SynchronousTestCase):
    """
    What administrators read about the fields.
    """

    def test_everyEventAndEveryFieldIsDocumented(self) -> None:
        """
        In the page about the log, in the order in which a line has them.
        """
        page = (DOCS / "log.md").read_text()
        rows = re.findall(r"(?m)^\| `(\w+)` \|[^|]*\|([^|]*)\|$", page)
        found = {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
        self.assertEqual(found, {str(name or "null"): names for name, names in FIELDS.items()})
        for name in {each for names in (COMMON, *FIELDS.values()) for each in names}:
            self.assertRegex(page, rf"(?m)^\| `{name}` \|")

    def test_theManualHasTheFieldsOfAConnection(self) -> None:
        """
        And those of every line.
        """
        manual = (DOCS / "tlstunnel.8").read_text()
        for name in (*COMMON, *FIELDS["connection"]):
            self.assertRegex(manual, rf"(?m)^\.(It|Li) .*\b{name}\b")
