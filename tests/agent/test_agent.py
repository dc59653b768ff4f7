"""
Tests for L{tlstunnel.agent}: who gets which certificates, over real sockets, and that nobody who
connects raises anything, or holds up others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.identity.test_leafrequest import requestOf
from tests.issuers import CALLER, intermediateIn, issuingBy, rootOf, someKey, verdictOf
from tests.loopback import wait
from tlstunnel.address import UNIXAddress
from tlstunnel.agent import admission
from tlstunnel.agent import allowance as allowing
from tlstunnel.agent import service as serving
from tlstunnel.agent import visit as visiting
from tlstunnel.agent.allowance import Allowance, Allowances
from tlstunnel.agent.service import AgentDescription, AgentService
from tlstunnel.agent.visit import Visit
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import users
from tlstunnel.identity.accounts import Accounts
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.leafrequest import Answer, Reading, Verdict, message, question
from tlstunnel.identity.names import Identity
from tlstunnel.identity.users import ownsAll
from tlstunnel.local import quotas
from tlstunnel.local.refusals import TooMany
from tlstunnel.net.access import SocketAccess
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.tunnel.refusals import REST_SECONDS

reactor: Any = _reactor

WWW = Identity.parse("www.example.org")

#: Seconds that anything here may take.
PATIENCE = 10


class AllowanceTests(SynchronousTestCase):
    """
    Who gets what.
    """

    def test_whoGetsWhat(self) -> None:
        """
        By user, by any group, for all or for some identities; root and ourselves get all.
        """
        other = Caller(1, frozenset({2}))
        for allowed, name, caller, isAllowed in (
            ((), "a.example", other, True),
            (("user:4711",), "a.example", CALLER, True),
            (("user:4711",), "a.example", other, False),
            (("group:4712",), "a.example", CALLER, True),
            (("group:4711",), "a.example", CALLER, False),
            (("user:4712",), "a.example", CALLER, False),
            (("user:4711=a.example",), "a.example", CALLER, True),
            (("user:4711=a.example",), "b.a.example", CALLER, False),
            (("user:4711=.a.example",), "b.a.example", CALLER, True),
            (("user:4711=@a.example",), "x@a.example", CALLER, True),
            (("user:4711=@a.example",), "a.example", CALLER, False),
            (("user:1=a.example", "user:4711=b.example"), "a.example", CALLER, False),
            (("user:4711=a.example", "user:4711=b.example"), "b.example", CALLER, True),
            (("user:1",), "a.example", Caller(0), True),
            (("user:1",), "a.example", Caller(os.geteuid()), True),
        ):
            found = Allowances([Allowance.parse(each) for each in allowed])
            self.assertIs(found.mayBe(caller, Identity.parse(name)), isAllowed, (allowed, name))
            if isAllowed:
                self.assertTrue(found.admits(caller))

    def test_whatIsNoneIsSaid(self) -> None:
        """
        With what to write instead.
        """
        for text in ("", "me", "any", "any:x", "user", "user:", "user:x=", "user:1=a b", "uid:1"):
            self.assertRaises(ValueError, Allowance.parse, text)
        allowances = [Allowance.parse("user:no-such-user")]
        error = self.assertRaises(ConfigurationError, Allowances, allowances)
        self.assertIn("`allow` user:no-such-user", error.subject)

    def test_theNumberOfStrangersIsNobodys(self) -> None:
        """
        Those outside of a container have it, whoever they are.
        """
        self.patch(allowing, "isAnybodys", lambda kind, number: (kind, number) == ("user", 7))
        error = self.assertRaises(ConfigurationError, Allowances, [Allowance.parse("user:7")])
        self.assertIn("everybody outside of this container", str(error))
        Allowances([Allowance.parse("group:7")])
        self.patch(users, "isAnybodys", lambda kind, number: True)
        self.assertFalse(ownsAll(Caller(os.geteuid())))

    def test_nobodyWaitsForTheDirectory(self) -> None:
        """
        In which the system looks names up, and which may be away.
        """
        over = threading.Event()
        self.addCleanup(over.set)
        silent = Accounts({"user": lambda name: int(over.wait(PATIENCE))})
        self.patch(allowing, "Accounts", lambda: silent)
        several = [Allowance.parse(f"user:name{number}") for number in range(3)]
        error = self.assertRaises(ConfigurationError, Allowances, several, 0.01)
        self.assertIn("has not said who that is; give the number", str(error))


class IssuingTests(SynchronousTestCase):
    """
    What is answered.
    """

    def setUp(self) -> None:
        self.base = Path(self.mktemp())
        self.base.mkdir()
        self.intermediate = intermediateIn(self.base)
        self.now = datetime.now(UTC)

    def ask(self, content: bytes, *allowed: str, caller: Caller = CALLER) -> Answer:
        """
        Ask once.
        """
        return issuingBy(self.intermediate, *allowed).answer(content, caller, self.now)

    def test_aCertificateIsGiven(self) -> None:
        """
        For the key of the request, which peers believe by the root alone, for ten minutes.
        """
        answer = self.ask(question(WWW, someKey()))
        self.assertEqual(answer.verdict, Verdict.ISSUED)
        self.assertEqual(verdictOf(answer.chain, rootOf(self.base)), 0)
        leaf = answer.chain[0]
        self.assertEqual(leaf.public_key(), someKey().public_key())
        left = leaf.not_valid_after_utc - self.now
        self.assertLessEqual(abs(left - timedelta(minutes=10)), timedelta(seconds=1))

    def test_whyThereIsNoneIsSaid(self) -> None:
        """
        Whatever is asked for.
        """
        victim = Identity.parse("victim.example")
        forged = b"victim.example\0" + requestOf(someKey(), "www.example.org")
        for content, allowed, words in (
            (b"", (), "has no request"),
            (b"x\0y", (), "cannot be read"),
            (question(victim, someKey()), (), "name constraints do not permit victim.example"),
            (forged, (), "name constraints do not permit victim.example"),
            (question(WWW, someKey()), ("user:1",), "user 4711 may not be www.example.org"),
            (
                question(WWW, someKey()),
                ("user:4711=mail.example.org",),
                "user 4711 may not be www.example.org",
            ),
        ):
            answer = self.ask(content, *allowed)
            self.assertEqual((answer.verdict, answer.chain), (Verdict.REFUSED, ()))
            self.assertIn(words, answer.words)

    def test_anIssuerThatHasExpiredGivesNone(self) -> None:
        """
        Rather than one that nobody believes.
        """
        self.now = self.intermediate.end
        self.assertIn("the issuer has expired", self.ask(question(WWW, someKey())).words)

    def test_anIssuerThatIsToBeginYetGivesNone(self) -> None:
        """
        As the clock was set back.
        """
        self.now = self.intermediate.start - timedelta(seconds=1)
        self.assertIn("not valid yet", self.ask(question(WWW, someKey())).words)


class AgentTestCase(TestCase):
    """
    An agent that listens, in this process.
    """

    def setUp(self) -> None:
        # Paths of sockets are short.
        self.base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.base)
        intermediateIn(self.base)
        self.events: list[LogEvent] = []

        @implementer(ILogObserver)
        def notice(event: LogEvent) -> None:
            if str(event.get("log_namespace", "")).startswith("tlstunnel.agent"):
                self.events.append(event)

        globalLogPublisher.addObserver(notice)
        self.addCleanup(globalLogPublisher.removeObserver, notice)

    def serve(self, *allowed: str, **changes: Any) -> AgentService:
        """
        Begin.
        """
        self.path = self.base / "agent"
        description = AgentDescription(
            self.base / "issuer",
            UNIXAddress(str(self.path)),
            SocketAccess(0o600),
            allowed=tuple(Allowance.parse(each) for each in allowed),
            **changes,
        )
        self.agent = AgentService(description, reactor)
        self.agent.startService()
        self.addCleanup(self.stop)
        return self.agent

    def stop(self) -> Deferred[None]:
        """
        End, and see that nobody is left.
        """
        self.agent.stopService()
        gone: Deferred[None] = Deferred()

        def look() -> None:
            if self.agent.tally()["connection"]:
                reactor.callLater(0.01, look)
            else:
                gone.callback(None)

        look()
        return gone

    def exchange(self, data: bytes, talk: Callable[[socket.socket], None] | None = None) -> bytes:
        """
        Say C{data}, and hear an answer; in a thread.
        """
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self.path))
            with contextlib.suppress(BrokenPipeError):
                # It may have answered already.
                sock.sendall(data)
            try:
                if talk is not None:
                    talk(sock)
                return self.hear(sock)
            except ConnectionResetError:
                return b""

    def hear(self, sock: socket.socket) -> bytes:
        """
        One answer, or what there is of it.
        """
        heard = b""
        while len(heard) < 4 or len(heard) < 4 + int.from_bytes(heard[:4]):
            more = sock.recv(65536)
            if not more:
                break
            heard += more
        return heard

    async def ask(self, data: bytes) -> Answer:
        """
        The answer to C{data}.
        """
        return self.read(await deferToThread(self.exchange, data))

    def read(self, heard: bytes) -> Answer:
        """
        What an answer says.
        """
        reading = Reading(1 << 16)
        reading.take(heard)
        assert reading.content is not None, heard
        return Answer.parse(reading.content)


class VisitTests(SynchronousTestCase):
    """
    One connection, without a socket.
    """

    def test_whoDoesNotReadAnswersIsNotHeard(self) -> None:
        """
        They would pile up here; once they are read it goes on, and what is over ends.
        """
        transport = StringTransport()
        busy = Answer(Verdict.BUSY)
        visit = Visit(Clock(), lambda content: busy, lambda answer: 5.0, lambda gone: None)
        visit.makeConnection(transport)
        visit.dataReceived(message(b"x"))
        producer = transport.producer
        assert producer is not None
        producer.pauseProducing()
        self.assertEqual(transport.producerState, "paused")
        producer.resumeProducing()
        self.assertEqual(transport.producerState, "producing")
        visit.leave()
        self.assertIsNone(transport.producer)
        self.assertTrue(transport.disconnecting)


class AgentTests(AgentTestCase):
    """
    What a tunnel meets.
    """

    async def test_aCertificateIsGivenAndLogged(self) -> None:
        """
        With who, whom for, and which.
        """
        self.serve()
        answer = await self.ask(message(question(WWW, someKey())))
        leaf = answer.chain[0]
        self.assertEqual(verdictOf(answer.chain, rootOf(self.base)), 0)
        (event,) = (each for each in self.events if each.get("event") == "issued")
        self.assertEqual(event["identity"], "www.example.org")
        self.assertEqual((event["uid"], event["pid"]), (os.geteuid(), os.getpid()))
        self.assertEqual(event["serial"], f"{leaf.serial_number:x}")

    async def test_anotherUserGetsNothing(self) -> None:
        """
        As the kernel says who that is, whatever he asks for; the same one asks in vain for others.
        """
        self.serve("user:4711=mail.example.org")
        asked = message(question(WWW, someKey()))
        for caller, words in (
            (Caller(4713, frozenset({4711})), "user 4713 gets nothing here"),
            (CALLER, "user 4711 may not be www.example.org"),
        ):
            self.patch(serving, "callerOf", lambda _, caller=caller: caller)
            self.assertEqual((await self.ask(asked)).words, words)

    async def test_whateverIsSaidOthersAreServed(self) -> None:
        """
        Meanwhile, and afterwards; nothing is raised.
        """
        self.patch(visiting, "VISIT_SECONDS", 0.3)
        self.serve()
        good = message(question(WWW, someKey()))
        for name, data, talk in (
            ("nothing", b"", None),
            ("half of a length", b"\0\0", None),
            ("huge", b"\xff\xff\xff\xff" + b"x" * 100_000, None),
            ("empty", bytes(4), None),
            ("HTTP", b"GET / HTTP/1.1\r\n\r\n", None),
            ("cut", good[:-1], lambda sock: sock.shutdown(socket.SHUT_WR)),
            ("slow", good[:10], None),
            ("more behind it", good + good, None),
            ("reset", good, lambda sock: sock.close()),
        ):
            strange = deferToThread(self._quietly, data, talk)
            self.assertEqual((await self.ask(good)).verdict, Verdict.ISSUED, name)
            await strange
        self.assertEqual(self.flushLoggedErrors(), [])

    def _quietly(self, data: bytes, talk: Callable[[socket.socket], None] | None) -> None:
        try:
            self.exchange(data, talk)
        except OSError:
            # Which is its own doing.
            pass

    async def test_oneUserHasNoMoreThanHisPart(self) -> None:
        """
        Of connections; those beyond are told to come again, and others are served.
        """
        self.patch(admission, "PER_USER", 3)
        self.serve()
        held = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for each in held:
            self.addCleanup(each.close)
            each.connect(str(self.path))
            each.settimeout(PATIENCE)
        self.assertIn(b"~user", await deferToThread(held[3].recv, 100))
        self.patch(serving, "callerOf", lambda _: Caller(1))
        answer = await self.ask(message(question(WWW, someKey())))
        self.assertEqual(answer.verdict, Verdict.ISSUED)

    async def test_whoAsksTooOftenIsToldSo(self) -> None:
        """
        And the log has not a line for each.
        """
        self.patch(admission, "RATE_PER_USER", 2.0)
        self.serve()
        several = [self.ask(message(b"x")) for _ in range(8)]
        answers = await gatherResults([Deferred.fromCoroutine(each) for each in several])
        verdicts = [each.verdict for each in answers]
        self.assertIn(Verdict.BUSY, verdicts)
        self.assertIn(Verdict.REFUSED, verdicts)
        refused = [each for each in self.events if each.get("event") == "refused"]
        words = [each.get("outcome") for each in refused]
        self.assertEqual(sorted(map(str, words)), ["None", "rate"])

    async def test_theLogTellsWhoHasTooMuchOnceAMinute(self) -> None:
        """
        With the process that was last, and how many there were since.
        """
        self.patch(admission, "PER_USER", 2)
        clock = Clock()
        guests = admission.Admission(clock, Deadlines(clock))
        for _ in range(2):
            guests.enter(CALLER)
        for _ in range(3):
            self.assertRaises(TooMany, guests.enter, CALLER)
        guests.enter(Caller(1))
        clock.advance(REST_SECONDS)
        told = [
            (each["log_level"].name, each["source"], each["outcome"], each["peer"], each["count"])
            for each in self.events
        ]
        user = "user 4711", "limit", "unix:uid=4711"
        self.assertEqual(told, [("warn", *user, 1), ("warn", *user, 2)])
        self.assertIn("process 1", str(self.events[0]["name"]))

    def test_whereThereAreFewDescriptorsTheNumberIsTheOneThatCounts(self) -> None:
        """
        Which is less than elsewhere.
        """
        self.patch(quotas, "share", lambda: 2)
        clock = Clock()
        guests = admission.Admission(clock, Deadlines(clock))
        for _ in range(2):
            guests.enter(CALLER)
        refusal = self.assertRaises(TooMany, guests.enter, CALLER)
        self.assertEqual(refusal.detail, "user 4711 has 2 connections here already")

    async def test_whoWasGivenOneMayStayAndIsServedWhateverOthersDo(self) -> None:
        """
        As are the other users; who is told to come again is that user's new connections.
        """
        self.patch(admission, "PER_USER", 1)
        self.serve()
        asked = message(question(WWW, someKey()))
        with socket.socket(socket.AF_UNIX) as staying, socket.socket(socket.AF_UNIX) as silent:
            for each in (staying, silent):
                each.settimeout(PATIENCE)
            staying.connect(str(self.path))

            def askThere() -> bytes:
                staying.sendall(asked)
                return self.hear(staying)

            first = self.read(await deferToThread(askThere))
            silent.connect(str(self.path))
            self.assertEqual((await self.ask(asked)).verdict, Verdict.BUSY)
            second = self.read(await deferToThread(askThere))
            self.assertEqual((first.verdict, second.verdict), (Verdict.ISSUED, Verdict.ISSUED))
            self.assertNotEqual(first.chain, second.chain)
            self.agent.stopService()
            self.assertEqual(await deferToThread(staying.recv, 1), b"")

    async def test_whoStaysHasBoundsToo(self) -> None:
        """
        In number, in time, and in how often it may ask.
        """
        self.patch(admission, "STAYING_PER_USER", 1)
        self.patch(admission, "RATE_PER_USER", 2.0)
        self.serve(lifetime=5.0)
        asked = message(question(WWW, someKey()))
        callers = iter([CALLER, Caller(4711, pid=2)])
        self.patch(serving, "callerOf", lambda _: next(callers))
        with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
            for each in (one, other):
                each.settimeout(PATIENCE)
                each.connect(str(self.path))

                def askThere(sock: socket.socket = each) -> bytes:
                    sock.sendall(asked)
                    return self.hear(sock)

                self.assertEqual(self.read(await deferToThread(askThere)).verdict, Verdict.ISSUED)
            self.assertEqual(await deferToThread(other.recv, 1), b"")
            verdicts = [self.read(await deferToThread(askThere, one)).verdict for _ in range(3)]
            self.assertEqual(verdicts.count(Verdict.BUSY), 1)
            self.assertEqual(await deferToThread(one.recv, 1), b"")

    async def test_whoAsksFirstWhileItStopsDoesNotStay(self) -> None:
        """
        Nothing would end that connection, and the process would wait for it.
        """
        self.serve()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self.path))
            await wait(lambda: self.agent.tally()["connection"] == 1)
            self.agent.stopService()
            sock.sendall(message(question(WWW, someKey())))
            heard = await deferToThread(self.hear, sock)
            self.assertEqual(self.read(heard).verdict, Verdict.ISSUED)
            self.assertEqual(await deferToThread(sock.recv, 1), b"")

    async def test_aNewIssuerIsTakenUp(self) -> None:
        """
        At a reload; a broken one is not.
        """
        agent = self.serve()
        before = agent.issuing.intermediate.chain
        shutil.rmtree(self.base / "issuer")
        self.assertIn("fullchain.pem", await agent.reload())
        self.assertEqual(agent.issuing.intermediate.chain, before)
        intermediateIn(self.base, "example.com")
        self.assertEqual(await agent.reload(), "")
        answer = await self.ask(message(question(Identity.parse("a.example.com"), someKey())))
        self.assertEqual(answer.verdict, Verdict.ISSUED)

    def test_whatCannotBeUsedIsNotStartedWith(self) -> None:
        """
        And nothing is listened at.
        """
        shutil.rmtree(self.base / "issuer")
        self.assertRaises(ConfigurationError, self.serve)
        self.assertFalse(self.path.exists())

    def test_anIssuerThatWillExpireIsSaid(self) -> None:
        """
        Every day.
        """
        clock = Clock()
        clock.advance(reactor.seconds())
        self.path = self.base / "agent"
        local = UNIXAddress(str(self.path))
        agent = AgentService(AgentDescription(self.base / "issuer", local), clock)
        agent.privilegedStartService()
        for port in agent._ports:
            self.patch(port, "startListening", lambda: None)
        agent.startService()
        self.addCleanup(agent.stopService)
        self.assertNotIn("notice", [each.get("event") for each in self.events])
        for _ in range(337):
            clock.advance(86400)
        notices = [each["notice"] for each in self.events if each.get("event") == "notice"]
        self.assertIn("the issuer expires on", notices[0])
