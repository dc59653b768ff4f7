"""
Tests for L{tlstunnel.status.answers}: how much of an answer is made in a turn of the reactor.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.status.examples import snapshot, tunnel
from tlstunnel.net import spreading
from tlstunnel.net.spreading import atOnce
from tlstunnel.status.answers import Answer, Answers
from tlstunnel.status.combine import combine
from tlstunnel.status.document import inJSON
from tlstunnel.status.facts import Gathered
from tlstunnel.status.shared import FRESH_SECONDS

#: Tunnels of which the status is.
TUNNELS = 30


class TurnTests(SynchronousTestCase):
    """
    Many tunnels.
    """

    def setUp(self) -> None:
        """
        A process with them, and a clock that counts.
        """
        facts = [tunnel(name=f"web{number}") for number in range(TUNNELS)]
        self.gathered = Gathered((snapshot(tunnels=facts),))
        self.clock = Clock()
        self.laterCalled = self.clock.callLater
        self.patch(self.clock, "callLater", self.callLater)
        self.answers = Answers(self.clock, lambda: succeed(self.gathered))

    def ask(self, path: bytes) -> tuple[Answer, int]:
        """
        What is answered, and how many turns that takes.
        """
        self.taken = 0
        answering = self.answers.to(path)
        self.clock.advance(0)
        return self.successResultOf(answering), self.taken

    def callLater(self, delay: float, *call: Any) -> Any:
        """
        There will be a turn.
        """
        self.taken += 1
        return self.laterCalled(delay, *call)

    def test_aTunnelATurnIfEachTakesLong(self) -> None:
        """
        Nobody waits for all of them.
        """
        for path in (b"/status.json", b"/metrics", b"/health", b"/"):
            with self.subTest(path=path):
                known, taken = self.ask(path)
                self.assertLess(taken, TUNNELS)
                self.patch(spreading, "WORK_SECONDS", 0.0)
                self.clock.advance(FRESH_SECONDS)
                answer, taken = self.ask(path)
                self.assertGreaterEqual(taken, TUNNELS)
                self.assertEqual(answer.code, known.code)
                self.patch(spreading, "WORK_SECONDS", 1.0)
                self.clock.advance(FRESH_SECONDS)

    def test_whatIsWrittenBitByBitIsJSON(self) -> None:
        """
        As it would be in one.
        """
        document = combine(self.gathered, 0.0)
        self.assertEqual(atOnce(inJSON(document)), json.dumps(document))
