"""
Tests for L{tlstunnel.net.complaints}: how much of what programs say is told.
"""

from __future__ import annotations

import os
from typing import cast

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.net.complaints import LINES_AT_ONCE, LINES_PER_PROGRAM, Allowance, Complaints


class ComplaintsTests(SynchronousTestCase):
    """
    L{Complaints} of programs that have said all.
    """

    def setUp(self) -> None:
        """
        Hear what is told.
        """
        self.told: list[str] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: LogEvent) -> None:
        if event.get("event") == "program":
            self.told.append(event["line"])

    def say(self, allowance: Allowance, lines: int) -> None:
        """
        Let a program say so many lines, and end.
        """
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.write(writing, b"x\n" * lines)
        os.close(writing)
        Complaints(MemoryReactor(), reading, allowance, "", "a peer", "program", 7).close()

    def test_oneProgramSaysNoMoreThanSoMuch(self) -> None:
        """
        What it says besides is counted.
        """
        self.say(Allowance(Clock()), LINES_PER_PROGRAM + 3)
        self.assertEqual(self.told, [*["x"] * LINES_PER_PROGRAM, "(lines that are not told: 3)"])

    def test_allProgramsOfATunnelTogetherSayNoMoreThanSoMuch(self) -> None:
        """
        However few lines each of them has.
        """
        allowance = Allowance(Clock())
        for _ in range(LINES_AT_ONCE // 10):
            self.say(allowance, 10)
        self.assertEqual(self.told, ["x"] * LINES_AT_ONCE)
        self.say(allowance, 2)
        self.assertEqual(self.told[LINES_AT_ONCE:], ["(lines that are not told: 2)"])
