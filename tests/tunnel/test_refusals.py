"""
Tests for L{tlstunnel.tunnel.refusals}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.program.test_jsonlines import documented
from tests.tunnel.test_sources import peer, tunnel
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.networks import numberOf
from tlstunnel.program.jsonlines import jsonLine
from tlstunnel.tunnel.refusals import MOST_SOURCES, REST_SECONDS, RefusalLog
from tlstunnel.tunnel.sources import DENIED, TOO_FAST, Sources


def nameOf(source: str | None) -> str | None:
    """
    A shorter name of a source.
    """
    return source and f"source {numberOf(source.partition('/')[0]) >> 64 & 0xFFFF}"


class RefusalLogTests(SynchronousTestCase):
    """
    L{RefusalLog}.
    """

    def setUp(self) -> None:
        """
        Listen to what it logs.
        """
        self.clock = Clock()
        self.log = RefusalLog(Deadlines(self.clock), "web")
        self.sources = Sources(self.clock, tunnel())
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)  # type: ignore[arg-type]

    def refuse(self, source: int, reason: str = DENIED, times: int = 1) -> None:
        """
        Somebody of the source with this number is refused, so often.
        """
        for host in range(times):
            self.log.add(self.sources, peer(f"2001:db8:0:{source:x}::{host:x}"), reason)

    def said(self) -> list[tuple[Any, ...]]:
        """
        What has been logged since the last time.
        """
        found = [(nameOf(each["source"]), each["outcome"], each["count"]) for each in self.events]
        self.events.clear()
        return found

    def test_theFirstIsLoggedAtOnce(self) -> None:
        """
        In words that name what refused it, and as programs want it.
        """
        self.refuse(1)
        (event,) = self.events
        self.assertEqual(
            formatEvent(event),
            "connections from 2001:db8:0:1::/64 (last: 2001:db8:0:1::0) are refused: "
            "allow and deny keep them out",
        )
        found = documented(jsonLine(event) + "\n")
        self.assertEqual(found["event"], "refused")
        self.assertEqual(
            [found[each] for each in ("tunnel", "peer", "source", "outcome", "count")],
            ["web", "[2001:db8:0:1::0]:50000", "2001:db8:0:1::/64", "denied", 1],
        )

    def test_moreOfThemAreOneLineAMinute(self) -> None:
        """
        With their number, for as long as they come; then it begins anew.
        """
        self.refuse(1, times=1000)
        self.assertEqual(self.said(), [("source 1", "denied", 1)])
        self.clock.advance(REST_SECONDS - 1)
        self.assertEqual(self.said(), [])
        self.clock.advance(1)
        self.assertIn(
            "refused from 2001:db8:0:1::/64 (last: 2001:db8:0:1::3e7) since then: 999;",
            formatEvent(self.events[0]),
        )
        self.assertEqual(self.said(), [("source 1", "denied", 999)])
        self.refuse(1, times=2)
        self.assertEqual(self.said(), [])
        self.clock.advance(REST_SECONDS)
        self.assertEqual(self.said(), [("source 1", "denied", 2)])
        self.clock.advance(REST_SECONDS)
        self.assertEqual(self.said(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.refuse(1)
        self.assertEqual(self.said(), [("source 1", "denied", 1)])

    def test_whereAnAddressIsASourceItIsSaidOnce(self) -> None:
        """
        And UNIX sockets have none.
        """
        for each, text in (("192.0.2.1", "192.0.2.1"), ("", "UNIX sockets")):
            self.log.add(self.sources, peer(each), TOO_FAST)
            self.assertIn(f"connections from {text} are refused", formatEvent(self.events.pop()))

    def test_eachSourceAndReasonHasItsOwn(self) -> None:
        """
        So that no attack hides another one.
        """
        self.refuse(1)
        self.refuse(2)
        self.refuse(1, TOO_FAST, 2)
        self.assertEqual(
            self.said(),
            [("source 1", "denied", 1), ("source 2", "denied", 1), ("source 1", "rate", 1)],
        )
        self.clock.advance(REST_SECONDS)
        self.assertEqual(self.said(), [("source 1", "rate", 1)])

    def test_thousandsOfSourcesGrowNeitherLogNorMemory(self) -> None:
        """
        What is more than the table holds is one line for each reason, and none is lost.
        """
        for source in range(5000):
            self.refuse(source)
            self.refuse(source, TOO_FAST)
        said = self.said()
        self.assertEqual(len(said), MOST_SOURCES + 2)
        self.assertEqual(said[-2:], [(None, "denied", 1), (None, "rate", 1)])
        self.assertEqual(len(self.log._known), MOST_SOURCES)
        self.clock.advance(REST_SECONDS)
        half = MOST_SOURCES // 2
        self.assertEqual(
            sorted(self.said(), key=str),
            [(None, "denied", 4999 - half), (None, "rate", 4999 - half)],
        )
        for _ in range(2):
            self.clock.advance(REST_SECONDS)
        self.assertEqual(self.said(), [])
        self.assertEqual((self.log._known, self.log._others), ({}, {}))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_othersHaveNoNameAndOneInWords(self) -> None:
        """
        They are not one source.
        """
        for source in range(MOST_SOURCES + 2):
            self.refuse(source)
        self.assertIn("connections from other sources (last: 2001:", formatEvent(self.events[-1]))
        self.assertIsNone(documented(jsonLine(self.events[-1]) + "\n")["source"])
