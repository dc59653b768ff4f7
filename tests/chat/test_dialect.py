r"""
The chat dialect: the conformance vectors, on a test clock, with the peer's bytes split at every
position.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.chat.vectors import (
    IMAP,
    POP3,
    SERVE,
    SMTP,
    VECTORS,
    XMPP,
    Segment,
    Vector,
    line,
    segments,
)
from tests.chat.wire import END, Wire, drive, makeConversation
from tlstunnel.chat.dialect import ChatDialect, chatDialect
from tlstunnel.chat.escapes import Values
from tlstunnel.chat.parse import ScriptOptions, parseScript
from tlstunnel.chat.run import Run
from tlstunnel.errors import Closed, ForeignProtocol, Oversize, PlaintextAfterStartTLS, TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.base import ClientRole, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.setting import Setting
from tlstunnel.testing.memory import Driver


def splits(parts: Sequence[Segment]) -> Iterator[tuple[list[Segment], int]]:
    """C{parts} with one of them cut in two, in every way, and how many bytes are behind the cut."""
    for index, (delay, data) in enumerate(parts):
        assert isinstance(data, bytes)
        behind = sum(len(said) for _, said in parts[index + 1 :] if isinstance(said, bytes))
        for at in range(1, len(data)):
            halves: list[Segment] = [(delay, data[:at]), (0.0, data[at:])]
            yield [*parts[:index], *halves, *parts[index + 1 :]], behind + len(data) - at


def makeDialect(vector: Vector) -> ChatDialect:
    """The dialect of the vector's script."""
    us = b"mail.example.org" if vector.mode == "server" else b"client.example.net"
    options = ScriptOptions(vector.mode, Values(b"mail.example.org", us), vector.strict)
    return chatDialect(lambda: parseScript(vector.script, "t.chat", options))


def makeRole(vector: Vector, clock: Clock) -> ClientRole | ServerRole:
    """The role that plays the vector's script."""
    dialect = makeDialect(vector)
    role = dialect.server if vector.mode == "server" else dialect.client
    return role(Setting(), Deadlines(clock))


class Performance:
    """
    One run of a vector's script against its peer, with whatever segments.

    @ivar outcome: as in the table.
    """

    def __init__(
        self, vector: Vector, says: Sequence[Segment], answers: Mapping[bytes, Sequence[Segment]]
    ) -> None:
        self.clock = Clock()
        role = makeRole(vector, self.clock)
        self.wire = Wire(self.clock, role)
        left = dict(answers)

        def answer(data: bytes) -> None:
            for key in list(left):
                if key in data:
                    self.wire.later(left.pop(key))
                    break

        self.wire.answers = answer
        self.wire.later([*says, (0.0, END)] if vector.ends else says)

        async def upToTheSwitch() -> None:
            await role.negotiate()
            role.checkEmpty()

        error = drive(self.clock, Deferred.fromCoroutine(upToTheSwitch()))
        self.finished = self.clock.seconds()
        self.outcome = self.describe(error)

    @staticmethod
    def describe(error: TunnelError | None) -> str:
        """The outcome as in the table."""
        if error is None:
            return "TLS"
        if isinstance(error, PlaintextAfterStartTLS):
            return "residue"
        code = re.search("code ([0-9]+)", error.detail)
        assert code is not None, error
        return f"{code[1]} {error.reason}"


class Vectors(SynchronousTestCase):
    """
    The conformance vectors.
    """

    def perform(self, vector: Vector) -> Performance:
        """The vector as it stands."""
        answers = {key: segments(said) for key, said in vector.answers.items()}
        return Performance(vector, segments(vector.says), answers)

    def everySplit(self, vector: Vector) -> Iterator[tuple[Performance, int]]:
        """The vector with its peer's bytes cut at every position; and the bytes behind the cut."""
        says = segments(vector.says)
        answers = {key: segments(said) for key, said in vector.answers.items()}
        for cut, behind in splits(says):
            yield Performance(vector, cut, answers), behind
        for key, said in answers.items():
            for cut, behind in splits(said):
                yield Performance(vector, says, {**answers, key: cut}), behind

    def assertSends(self, vector: Vector, performance: Performance, about: object) -> None:
        """The role sent what the table says, no earlier and no later."""
        sent = performance.wire.sent
        self.assertEqual([data for _, data in sent], list(vector.sends), about)
        if vector.sendTimes:
            self.assertEqual([at for at, _ in sent], list(vector.sendTimes), about)

    def test_asTheyStand(self) -> None:
        """Outcome, sends, and times."""
        for vector in VECTORS:
            performance = self.perform(vector)
            self.assertEqual(performance.outcome, vector.outcome, vector)
            self.assertSends(vector, performance, vector)
            if vector.at is not None:
                self.assertEqual(performance.finished, vector.at, vector)

    def test_anySplitGivesTheSameOutcome(self) -> None:
        """
        Wherever the peer's bytes are cut.  Only a residue that is cut off whole arrives after the
        check, and then in the TLS handshake.
        """
        for vector in VECTORS:
            for performance, behind in self.everySplit(vector):
                about = f"vector {vector.number}, {behind} bytes behind the cut"
                if vector.tail and behind == len(vector.tail):
                    self.assertIn(performance.outcome, ("residue", "TLS"), about)
                    continue
                self.assertEqual(performance.outcome, vector.outcome, about)
                self.assertSends(vector, performance, about)
                if vector.at is not None:
                    self.assertEqual(performance.finished, vector.at, about)

    def test_singleBytesGiveTheSameOutcome(self) -> None:
        """All at once, as by a client that writes byte by byte."""

        def single(said: str | bytes) -> list[Segment]:
            return [
                (delay if index == 0 else 0.0, data[index : index + 1])
                for delay, data in segments(said)
                if isinstance(data, bytes)
                for index in range(len(data))
            ]

        for vector in VECTORS:
            answers = {key: single(said) for key, said in vector.answers.items()}
            performance = Performance(vector, single(vector.says), answers)
            wanted = "TLS" if vector.outcome == "residue" else vector.outcome
            self.assertEqual(performance.outcome, wanted, vector)


class Runs(SynchronousTestCase):
    """
    What the vectors do not show.
    """

    def run_(self, script: bytes, says: str | bytes = "", **more: object) -> Performance:
        """Run C{script} against a peer that says C{says}."""
        vector = line(0, script, says, "", **more)
        answers = {key: segments(said) for key, said in vector.answers.items()}
        return Performance(vector, segments(says), answers)

    def test_endlessInputIsCutOff(self) -> None:
        """Vector 50: code 2 after 64 KiB, in whatever pieces; what fits still matches."""
        for piece in b"220-x\r\n" * 100, b"220-x\r\n" * 20000:
            endless = [(0.0, piece)] * (70000 // len(piece) + 1)
            vector = line(50, rb'"220 " "\c"', "", "2 oversize")
            self.assertEqual(Performance(vector, endless, {}).outcome, "2 oversize")
        full = b"x" * 65531 + b"220 \n"
        self.assertEqual(self.run_(rb'"220 " "\c"', full).outcome, "TLS")
        self.assertEqual(self.run_(rb'"220 " "\c"', b"x" + full).outcome, "2 oversize")

    def test_limitOfBytesCountsTheWholeScript(self) -> None:
        """In one segment or in two."""
        script = rb'MAXBYTES 6 BINARY ON ab "\c" cd "\c" ef "\c"'
        self.assertEqual(self.run_(script, "abcdef").outcome, "TLS")
        self.assertEqual(self.run_(script, "abcdxef").outcome, "2 oversize")
        self.assertEqual(self.run_(script, "abcd~+1sx~+1sef").outcome, "2 oversize")

    def test_lastLineIsBounded(self) -> None:
        """8192 bytes of it are read."""
        self.assertEqual(self.run_(rb'"2" "\c"', b"2" + b"x" * 8191 + b"\n").outcome, "TLS")
        self.assertEqual(self.run_(rb'"2" "\c"', b"2" + b"x" * 8200 + b"\n").outcome, "2 oversize")

    def test_emptyLastExpectLeavesTheLine(self) -> None:
        """It reads nothing, so what is left of a line is a residue."""
        self.assertEqual(self.run_(rb'2 "\c" ""', "2").outcome, "TLS")
        self.assertEqual(self.run_(rb'2 "\c" ""', "20\n").outcome, "residue")

    def test_lastLineHasItsTime(self) -> None:
        """The time of an expect starts anew for it."""
        performance = self.run_(rb'TIMEOUT 5 2 "\c"', "+4s2~+4sx\n")
        self.assertEqual((performance.outcome, performance.finished), ("TLS", 8))
        performance = self.run_(rb'TIMEOUT 5 2 "\c"', "+4s2~+6sx\n")
        self.assertEqual((performance.outcome, performance.finished), ("3 timeout", 9))
        self.assertEqual(self.run_(rb'2 "\c"', "2", ends=True).outcome, "3 closed")

    def test_noTimeoutLeavesTheTotal(self) -> None:
        """C{-t 0} does not lift it."""
        options = ScriptOptions("server", timeout=None)
        dialect = chatDialect(lambda: parseScript(b"a", "t", options))
        clock = Clock()
        role = dialect.server(Setting(), Deadlines(clock))
        Wire(clock, role)
        error = drive(clock, Deferred.fromCoroutine(role.negotiate()))
        self.assertEqual((clock.seconds(), Performance.describe(error)), (30, "3 timeout"))

    def test_pausesAreTimers(self) -> None:
        """Nothing is written meanwhile, and each write is one piece."""
        performance = self.run_(rb'"" \da\pb\d\c x "\c"', "+4sx\n")
        self.assertEqual(performance.wire.sent, [(1, b"a"), (1.01, b"b")])
        self.assertEqual((performance.outcome, performance.finished), ("TLS", 4))

    def test_sendThatPausesTooLongFails(self) -> None:
        """The timeout covers a send too."""
        self.assertEqual(self.run_(rb'TIMEOUT 2 "" \d\dx y').outcome, "1 timeout")
        self.assertEqual(self.run_(rb'TIMEOUT 3 "" \d\dx y "\c"', "y\n").outcome, "TLS")

    def test_endOfInputDuringAPause(self) -> None:
        """What was received before is still there."""
        performance = self.run_(rb'a \d\c b "\c"', "ab\n", ends=True)
        self.assertEqual(performance.outcome, "TLS")

    def test_residueBeforeTheGoAheadKeepsItBack(self) -> None:
        """The last send of a server is not performed."""
        performance = self.run_(b'a "go"', "a\n", mode="server")
        self.assertEqual((performance.outcome, performance.wire.written), ("TLS", b"go\r"))
        performance = self.run_(b'a "go"', "a\nx", mode="server")
        self.assertEqual((performance.outcome, performance.wire.written), ("residue", b""))

    def test_residueDuringTheLastPause(self) -> None:
        """The buffer is looked at again before each write, and at the switch."""
        performance = self.run_(rb'a "\dgo\d\c"', "a\n~+1sx", mode="server")
        self.assertEqual((performance.outcome, performance.wire.written), ("residue", b""))
        performance = self.run_(rb'a "go\d\c"', "a\n~+1sx", mode="server")
        self.assertEqual((performance.outcome, performance.wire.written), ("residue", b"go"))

    def test_clientHelloMayFollowTheGoAheadAtOnce(self) -> None:
        """It lies in the socket by the time of the switch, and only TLS reads it."""
        role = makeRole(line(0, b'a "go\\c"', "", "", mode="server"), clock := Clock())
        wire = Wire(clock, role)
        wire.answers = lambda data: wire.kernel.extend(b"\x16")
        wire.later([(0.0, b"a\n")])
        self.assertIsNone(drive(clock, Deferred.fromCoroutine(role.negotiate())))
        role.checkEmpty()
        self.assertEqual((wire.written, bytes(wire.kernel)), (b"go", b"\x16"))

    def test_emptyScript(self) -> None:
        """Nothing is said, and nothing may have been said."""
        self.assertEqual(self.run_(b"").outcome, "TLS")

    def test_clearedAbortMovesTheCodes(self) -> None:
        """As in chat(8)."""
        script = rb'ABORT a ABORT b ABORT c CLR_ABORT b x "\c"'
        self.assertEqual(self.run_(script, "bc").outcome, "5 refused")

    def test_foreignProtocolsAreCutOff(self) -> None:
        """Rule 13, however the bytes come; a binary protocol may begin with anything."""
        for start in b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n":
            for pieces in [start], [start[index : index + 1] for index in range(len(start))]:
                role = makeRole(line(0, b"x y", "", "", mode="server"), clock := Clock())
                wire = Wire(clock, role)
                wire.later([(0.0, piece) for piece in pieces])
                error = drive(clock, Deferred.fromCoroutine(role.negotiate()))
                self.assertIsInstance(error, ForeignProtocol)
                self.assertEqual(clock.seconds(), 0)
        self.assertEqual(
            self.run_(b"BINARY ON \\026 y", b"\x16", mode="server").wire.written, b"y\r"
        )
        self.assertEqual(self.run_(b"GETUP y", b"GETUP\n", mode="server").wire.written, b"y\r")

    def test_insideTLSNothingIsForeign(self) -> None:
        """Where a client says nothing in clear, its first words are for the backend, as in NATS."""
        for first in b"CONNECT {}\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00":
            dialect = makeDialect(line(0, rb'"" "INFO {}\r\n\c"', "", "", mode="server"))
            driver = Driver(dialect, "server", dialling=1.0)
            driver.handshake()
            driver.network.feed(first)
            driver.clock.advance(1.0)
            driver.settle()
            self.assertIsNone(driver.error)
            self.assertEqual(driver.plain.written, first)


class Greetings(SynchronousTestCase):
    """
    What the plain leg gets, and what it does not.
    """

    def greeting(self, script: bytes) -> tuple[bytes, bool]:
        """What the app gets of a script, and whether the server must be silent."""
        vector = line(0, script, "", "")
        role = makeRole(vector, Clock())
        assert isinstance(role, ClientRole)
        return role.appGreeting(), makeDialect(vector).silentServer

    def test_appGetsTheGreetingOfTheScript(self) -> None:
        """Vectors 14, 24 and 29; and the server must stay silent for it (rule 10)."""
        for script, greeting in (
            (SMTP, b"220 mail.example.org ESMTP\r\n"),
            (IMAP, b"* OK mail.example.org ready\r\n"),
            (POP3, b"+OK mail.example.org ready\r\n"),
        ):
            self.assertEqual(self.greeting(script), (greeting, True))

    def test_withoutGreetingTheServerMaySpeak(self) -> None:
        """The app gets what it says inside TLS."""
        self.assertEqual(self.greeting(XMPP), (b"", False))

    def swallow(self, script: bytes, *pieces: bytes | object) -> tuple[TunnelError | None, bytes]:
        """What becomes of a backend that says C{pieces}, and what is left of them."""
        clock = Clock()
        role = makeRole(line(0, script, "", "", mode="server"), clock)
        assert isinstance(role, ServerRole)
        role.plain = Conversation(Deadlines(clock))
        wire = Wire(clock, role.plain)
        wire.later([(0.0, piece) for piece in pieces])
        error = drive(clock, Deferred.fromCoroutine(role.meetBackend()))
        clock.advance(0)
        return error, role.plain.takeRest() + bytes(wire.kernel)

    def test_backendsGreetingIsSwallowed(self) -> None:
        """Vector 40, wherever it is cut: all of the greeting, and nothing behind it."""
        said = b"220-a\r\n220 b\r\n250 x\r\n"
        for at in range(len(said)):
            error, rest = self.swallow(SERVE, said[:at], said[at:])
            self.assertEqual((error, rest), (None, b"250 x\r\n"))

    def test_severalAreSwallowedInOrder(self) -> None:
        """Each with its line."""
        script = b'SWALLOW "a" SWALLOW "b" "" x'
        self.assertEqual(self.swallow(script, b"xa b\r\nb c\r\nd")[1], b"d")

    def test_binaryGreetingEndsWithTheString(self) -> None:
        """There are no lines."""
        self.assertEqual(self.swallow(b'BINARY ON SWALLOW "a" "" x', b"a b\r\n")[1], b" b\r\n")

    def test_nothingIsSwallowedUnasked(self) -> None:
        """All that the backend says is relayed."""
        self.assertEqual(self.swallow(b'"" x', b"220 a\r\n"), (None, b"220 a\r\n"))

    def test_backendThatDoesNotGreet(self) -> None:
        """At the end of its input, and after 64 KiB."""
        error, _ = self.swallow(SERVE, b"554 no\r\n", END)
        self.assertIsInstance(error, Closed)
        error, _ = self.swallow(SERVE, b"x" * 65537)
        self.assertIsInstance(error, Oversize)


class Logs(SynchronousTestCase):
    """
    What is logged: escaped, and cut off (rule 12).
    """

    def logged(self, script: bytes, says: bytes, verbose: bool = False) -> list[str]:
        """What a run logs."""
        events: list[LogEvent] = []
        conversation, wire, clock = makeConversation()
        options = ScriptOptions("server", verbose=verbose)
        run = Run(
            parseScript(script, "t", options),
            conversation,
            Logger(observer=events.append),  # type: ignore[arg-type]
        )
        wire.deliver(says)
        drive(clock, Deferred.fromCoroutine(run.converse()))
        return [formatEvent(event) for event in events]

    def test_report(self) -> None:
        """The string and the rest of its line, also if the script ends within."""
        self.assertEqual(
            self.logged(b'REPORT CONN "\\n" "" z', b"xCONNECT 9\x1b[1m\r\nz\n"),
            ['chat report: "CONNECT 9"'],
        )
        self.assertEqual(
            self.logged(b"BINARY ON REPORT CONN 9", b"xCONNECT 9"), ['chat report: "CONNECT 9"']
        )

    def test_echo(self) -> None:
        """What is received while it is on, escaped."""
        self.assertEqual(
            self.logged(b'ECHO ON a "" ECHO OFF b "" ECHO ON c', b"\x1ba\xffb\nc\n"),
            ['chat received "\\x1ba"', 'chat received "\\x0ac"', 'chat received "\\x0a"'],
        )

    def test_say(self) -> None:
        """At once, without what belongs to a send."""
        self.assertEqual(self.logged(rb'SAY "\dhello\n" ""', b""), ['chat: "hello\\x0a"'])

    def test_dialogue(self) -> None:
        """On request; secrets are not shown."""
        self.assertEqual(self.logged(rb'"" \qsecret a', b"a\n"), [])
        self.assertEqual(
            self.logged(rb'"" \qsecret "" b\c a', b"a\n", verbose=True),
            [
                'chat: send "??????"',
                'chat: send "b"',
                'chat: expect "a"',
            ],
        )

    def test_longWordsAreCut(self) -> None:
        """At 200 bytes."""
        (text,) = self.logged(b"REPORT x y", b"x" * 500 + b"\ny\n")
        self.assertEqual(text, 'chat report: "' + "x" * 200 + '"...')
