"""
Tests for L{tlstunnel.program.log}: what is written of events in the foreground.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from io import StringIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.program.jsonlines import jsonLine
from tlstunnel.program.log import lines, textLine
from tlstunnel.program.syslog import syslogLines

#: The fields that mean something to what writes events; anybody can give them another meaning.
NAMES = ("log_level", "log_failure", "log_format", "failure", "event", "text", "worker", "tunnel")
VALUES = st.none() | st.text() | st.integers() | st.binary() | st.lists(st.text())


def writing(file: StringIO) -> Callable[[str], bool]:
    """
    What writes to C{file}, which has room for everything.
    """
    return lambda line: bool(file.write(line))


class LinesTests(SynchronousTestCase):
    """
    L{lines}.
    """

    def written(
        self, level: str, message: str, asJSON: bool = False, worker: str = "", **fields: object
    ) -> str:
        """
        What is written of one event, if all from info on are.
        """
        file = StringIO()
        line = partial(jsonLine if asJSON else textLine, worker=worker)
        observer = lines(writing(file), line, LogLevel.info)
        log = Logger("here", observer=observer)  # type: ignore[arg-type]
        getattr(log, level)(message, **fields)
        return file.getvalue()

    def test_aLineHasTimeAndText(self) -> None:
        """
        The time is that of the place, with its distance from UTC.
        """
        self.assertRegex(
            self.written("info", "up at {place}", place="home"),
            r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} up at home\n\Z",
        )

    @given(st.dictionaries(st.sampled_from(NAMES) | st.text(), VALUES))
    def test_whateverIsInAnEventIsWritten(self, fields: dict[str, Any]) -> None:
        """
        As a line at least, in each form: events of other programs have fields of their own.
        """
        for line in (textLine, jsonLine, partial(syslogLines, tag="tlstunnel")):
            file = StringIO()
            observe = lines(writing(file), line, LogLevel.info)
            observe({"log_format": "x", **fields, "log_time": 1.0})
            self.assertTrue(file.getvalue().endswith("\n"))

    def test_theTimeIsThatOfTheEvent(self) -> None:
        """
        Whenever it is written.
        """
        file = StringIO()
        observe = lines(writing(file), textLine, LogLevel.info)
        for second in (0, 1, 1):
            event: LogEvent = {"log_time": 1800000000 + second, "log_format": "x"}
            observe(event)
        seconds = [line.split("+")[0].split("-")[2][-2:] for line in file.getvalue().splitlines()]
        self.assertEqual(seconds, ["00", "01", "01"])

    def test_whatIsNotUsualSaysSo(self) -> None:
        """
        Levels above info stand before the text.
        """
        self.assertIn(" warn: careful\n", self.written("warn", "careful"))
        self.assertIn(" error: bad\n", self.written("error", "bad"))

    def test_whatIsTooLowIsNotWritten(self) -> None:
        """
        Neither as text nor as JSON.
        """
        for asJSON in (False, True):
            self.assertEqual(self.written("debug", "noise", asJSON), "")

    def test_aWorkerIsNamed(self) -> None:
        """
        In the line, or as a field.
        """
        self.assertIn(" [worker 2] error: bad\n", self.written("error", "bad", worker="2"))
        event = json.loads(self.written("info", "good", asJSON=True, worker="2"))
        self.assertEqual(event["worker"], 2)

    def test_aTunnelIsNamed(self) -> None:
        """
        In text before what is said, in JSON by itself; what is no name is none.
        """
        line = self.written("warn", "odd", tunnel="mail")
        self.assertTrue(line.endswith(" warn: mail: odd\n"), line)
        fields = json.loads(self.written("warn", "odd", asJSON=True, tunnel="mail"))
        self.assertEqual((fields["tunnel"], fields["text"]), ("mail", "odd"))
        for nothing in "", None, 7:
            self.assertTrue(self.written("warn", "odd", tunnel=nothing).endswith("warn: odd\n"))

    def test_JSONIsOneObjectALine(self) -> None:
        """
        Whatever is in it; its fields are for L{tests.program.test_jsonlines}.
        """
        text = self.written("info", "up at {place}", asJSON=True, place="home\nsweet home")
        self.assertEqual(text.count("\n"), 1)
        self.assertEqual(json.loads(text)["text"], "up at home\nsweet home")

    def test_textThatIsThereAlreadyIsNotMadeAgain(self) -> None:
        """
        As at the end of each connection.
        """
        self.assertIn(" all of it\n", self.written("info", "{text}", text="all of it"))

    def test_aTracebackIsWrittenWithItsText(self) -> None:
        """
        Nothing of a failure is lost.
        """
        file = StringIO()
        log = Logger("here", observer=lines(writing(file), textLine, LogLevel.info))  # type: ignore[arg-type]
        try:
            raise ValueError("such luck")
        except ValueError:
            log.failure("it failed")
        self.assertIn(" critical: it failed\n", file.getvalue())
        self.assertIn("ValueError: such luck", file.getvalue())


class NoRoomTests(SynchronousTestCase):
    """
    L{lines}, where nobody reads them.
    """

    def test_whatIsDroppedIsCounted(self) -> None:
        """
        And said once there is room again, after the line that found it.
        """
        for asJSON in (False, True):
            written: list[str] = []
            room = iter((True, False, False, True, True, True))

            def write(line: str, into: list[str] = written, room: Iterator[bool] = room) -> bool:
                hasRoom = next(room)
                if hasRoom:
                    into.append(line)
                return hasRoom

            observer = lines(write, jsonLine if asJSON else textLine, LogLevel.info)
            log = Logger("here", observer=observer)  # type: ignore[arg-type]
            for number in range(5):
                log.info("{number}", number=number)
            self.assertEqual(len(written), 4)
            if asJSON:
                self.assertEqual(json.loads(written[2])["dropped"], 2)
            else:
                self.assertIn("warn: lines of the log for which there was no room: 2\n", written[2])
