"""
Tests for L{tlstunnel.net.services}: the order of records, what of an answer can be used, and how a
resolver is asked.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.names import dns
from twisted.names.authority import FileAuthority
from twisted.names.server import DNSServerFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.ports import freePort
from tlstunnel.net import services
from tlstunnel.net.dnsmessages import Ignored, Message, Question
from tlstunnel.net.services import (
    LEAST_SECONDS,
    MOST_SECONDS,
    RECORDS,
    NoRecords,
    Record,
    ask,
    askNow,
    inOrder,
    recordsIn,
    servers,
)

reactor: Any = _reactor

OWNER = "_submission._tcp.example.org"

RECORD_SETS = st.lists(
    st.builds(
        Record,
        st.integers(0, 3),
        st.integers(0, 65535),
        st.integers(1, 65535),
        st.sampled_from(("a.example.", "b.example.", "c.example.")),
    ),
    max_size=60,
)


class OrderTests(SynchronousTestCase):
    """
    L{inOrder}: RFC 2782.
    """

    @given(RECORD_SETS, st.randoms(use_true_random=False))
    def test_lowerPrioritiesComeFirst(self, records: list[Record], random: Random) -> None:
        """
        And everybody comes once.
        """
        ordered = inOrder(records, random)
        self.assertEqual(Counter(ordered), Counter(records))
        priorities = [each.priority for each in ordered]
        self.assertEqual(priorities, sorted(priorities))

    def test_aWeightIsAChance(self) -> None:
        """
        Among those with the same priority.
        """
        records = [Record(1, weight, 1, f"{weight}.example.") for weight in (0, 10, 30, 60)]
        random = Random(2782)
        firsts = Counter(inOrder(records, random)[0].weight for _ in range(10000))
        for weight, share in ((0, 0.01), (10, 0.1), (30, 0.3), (60, 0.6)):
            self.assertLess(abs(firsts[weight] / 10000 - share), 0.02)

    def test_withoutWeightsTheyComeAsTheyCome(self) -> None:
        """
        All of them.
        """
        records = [Record(1, 0, port, "a.example.") for port in (1, 2, 3)]
        self.assertCountEqual(inOrder(records, Random(1)), records)


def srv(
    target: str = "mx.example.org", port: int = 587, ttl: int = 300, owner: str = OWNER, **more: int
) -> dns.RRHeader:
    """
    A record as it is in an answer.
    """
    payload = dns.Record_SRV(more.get("priority", 0), more.get("weight", 0), port)
    payload.target.name = target.encode("latin-1")
    return dns.RRHeader(owner, dns.SRV, dns.IN, ttl, payload)


class AnswerTests(SynchronousTestCase):
    """
    L{recordsIn}.
    """

    def test_aRecord(self) -> None:
        """
        Its target is complete, so that no resolver appends anything to it.
        """
        found, seconds = recordsIn([srv("MX.example.org", priority=1, weight=2)], OWNER)
        self.assertEqual(found, (Record(1, 2, 587, "mx.example.org."),))
        self.assertEqual(seconds, 300)

    def test_theShortestTimeToLiveCountsWithinBounds(self) -> None:
        """
        Nobody has us ask all the time, or never again.
        """
        for times, expected in (
            ((300, 60), 60),
            ((0, 60), LEAST_SECONDS),
            ((2**31 - 1,), MOST_SECONDS),
        ):
            answer = [srv(port=n + 1, ttl=ttl) for n, ttl in enumerate(times)]
            self.assertEqual(recordsIn(answer, OWNER)[1], expected)

    def test_aDotAloneIsNo(self) -> None:
        """
        RFC 2782: the service is decidedly not available at this domain.
        """
        self.assertEqual(recordsIn([srv(target="")], OWNER)[0], ())

    def test_whatCannotBeConnectedToIsPassedOver(self) -> None:
        """
        Port 0, addresses, what is no name of a host, and a dot beside others.
        """
        good = srv("good.example.org")
        for target, port in (
            ("mx.example.org", 0),
            ("192.0.2.1", 25),
            ("", 25),
            ("a b.example", 25),
            ("a" * 64 + ".example", 25),
            ("\\\x1b[2J.example", 25),
        ):
            with self.subTest(target):
                found, _ = recordsIn([srv(target, port), good], OWNER)
                self.assertEqual([each.target for each in found], ["good.example.org."])
                if target:
                    self.assertRaises(NoRecords, recordsIn, [srv(target, port)], OWNER)

    def test_anotherNamesRecordsAreNobodys(self) -> None:
        """
        What was not asked for does not count.
        """
        self.assertRaises(NoRecords, recordsIn, [srv(owner="_imap._tcp.example.org")], OWNER)
        self.assertRaises(NoRecords, recordsIn, [], OWNER)

    def test_anAliasIsFollowed(self) -> None:
        """
        For a while.
        """
        alias = dns.RRHeader(OWNER.upper(), dns.CNAME, payload=dns.Record_CNAME("_s._tcp.other"))
        circle = dns.RRHeader("_s._tcp.other", dns.CNAME, payload=dns.Record_CNAME(OWNER))
        found, _ = recordsIn([alias, srv(owner="_s._tcp.other")], OWNER)
        self.assertEqual(len(found), 1)
        self.assertRaises(NoRecords, recordsIn, [alias, circle], OWNER)

    def test_notMoreRecordsCountThanMakeSense(self) -> None:
        """
        Those with the lowest priorities, and of these those that are chosen most often.
        """
        answer = [srv(port=n, priority=9999 - n) for n in range(1, 1000)]
        found, _ = recordsIn(answer, OWNER)
        self.assertEqual(len(found), RECORDS)
        self.assertEqual(found[0].port, 999)
        found, _ = recordsIn([srv(port=n, weight=n) for n in range(1, 1000)], OWNER)
        self.assertEqual({each.port for each in found}, set(range(1000 - RECORDS, 1000)))

    @given(st.binary(max_size=300))
    def test_noGarbageBreaksIt(self, garbage: bytes) -> None:
        """
        Whatever a target is.
        """
        try:
            found, _ = recordsIn([srv(garbage.decode("latin-1"))], OWNER)
        except NoRecords:
            return
        for each in found:
            self.assertTrue(each.target.isascii() and each.target.endswith("."))


class QuestionTests(SynchronousTestCase):
    """
    What counts as an answer.
    """

    def setUp(self) -> None:
        """
        A question, and an answer to it.
        """
        self.question = Question(OWNER, dns.SRV, isValidated=False)
        self.answer = dns.Message(self.question.number, answer=1)
        self.answer.queries = [dns.Query(OWNER.upper().encode(), dns.SRV)]
        self.answer.answers = [srv()]

    def test_theAnswer(self) -> None:
        """
        In whatever case the name is repeated.
        """
        found = self.question.read(self.answer.toStr())
        self.assertEqual(len(recordsIn(found.answers, OWNER)[0]), 1)

    def test_theAnswerToAnotherQuestionIsNone(self) -> None:
        """
        Nor is a question, or what somebody guesses who has not seen ours.
        """
        for key, value in (
            ("id", self.question.number ^ 1),
            ("answer", 0),
            ("queries", []),
            ("queries", [dns.Query(b"_imap._tcp.example.org", dns.SRV)]),
            ("queries", [dns.Query(OWNER.encode(), dns.A)]),
        ):
            with self.subTest(key):
                before = getattr(self.answer, key)
                setattr(self.answer, key, value)
                self.assertRaises(Ignored, self.question.read, self.answer.toStr())
                setattr(self.answer, key, before)

    @given(st.binary(max_size=200), st.integers(0, 100))
    def test_noGarbageBreaksIt(self, garbage: bytes, at: int) -> None:
        """
        Whatever a datagram has.
        """
        whole = self.answer.toStr()
        for data in garbage, whole[:at] + garbage, whole[:at] + garbage + whole[at:]:
            try:
                found = self.question.read(data)
                self.assertIsInstance(found, Message)
                recordsIn(found.answers, OWNER)
            except (Ignored, NoRecords):
                continue


class ServersTests(SynchronousTestCase):
    """
    L{servers}.
    """

    def test_theSystemsFileNamesThem(self) -> None:
        """
        The first three; without any it is this host (resolv.conf(5)).
        """
        path = Path(self.mktemp())
        self.patch(services, "RESOLV_CONF", path)
        self.assertEqual(servers(), [("127.0.0.1", 53)])
        path.write_text(
            "# comment\nsearch example.org\nnameserver nonsense\nnameserver\nnameserver 192.0.2.1\n"
            "nameserver 2001:DB8::1\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n"
        )
        hosts = [host for host, _ in servers()]
        self.assertEqual(hosts, ["192.0.2.1", "2001:db8::1", "192.0.2.3"])


class _Zone(FileAuthority):
    """
    A zone of the test's own.
    """

    soa: Any
    records: Any

    def __init__(self, records: Iterable[Any]) -> None:
        super().__init__("")
        self.records = {OWNER.encode(): list(records)}

    def loadFile(self, filename: Any) -> None:
        """
        There is no file.
        """
        self.soa = b"example.org", dns.Record_SOA(b"example.org", b"root.example.org")


class AskTests(TestCase):
    """
    L{ask} and L{askNow}, of a resolver on loopback.
    """

    timeout = 30

    def serve(self, *records: Any) -> None:
        """
        Be the resolver of this host.
        """
        factory = DNSServerFactory(authorities=[_Zone(records)])
        protocol = dns.DNSDatagramProtocol(factory)
        protocol.noisy = factory.noisy = False
        port = freePort()
        for each in (
            reactor.listenTCP(port, factory, interface="127.0.0.1"),
            reactor.listenUDP(port, protocol, interface="127.0.0.1"),
        ):
            self.addCleanup(each.stopListening)
        self.patch(services, "servers", lambda: [("127.0.0.1", port)])

    async def test_aResolverIsAsked(self) -> None:
        """
        Also by who waits at the start.
        """
        self.serve(dns.Record_SRV(10, 20, 587, "mx.example.org", ttl=99))
        found, seconds = await ask(reactor, OWNER)
        self.assertEqual(found, (Record(10, 20, 587, "mx.example.org."),))
        self.assertEqual(seconds, 99)
        await deferToThread(askNow, OWNER)

    async def test_aLongAnswerComesByTCP(self) -> None:
        """
        A datagram has 512 bytes; nothing is left open.
        """
        self.serve(*(dns.Record_SRV(1, 1, n, f"mx-{n}.example.org") for n in range(1, 41)))
        found, _ = await ask(reactor, OWNER)
        self.assertEqual(len(found), 40)
        await deferToThread(askNow, OWNER)

    async def test_aNameThatIsNotThereHasNone(self) -> None:
        """
        The resolver says so.
        """
        self.serve()
        other = "_imap._tcp.example.org"
        failing = Deferred.fromCoroutine(ask(reactor, other))
        await self.assertFailure(failing, NoRecords)
        await self.assertFailure(deferToThread(askNow, other), NoRecords)

    async def test_anotherResolverIsAskedWhereOneIsSilent(self) -> None:
        """
        In the end nobody is.
        """
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(silent.close)
        silent.bind(("127.0.0.1", 0))
        self.patch(services, "_TIMEOUTS", (0.05, 0.05))
        self.patch(services, "_START_SECONDS", 0.05)
        self.serve(dns.Record_SRV(10, 20, 587, "mx.example.org"))
        both = [silent.getsockname(), *services.servers()]
        self.patch(services, "servers", lambda: both)
        self.assertEqual(len((await ask(reactor, OWNER))[0]), 1)
        await deferToThread(askNow, OWNER)
        self.patch(services, "servers", lambda: both[:1])
        await self.assertFailure(Deferred.fromCoroutine(ask(reactor, OWNER)), NoRecords)
        await self.assertFailure(deferToThread(askNow, OWNER), NoRecords)
