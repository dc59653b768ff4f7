"""
Property tests for L{tlstunnel.endpoints.transport}: whatever is written, paused and taken in
whatever order, all bytes arrive once, in their order, and the end behind them.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis.strategies import binary, integers, lists, sampled_from, tuples
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.endpoints.stage import HalfTalker
from tlstunnel.endpoints.transport import Transport
from tlstunnel.testing.farend import Listener

#: What may happen on either side, and how often a reactor takes a turn meanwhile.
STEPS = lists(
    tuples(
        sampled_from(["say", "write", "pause", "resume", "leg pause", "leg resume", "much"]),
        binary(max_size=20),
        integers(0, 2),
    ),
    max_size=40,
)


class PropertyTests(SynchronousTestCase):
    """
    A transport, and its leg.
    """

    @given(STEPS, integers(1, 100))
    def test_allBytesArriveInOrder(self, steps: list[Any], readSize: int) -> None:
        """
        Both ways.
        """
        clock = Clock()
        protocol = HalfTalker()
        transport = Transport(clock, lambda: protocol)
        leg = transport.leg
        speaker = leg.speaker = Listener()
        leg.readSize = readSize
        transport.open()
        clock.advance(0)
        said = written = b""
        for what, some, turns in steps:
            match what:
                case "say":
                    transport.write(some)
                    said += some
                case "write" | "much":
                    some = some * 10000 if what == "much" else some
                    leg.write(some)
                    written += some
                case "pause":
                    transport.pauseProducing()
                case "resume":
                    transport.resumeProducing()
                case "leg pause":
                    leg.pauseProducing()
                case "leg resume":
                    leg.resumeProducing()
            for _ in range(turns):
                clock.advance(0)
        transport.loseWriteConnection()
        leg.loseWriteConnection()
        transport.resumeProducing()
        leg.resumeProducing()
        clock.advance(0)
        self.assertEqual(protocol.heard, written)
        self.assertEqual(speaker.heard, said)
        self.assertEqual(speaker.calls[-1:], ["end"])
        self.assertIn("read lost", protocol.calls)
        self.assertTrue(leg.isFlushed)
        transport.ended(None)
        self.assertEqual(protocol.calls[-1], "lost")
        self.assertEqual(clock.getDelayedCalls(), [])
