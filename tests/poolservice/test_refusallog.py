"""
Tests for L{tlstunnel.poolservice.refusallog}, and that both protocols tell it.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.loopback import SERVER
from tests.poolservice.programs import NativeTests
from tests.poolservice.test_control import until
from tests.poolservice.v2stage import V2Tests
from tests.program.test_jsonlines import documented
from tlstunnel.errors import Stopped, TunnelError
from tlstunnel.identity.caller import Caller
from tlstunnel.local.refusals import TooMany
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.poolservice import v2port
from tlstunnel.poolservice.messages import PROSE
from tlstunnel.poolservice.refusallog import ProgramRefusals
from tlstunnel.poolservice.refusals import (
    BadPool,
    BadRequest,
    Gone,
    Leaving,
    NotConnected,
    NotForCaller,
    Undisclosed,
)
from tlstunnel.program.jsonlines import jsonLine
from tlstunnel.tunnel.refusals import MOST_SOURCES, REST_SECONDS

ME = os.geteuid()


class Listening(TestCase):
    """
    Base class: listens to what is logged of refusals.
    """

    def setUp(self) -> None:
        """Listen."""
        super().setUp()
        self.events: list[LogEvent] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "refused":
                self.events.append(event)

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def said(self) -> list[tuple[Any, ...]]:
        """Since the last time."""
        found = [(each["source"], each["outcome"], each["count"]) for each in self.events]
        self.events.clear()
        return found


class ProgramRefusalsTests(Listening, SynchronousTestCase):
    """
    L{ProgramRefusals}.
    """

    def setUp(self) -> None:
        """With a clock of our own."""
        super().setUp()
        self.clock = Clock()
        self.log = ProgramRefusals(Deadlines(self.clock), "pool-service")

    def refuse(self, uid: int, error: TunnelError, times: int = 1, pid: int = 42) -> None:
        """Refuse a program of that user something, so often."""
        for number in range(times):
            self.log.add(Caller(uid, pid=pid + number), error)

    def test_theFirstIsLoggedAtOnce(self) -> None:
        """
        With who it was, and why in the words that the program got.
        """
        self.refuse(1000, NotForCaller("user 1000 may not be www.example.org; root can let it"))
        (event,) = self.events
        self.assertEqual(
            formatEvent(event),
            "a request of user 1000 (last: process 42) is refused: not-yours: user 1000 may not "
            "be www.example.org; root can let it",
        )
        found = documented(jsonLine(event) + "\n")
        self.assertEqual(
            [found[each] for each in ("event", "tunnel", "peer", "source", "outcome", "count")],
            ["refused", "pool-service", "unix:uid=1000", "user 1000", "not-yours", 1],
        )

    def test_aUserAndAReasonHaveALineAMinute(self) -> None:
        """
        With how often it was, and the last of them; others are not hidden by that.
        """
        self.refuse(1000, BadRequest("no field"), 500)
        self.refuse(1001, BadRequest("no field"))
        self.refuse(1000, TooMany("too many"))
        self.assertEqual(
            self.said(),
            [("user 1000", "syntax", 1), ("user 1001", "syntax", 1), ("user 1000", "limit", 1)],
        )
        self.refuse(1000, BadRequest("another field"), pid=9)
        self.clock.advance(REST_SECONDS)
        self.assertEqual(
            formatEvent(self.events[0]),
            "refused to user 1000 (last: process 9) since then: 500; syntax: another field",
        )
        self.assertEqual(self.said(), [("user 1000", "syntax", 500)])
        self.clock.advance(REST_SECONDS)
        self.assertEqual(self.said(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whatOneUserCannotMendIsAWarning(self) -> None:
        """
        What the administrator has to look at.
        """
        for error, level in (
            (BadPool("broken"), LogLevel.warn),
            (TooMany("full"), LogLevel.warn),
            (NotForCaller("no"), LogLevel.info),
            (Undisclosed("no"), LogLevel.info),
            (BadRequest("what"), LogLevel.info),
        ):
            self.refuse(1000, error)
            self.assertIs(self.events.pop()["log_level"], level, error)

    def test_whatIsNobodysFaultIsNotLogged(self) -> None:
        """
        As that somebody has left, or was late.
        """
        for error in Gone("over"), Leaving("stopping"), Stopped(), NotConnected("over"):
            self.refuse(1000, error)
        self.assertEqual(self.said(), [])

    def test_neitherUsersNorWordsGrowIt(self) -> None:
        """
        Whoever has thousands of users, or writes a book; nor whoever the system does not know.
        """
        for uid in range(5000):
            self.refuse(uid, BadRequest("x" * 60000))
        self.assertEqual(len(self.events), MOST_SOURCES + 1)
        self.assertLess(max(len(formatEvent(each)) for each in self.events), PROSE + 200)
        self.assertIn("a request of other users (last: process 42)", formatEvent(self.events[-1]))
        self.events.clear()
        self.log.add(None, BadPool("the system does not say who you are"))
        self.assertEqual(self.said(), [(None, "config", 1)])


class NativeRefusalTests(Listening, NativeTests):
    """
    Our own protocol.
    """

    async def test_whatIsRefusedIsLogged(self) -> None:
        """
        Before it is asked, within a message, and by what it is about; and what a connection fails
        of is not logged twice.
        """

        def run() -> None:
            program = self.program()
            for _ in range(3):
                assert program.ask("nonsense")[0] == "error"
            ours, theirs = self.pair()
            program.tls(ours, role="server", local="nobody.example.org")
            assert program.refused()[0] == "config"
            for each in (self.program(), self.program()):
                each.send("hello")
                each.sock.recv(100)
            ours, theirs = self.pair()
            program.tls(ours, role="client", remote=SERVER)
            theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            assert program.refused()[0] not in {"syntax", "limit", "config"}

        self.quotas.perUser = 2
        await self.inThread(run)
        me = f"user {ME}"
        self.assertEqual(self.said(), [(me, "syntax", 1), (me, "config", 1), (me, "limit", 1)])
        await until(lambda: not self.handOvers.open)


class V2RefusalTests(Listening, V2Tests):
    """
    The TLS Pool's protocol.
    """

    def test_whatIsRefusedIsLogged(self) -> None:
        """
        A STARTTLS that makes no sense, or is not for the program; other questions are not.
        """
        me = f"user {ME}"
        self.startTLS(flags=0)
        self.error()
        self.assertEqual(
            [(each["source"], each["outcome"]) for each in self.events], [(me, "syntax")]
        )
        self.events.clear()
        self.handOvers.refusal = NotForCaller("not you")
        self.startTLS(reqid=1)
        self.error()
        self.assertEqual(self.said(), [(me, "not-yours", 1)])
        self.tlspool.send(b"".ljust(388, b"\x77"))
        self.reactor.settle()
        self.assertEqual(self.said(), [])

    def test_whoIsBeyondTheLimitIsLogged(self) -> None:
        """
        Be it told so or not.
        """
        self.port.quotas.perUser = 1
        for _ in range(v2port.MOST_TURNED_AWAY + 2):
            socket.socket.close(self.connect().sock)
        self.assertEqual(self.said(), [(f"user {ME}", "limit", 1)])
        self.reactor.advance(REST_SECONDS)
        self.assertEqual(self.said(), [(f"user {ME}", "limit", v2port.MOST_TURNED_AWAY + 1)])
