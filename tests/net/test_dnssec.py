"""
Tests for L{tlstunnel.net.dnssec} and L{tlstunnel.net.dnsmessages}: what is believed of the answers
of a resolver.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.internet.defer import Deferred
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.ports import freePort
from tests.resolvers import (
    TLSA,
    Resolver,
    Script,
    alias,
    answer,
    reactor,
    record,
    silent,
    soa,
    tlsa,
)
from tlstunnel.address import TCPAddress
from tlstunnel.net import dnssec
from tlstunnel.net.dnsmessages import (
    LONGEST_TTL,
    Answer,
    Ignored,
    LookupFailed,
    Message,
    Question,
    judged,
)
from tlstunnel.net.dnssec import ValidatingResolver

NAME = "_25._tcp.mx.example.org"
DATA = b"\3\1\1" + b"d" * 32


def other(query: dns.Message, **changes: Any) -> bytes:
    """A good answer, but for C{changes}."""
    return answer(query, tlsa(NAME), **changes)


def failure(query: dns.Message) -> bytes:
    """A failure that is to be believed."""
    return answer(query, code=dns.ESERVER)


def asked(name: str, kind: int = TLSA, cls: int = dns.IN) -> list[dns.Query]:
    """A section with one question."""
    return [dns.Query(name.encode(), kind, cls)]


class ResolverTests(TestCase):
    """Real questions, and answers by script."""

    async def ask(
        self,
        script: Script,
        stream: Script = silent,
        name: str = NAME,
        host: str = "127.0.0.1",
        kind: int = TLSA,
    ) -> Answer:
        """Ask a resolver."""
        resolver = self.resolver = Resolver(script, stream, host)
        try:
            return await ValidatingResolver(reactor, resolver.address).ask(name, kind)
        finally:
            await resolver.close()

    async def refused(self, script: Script, stream: Script = silent) -> LookupFailed:
        """Ask a resolver that gives no good answer."""
        try:
            found = await self.ask(script, stream)
        except LookupFailed as failed:
            return failed
        raise AssertionError(f"that was taken for an answer: {found}")

    async def test_whatTheResolverHasValidated(self) -> None:
        """All records, and whether they are proved."""
        for isSecure in True, False:
            found = await self.ask(
                lambda query, isSecure=isSecure: [  # type: ignore[misc]
                    answer(query, tlsa(NAME), tlsa(NAME, b"\2\0\1" + b"e" * 32), isSecure=isSecure)
                ]
            )
            self.assertEqual(found, Answer(isSecure, (DATA, b"\2\0\1" + b"e" * 32), 300))

    async def test_overIPv6(self) -> None:
        """At ::1."""
        found = await self.ask(lambda query: [answer(query, tlsa(NAME))], host="::1")
        self.assertEqual(found.records, (DATA,))

    async def test_theQuery(self) -> None:
        """It says that AD is understood, and how much we take; nothing is told from the outside."""
        for _ in range(2):
            await self.ask(lambda query: [answer(query, tlsa(NAME))])
            (query,) = self.resolver.queries
            self.assertTrue(query.recDes and query.authenticData)
            self.assertFalse(query.answer or query.checkingDisabled)
            self.assertEqual(query.queries, asked(NAME))
            (option,) = query.additional
            self.assertEqual((option.type, option.cls, option.ttl), (41, 4096, 0))
            self.assertEqual(self.resolver.peers[0][0], "127.0.0.1")

    async def test_numbersAndPortsAreNew(self) -> None:
        """Whoever cannot read the question has to guess both, each time."""
        self.patch(dnssec, "TRY_SECONDS", (0.01,) * 12)
        with self.assertRaises(LookupFailed):
            await self.ask(silent)
        self.assertEqual(len(self.resolver.queries), 12)
        self.assertGreater(len({each.id for each in self.resolver.queries}), 9)
        self.assertGreater(len({port for _, port in self.resolver.peers}), 9)

    async def test_thereIsNothing(self) -> None:
        """No such name, and a name without such records; for as long as the zone says."""
        for code in dns.OK, dns.ENAME:
            for section, seconds in (
                ([soa(60)], 60),
                ([soa(600, ttl=30)], 30),
                ([soa(90000, ttl=90000)], LONGEST_TTL),
                ([], 0),
            ):
                found = await self.ask(
                    lambda query, code=code, section=section: [  # type: ignore[misc]
                        answer(query, code=code, authority=section)
                    ]
                )
                self.assertEqual(found, Answer(True, (), seconds))

    async def test_howLongItCounts(self) -> None:
        """As long as all of it does, and never for longer than an hour."""
        for first, second, seconds in (300, 20, 20), (0, 300, 0), (90000, 90000, LONGEST_TTL):
            found = await self.ask(
                lambda query, first=first, second=second: [  # type: ignore[misc]
                    answer(query, alias(NAME, "x.example.org", first), tlsa("x.example.org"))
                    if second == 300
                    else answer(query, tlsa(NAME, ttl=first), tlsa(NAME, b"\3\1\2x", ttl=second))
                ]
            )
            self.assertEqual(found.seconds, seconds)

    async def test_aliasesAreFollowed(self) -> None:
        """From the name asked for, without regard to case."""
        found = await self.ask(
            lambda query: [
                answer(
                    query,
                    tlsa("b.example.net"),
                    alias(NAME.upper(), "A.example.net"),
                    alias("a.example.NET", "b.example.net"),
                )
            ]
        )
        self.assertEqual(found.records, (DATA,))

    async def test_aliasesThatLeadElsewhere(self) -> None:
        """What is not at their end is not an answer."""
        here = NAME
        loop = [alias(NAME, "a"), alias("a", NAME)]
        far = [alias(NAME, "n0"), *(alias(f"n{n}", f"n{n + 1}") for n in range(9)), tlsa("n9")]
        for answers in (
            [tlsa("other.example.org")],
            [tlsa(here), tlsa("other.example.org")],
            [alias("other.example.org", here), tlsa(here)],
            [alias(here, "a"), tlsa(here)],
            [alias(here, "a"), tlsa("b")],
            [alias(here, "a"), alias(here, "b"), tlsa("a")],
            [*loop, tlsa(NAME)],
            [alias(NAME, NAME), tlsa("x")],
            far,
        ):
            failed = await self.refused(lambda query, all_=answers: [answer(query, *all_)])  # type: ignore[misc]
            self.assertRegex(str(failed), "another name|several names")

    async def test_otherKindsAndClassesAreNoneOfThem(self) -> None:
        """They stand in answers, as signatures do."""
        odd = tlsa(NAME)
        odd.cls = dns.CH
        found = await self.ask(
            lambda query: [
                answer(query, odd, record(NAME, 46, dns.UnknownRecord(b"sig")), tlsa(NAME))
            ]
        )
        self.assertEqual(found.records, (DATA,))

    async def test_itCouldNotBeValidated(self) -> None:
        """SERVFAIL is asked once, and never means that there is nothing."""
        failed = await self.refused(lambda query: [answer(query, code=dns.ESERVER)])
        self.assertEqual(failed.cause, "servfail")
        self.assertEqual(len(self.resolver.queries), 1)

    async def test_otherCodes(self) -> None:
        """The same."""
        for code in 1, 4, 5, 6, 15:
            failed = await self.refused(
                lambda query, code=code: [answer(query, tlsa(NAME), code=code)]  # type: ignore[misc]
            )
            self.assertIn(f"(code {code})", str(failed))

    async def test_nobodyIsThere(self) -> None:
        """That is known at once."""
        ours = ValidatingResolver(reactor, TCPAddress("127.0.0.1", freePort()))
        began = reactor.seconds()
        with self.assertRaises(LookupFailed) as caught:
            await ours.ask(NAME, TLSA)
        self.assertEqual(caught.exception.cause, "unreachable")
        self.assertLess(reactor.seconds() - began, dnssec.TRY_SECONDS[0])

    async def test_aLostQuestionIsAskedAgain(self) -> None:
        """Once."""
        self.patch(dnssec, "TRY_SECONDS", (0.05, 20))
        found = await self.ask(
            lambda query: [answer(query, tlsa(NAME))] if len(self.resolver.queries) > 1 else []
        )
        self.assertEqual(found.records, (DATA,))

    async def test_whatIsNoAnswer(self) -> None:
        """It is as if nothing had come: the next one counts."""
        forged: dict[str, Any] = {
            "another number": lambda query: other(query, id=query.id ^ 1),
            "a query": lambda query: other(query, answer=0),
            "another operation": lambda query: other(query, opCode=4),
            "another name": lambda query: other(query, queries=asked("_25._tcp.mx.example.com")),
            "another type": lambda query: other(query, queries=asked(NAME, dns.A)),
            "another class": lambda query: other(query, queries=asked(NAME, TLSA, dns.CH)),
            "no question": lambda query: other(query, queries=[]),
            "several": lambda query: other(query, queries=asked(NAME) * 2),
            "many records": lambda query: answer(query, *[tlsa(NAME)] * 51),
            "many others": lambda query: answer(query, tlsa(NAME), authority=[soa(1)] * 50),
            "too long": lambda query: answer(query, tlsa(NAME, bytes(5000))),
            "cut off": lambda query: other(query)[:-1],
            "cut in its header": lambda query: other(query)[:7],
            "nothing": lambda query: b"",
            "a header alone": lambda query: other(query)[:12],
            "a record of another length": lambda query: other(query).replace(
                b"\0\x23\3\1\1", b"\0\x22\3\1\1"
            ),
            "an alias of another length": lambda query: _lengthened(
                answer(query, alias(NAME, "a.example.net"), tlsa("a.example.net"))
            ),
            "fewer records than it says": lambda query: _counting(other(query), 2),
        }
        for what, make in forged.items():
            failed = await self.refused(
                lambda query, make=make: [make(query), failure(query)]  # type: ignore[misc]
            )
            self.assertEqual(failed.cause, "servfail", what)

    async def test_whatIsNoAnswerDoesNotHideOne(self) -> None:
        """The right one behind many wrong ones counts."""
        found = await self.ask(
            lambda query: [
                *(other(query, id=query.id ^ number) for number in range(1, 40)),
                answer(query, tlsa(NAME)),
                answer(query, tlsa(NAME, b"\3\1\1late")),
            ]
        )
        self.assertEqual(found.records, (DATA,))

    async def test_anotherSender(self) -> None:
        """Nobody else at this host is heard, whatever he knows."""
        stranger = Resolver(silent)
        self.addCleanup(lambda: Deferred.fromCoroutine(stranger.close()))

        def script(query: dns.Message) -> Sequence[bytes]:
            transport: Any = stranger.transport
            transport.write(other(query), self.resolver.peers[-1])
            return [failure(query)]

        self.assertEqual((await self.refused(script)).cause, "servfail")

    async def test_aLongAnswerComesByTCP(self) -> None:
        """What a datagram had of it is not looked at."""
        found = await self.ask(
            lambda query: [answer(query, tlsa(NAME, b"\3\1\1cut"), trunc=1)],
            lambda query: [answer(query, *[tlsa(NAME, b"\2\0\0" + bytes(1000))] * 40)],
        )
        self.assertEqual(len(found.records), 40)
        (query,) = self.resolver.streamed
        self.assertTrue(query.authenticData)

    async def test_TCPIsNoBetter(self) -> None:
        """A wrong answer, or one that is cut, by TCP."""
        for stream in (
            lambda query: [other(query, id=query.id ^ 1)],
            lambda query: [other(query, trunc=1)],
            lambda query: [answer(query, *[tlsa(NAME)] * 51)],
            lambda query: [b""],
        ):
            failed = await self.refused(lambda query: [answer(query, trunc=1)], stream)
            self.assertEqual(failed.cause, "unreachable")

    async def test_TCPIsRefused(self) -> None:
        """By a resolver that has only datagrams."""

        def script(query: dns.Message) -> Sequence[bytes]:
            self.resolver.closeStream()
            return [answer(query, trunc=1)]

        self.assertEqual((await self.refused(script)).cause, "unreachable")

    async def test_namesThatDNSCannotHave(self) -> None:
        """They are refused before anybody is asked."""
        for name in "a" * 64 + ".org", ".".join(["a" * 60] * 5), "a..b", "\u00e4.org":
            with self.assertRaises(LookupFailed):
                await self.ask(silent, name=name)
            self.assertEqual(self.resolver.queries, [])

    async def test_withoutSockets(self) -> None:
        """It is a failure like others."""

        def poor(*arguments: object) -> None:
            raise OSError(24, "Too many open files")

        self.patch(socket, "socket", poor)
        ours = ValidatingResolver(reactor, TCPAddress("127.0.0.1", 53))
        with self.assertRaises(LookupFailed):
            await ours.ask(NAME, TLSA)

    async def test_whoLeavesLeavesNothing(self) -> None:
        """A question that nobody waits for any more has no socket and no timer."""
        for script in silent, lambda query: [answer(query, trunc=1)]:
            asking = Deferred.fromCoroutine(self.ask(script))
            while not (self.resolver.queries if script is silent else self.resolver.streamed):
                await _turn()
            asking.cancel()
            asking.addErrback(lambda _: None)


def _turn() -> Deferred[None]:
    """One turn of the reactor."""
    over: Deferred[None] = Deferred()
    reactor.callLater(0, over.callback, None)
    return over


def _lengthened(wire: bytes) -> bytes:
    """A message in which the data of an alias is a byte longer than its name."""
    at = wire.index(dns.CNAME.to_bytes(2, "big") + b"\0\1")
    end = wire.index(b"\0", at + 11) + 1
    length = int.from_bytes(wire[at + 8 : at + 10], "big") + 1
    return wire[: at + 8] + length.to_bytes(2, "big") + wire[at + 10 : end] + b"x" + wire[end:]


def _counting(wire: bytes, answers: int) -> bytes:
    """A message that says it had so many answers."""
    return wire[:6] + answers.to_bytes(2, "big") + wire[8:]


class ReadingTests(SynchronousTestCase):
    """What comes from the wire."""

    @given(some.binary(max_size=400))
    def test_whateverComes(self, wire: bytes) -> None:
        """It is an answer, or ignored."""
        question = Question(NAME, TLSA)
        header = question.number.to_bytes(2, "big") + b"\x81\xa0\0\1\0\1\0\0\0\0"
        name = question.wire[12 : 12 + len(NAME) + 2]
        for each in wire, header + wire, header + name + b"\0\x34\0\1" + wire:
            try:
                self.assertIsInstance(question.read(each), Message)
            except Ignored:
                pass

    @given(some.data())
    def test_whateverIsChanged(self, data: Any) -> None:
        """A good answer with some bytes changed is one about the same name, or ignored."""
        question = Question(NAME, TLSA)
        query = dns.Message()
        query.fromStr(question.wire)
        wire = bytearray(answer(query, alias(NAME, "a.example.net"), tlsa("a.example.net")))
        for _ in range(data.draw(some.integers(1, 4))):
            wire[data.draw(some.integers(0, len(wire) - 1))] = data.draw(some.integers(0, 255))
        try:
            message = question.read(bytes(wire))
            judged(question, message)
        except (Ignored, LookupFailed):
            pass
