r"""
The chat dialect: the conformance vectors, on a test clock, with the peer's bytes split at every
position.

In the table, the peer's words are as on the wire but for C{¶}, which is CRLF, C{~}, which begins a
new segment, and C{~+3s}, which begins it so many seconds later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.chat.wire import END, Wire, drive, makeConversation
from tlstunnel.chat.dialect import ChatDialect, chatDialect
from tlstunnel.chat.escapes import Values
from tlstunnel.chat.parse import ScriptOptions, parseScript
from tlstunnel.chat.run import Run
from tlstunnel.chat.steps import Side
from tlstunnel.errors import Closed, ForeignProtocol, Oversize, PlaintextAfterStartTLS, TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.base import ClientRole, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.setting import Setting
from tlstunnel.testing.memory import Driver

Segment = tuple[float, bytes | object]

SEED = rb"""
"220 " "EHLO\r\n\c"
"250-STARTTLS" "\c"
"250 " "STARTTLS\r\n\c"
"220 " "\c"
"""
SMTP = rb"""
GREETING "220 \T ESMTP\r\n"
ABORT "421 " ABORT "454 " ABORT "500 " ABORT "501 " ABORT "502 " ABORT "530 " ABORT "554 "
TIMEOUT 60
"220 " "\c"
TIMEOUT 30
"\n" "EHLO \U\r\n\c"
"250 " "\c"
"\n" "STARTTLS\r\n\c"
"220 " "\c"
"\n"
"""
OFFERED = rb"""
GREETING "220 \T ESMTP\r\n"
TIMEOUT 60
"220 " "\c"
"\n" "EHLO \U\r\n\c"
"STARTTLS\r\n" "STARTTLS\r\n\c"
"220 " "\c"
"""
IMAP = rb"""
GREETING "* OK \T ready\r\n"
ABORT "t1 NO" ABORT "t1 BAD" ABORT "* BYE" ABORT "* PREAUTH"
"* OK" "\c"
"\n" "t1 STARTTLS\r\n\c"
"t1 OK" "\c"
"\n"
"""
POP3 = rb"""
GREETING "+OK \T ready\r\n"
ABORT "-ERR"
"+OK" "\c"
"\n" "STLS\r\n\c"
"+OK" "\c"
"\n"
"""
XMPP = rb"""
BINARY ON
ABORT "<failure" ABORT "stream:error" ABORT "</stream:stream>"
"" "<?xml version='1.0'?><stream:stream to='\T' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\c"
"urn:ietf:params:xml:ns:xmpp-tls" "\c"
"</stream:features>" "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\c"
"<proceed" "\c"
">" "\c"
"""
PG = rb"""
BINARY ON
ABORT N ABORT E
"" "\000\000\000\010\004\322\026\057\c"
S "\c"
"""
SERVE = rb"""
SWALLOW "220 "
"" "220 \U ESMTP\r\n\c"
"EHLO " "\c"
"\n" "250-\U\r\n250 STARTTLS\r\n\c"
"STARTTLS\r\n" "220 2.0.0 Ready to start TLS\r\n\c"
"""

GREETING = "220 mx.example.org ready¶"
POSTFIX_GREETING = "220 mail.example.org ESMTP Postfix (Debian/GNU)¶"
GO = "220 2.0.0 Ready to start TLS¶"
MID = "250-mx at your service¶250-SIZE 157286400¶250-STARTTLS¶250 SMTPUTF8¶"
LAST = "250-mx¶250-SIZE 157286400¶250 STARTTLS¶"
NONE = "250-mx¶250 HELP¶"
POSTFIX = (
    "250-mail.example.org¶250-PIPELINING¶250-SIZE 10240000¶250-VRFY¶250-ETRN¶250-STARTTLS¶"
    "250-ENHANCEDSTATUSCODES¶250-8BITMIME¶250-DSN¶250-SMTPUTF8¶250 CHUNKING¶"
)
SYNTAX = "501 Syntax: EHLO hostname¶"
HEADER = (
    "<?xml version='1.0'?><stream:stream from='mail.example.org' id='x' version='1.0' "
    "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
TLS_FEATURE = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
FEATURES = f"<stream:features>{TLS_FEATURE}</stream:features>"
PROCEED = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
OUR_HEADER = (
    b"<?xml version='1.0'?><stream:stream to='mail.example.org' version='1.0' "
    b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
XMPP_SENDS = [
    OUR_HEADER,
    b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
]

BARE = [b"EHLO\r\n", b"STARTTLS\r\n"]
NAMED = [b"EHLO client.example.net\r\n", b"STARTTLS\r\n"]
SERVED = [b"220 mail.example.org ESMTP\r\n", b"250-mail.example.org\r\n250 STARTTLS\r\n"]
READY = b"220 2.0.0 Ready to start TLS\r\n"


def segments(text: str | bytes) -> list[Segment]:
    """What the notation of the table means."""
    if isinstance(text, bytes):
        return [(0.0, text)] if text else []
    found: list[Segment] = []
    for part in re.split("~(?=[^/])", text):
        delay, rest = re.fullmatch(r"(?:\+([0-9]+)s)?(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
        said = rest.replace("¶", "\r\n").encode("latin-1")
        if said:
            found.append((float(delay or 0), said))
    return found


@dataclass(frozen=True)
class Vector:
    """
    One line of the table.

    @ivar says: what the peer says at once, or after its first delay.
    @ivar answers: what it answers to a send that contains the key.
    @ivar outcome: C{TLS}, C{residue}, or code and reason.
    @ivar at: seconds, where the time of the outcome matters.
    @ivar tail: the residue.
    """

    number: int
    script: bytes
    says: str | bytes
    answers: Mapping[bytes, str | bytes]
    sends: Sequence[bytes]
    outcome: str
    at: float | None = None
    tail: bytes = b""
    mode: Side = "client"
    strict: bool = False
    ends: bool = False
    sendTimes: Sequence[float] = field(default_factory=tuple)


def smtp(
    number: int,
    script: bytes,
    sends: Sequence[bytes],
    outcome: str,
    *,
    greeting: str = GREETING,
    ehlo: str = MID,
    starttls: str | bytes = GO,
    **more: object,
) -> Vector:
    """A vector with an SMTP server."""
    answers = {b"EHLO": ehlo, b"STARTTLS": starttls}
    return Vector(number, script, greeting, answers, sends, outcome, **more)  # type: ignore[arg-type]


def line(number: int, script: bytes, says: str | bytes, outcome: str, **more: object) -> Vector:
    """A vector of the second table: a script in a line."""
    sends = more.pop("sends", [])
    answers = more.pop("answers", {})
    return Vector(number, script, says, answers, sends, outcome, **more)  # type: ignore[arg-type]


def imap(number: int, says: str, outcome: str, t: str = "", **more: object) -> Vector:
    """A vector with an IMAP server, that gets as far as the upgrade command if it has an answer."""
    sends = [b"t1 STARTTLS\r\n"] if t else []
    return Vector(number, IMAP, says, {b"STARTTLS": t}, sends, outcome, **more)  # type: ignore[arg-type]


def pop3(number: int, says: str, t: str, outcome: str, **more: object) -> Vector:
    """A vector with a POP3 server."""
    return Vector(number, POP3, says, {b"STLS": t}, [b"STLS\r\n"], outcome, **more)  # type: ignore[arg-type]


def xmpp(number: int, proceed: str, outcome: str, **more: object) -> Vector:
    """A vector with an XMPP server."""
    answers = {b"<stream": HEADER + FEATURES, b"<starttls": proceed}
    return Vector(number, XMPP, "", answers, XMPP_SENDS, outcome, **more)  # type: ignore[arg-type]


def pg(says: str, outcome: str, **more: object) -> Vector:
    """A vector with a PostgreSQL server."""
    request = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
    return Vector(36, PG, "", {request: says}, [request], outcome, **more)  # type: ignore[arg-type]


VECTORS = [
    smtp(1, SEED, BARE, "TLS"),
    smtp(2, SEED, BARE, "TLS", greeting="220-mx¶220 ready¶"),
    smtp(3, SEED + b'"\\n"', BARE, "TLS"),
    smtp(4, SEED, BARE, "TLS", starttls="220 2.0~+2s.0 Ready\r~+1s\n", at=3),
    smtp(5, SEED, BARE[:1], "3 timeout", ehlo=LAST, at=45),
    smtp(6, SEED, BARE[:1], "3 timeout", ehlo=NONE, at=45),
    smtp(7, SEED, BARE[:1], "3 timeout", greeting=POSTFIX_GREETING, ehlo=SYNTAX, at=45),
    smtp(8, SEED, BARE, "TLS", strict=True),
    smtp(8, SEED, BARE, "TLS", ehlo=LAST, strict=True),
    smtp(
        9,
        SEED,
        [b"EHLO\r\n", b"STARTTLS\r"],
        "3 timeout",
        greeting=POSTFIX_GREETING,
        ehlo=SYNTAX,
        starttls="",
        strict=True,
        at=90,
        sendTimes=(0, 45),
    ),
    smtp(10, SEED.replace(b'"250-STARTTLS"', b"250-STARTTLS"), BARE, "TLS", ehlo=LAST),
    smtp(11, SEED, BARE, "residue", starttls="220 2.0.0 Ready¶250 evil¶", tail=b"250 evil\r\n"),
    smtp(12, SEED, BARE, "residue", starttls="220 2.0.0 Ready¶X", tail=b"X"),
    smtp(
        13, SEED, BARE, "residue", starttls=b"220 2.0.0 Ready\r\n\x16\x03\x01", tail=b"\x16\x03\x01"
    ),
    smtp(14, SMTP, NAMED, "TLS", greeting=POSTFIX_GREETING, ehlo=POSTFIX),
    smtp(15, SMTP, NAMED, "TLS", ehlo=LAST),
    smtp(
        16,
        SMTP,
        NAMED,
        "8 refused",
        ehlo=NONE,
        starttls="502 5.5.1 Error: command not implemented¶",
    ),
    smtp(
        17,
        SMTP,
        NAMED,
        "5 refused",
        greeting=POSTFIX_GREETING,
        ehlo=POSTFIX,
        starttls="454 4.7.0 TLS not available due to local problem¶",
    ),
    smtp(18, SMTP, [], "10 refused", greeting="554 5.7.1 no¶"),
    smtp(
        19,
        SMTP,
        NAMED,
        "TLS",
        greeting="220-mail.example.org wait¶~+6s" + POSTFIX_GREETING,
        ehlo=POSTFIX,
        sendTimes=(6, 6),
    ),
    smtp(
        20,
        SMTP,
        NAMED,
        "TLS",
        greeting="+31s" + POSTFIX_GREETING,
        ehlo=POSTFIX,
        sendTimes=(31, 31),
    ),
    smtp(
        21,
        SMTP,
        NAMED,
        "residue",
        greeting=POSTFIX_GREETING,
        ehlo=POSTFIX,
        starttls="220 2.0.0 Ready¶235 2.7.0 ok¶",
        tail=b"235 2.7.0 ok\r\n",
    ),
    smtp(22, OFFERED, NAMED, "TLS", greeting=POSTFIX_GREETING, ehlo=POSTFIX),
    smtp(22, OFFERED, NAMED, "TLS", ehlo=LAST),
    smtp(23, OFFERED, NAMED[:1], "3 timeout", ehlo=NONE, at=60),
    smtp(23, OFFERED, NAMED[:1], "3 timeout", ehlo="250-mx¶250 starttls¶", at=60),
    imap(
        24,
        "* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] Dovecot ready.¶",
        "TLS",
        '* LIST () "/" evil¶t1 OK Begin TLS negotiation now.¶',
    ),
    imap(25, "* PREAUTH ready¶", "7 refused"),
    imap(26, "* B~+1sYE x¶", "6 refused", at=1),
    imap(27, "* OK ready¶", "4 refused", "t1 NO no¶"),
    imap(27, "* OK ready¶", "3 timeout", "t10 OK x¶", at=45),
    imap(28, "* OK ready¶", "residue", "* OK t1 OK¶t1 BAD¶", tail=b"t1 BAD\r\n"),
    pop3(29, "+OK Dovecot ready. <1.2@h>¶", "+OK Begin TLS negotiation now.¶", "TLS"),
    pop3(30, "+OK ready¶", "-ERR TLS support not enabled.¶", "4 refused"),
    pop3(31, "+OK ready¶", "+OK go¶+OK evil¶", "residue", tail=b"+OK evil\r\n"),
    xmpp(32, PROCEED, "TLS"),
    xmpp(33, PROCEED + "\n", "residue", tail=b"\n"),
    xmpp(34, PROCEED.replace("proceed", "failure") + "</stream:stream>", "4 refused"),
    Vector(
        35,
        XMPP,
        "",
        {b"<stream": HEADER + "<stream:features></stream:features>"},
        XMPP_SENDS[:1],
        "3 timeout",
        at=45,
    ),
    pg("S", "TLS"),
    pg("N", "4 refused"),
    pg("Efatal", "5 refused"),
    pg("SR", "residue", tail=b"R"),
    Vector(37, SERVE, "EHLO me.example¶~STARTTLS¶", {}, [*SERVED, READY], "TLS", mode="server"),
    Vector(
        38,
        SERVE,
        "EHLO me.example¶~STARTTLS¶NOOP¶",
        {},
        SERVED,
        "residue",
        tail=b"NOOP\r\n",
        mode="server",
    ),
    Vector(39, SERVE, "EHLO me.example¶~starttls¶", {}, SERVED, "3 timeout", mode="server"),
    line(
        41,
        rb'TIMEOUT 5 ogin:--ogin: ppp x "\c"',
        "",
        "TLS",
        answers={b"ppp\r": "x\n", b"\r": "login:"},
        sends=[b"\r", b"ppp\r"],
        sendTimes=(5, 5),
    ),
    line(
        42,
        rb'TIMEOUT 5 a-b c z "\c"',
        "",
        "TLS",
        answers={b"c\r": "z\n"},
        sends=[b"b\r", b"c\r"],
        sendTimes=(5, 5),
    ),
    line(43, rb'TIMEOUT 5 a- "\c"', "", "3 timeout", at=5),
    line(44, rb'ABORT ab ab "\c"', "ab\n", "TLS"),
    line(45, rb'ABORT BUSY BU "\c" SY "\c"', "BUSY\n", "TLS"),
    line(46, rb'ABORT NOPE z "\c"', "NO~+1sPE", "4 refused", at=1),
    line(47, rb'TIMEOUT 3 z "\c"', "~".join(["+1sa"] * 5), "3 timeout", at=3),
    line(48, rb'TOTAL 5 z "\c"', "", "3 timeout", at=5),
    line(49, rb'x-y-z "\c"', "aa", "3 closed", ends=True),
    line(51, rb'"caf\303\251" "\c"', b"\x63\x61\x66\xc3\xa9\x0a", "TLS"),
    line(52, rb'BINARY ON "\003\000" "\c"', b"\x03\x00", "TLS"),
    line(53, rb'BINARY ON "220 " "\c"', "220 go¶", "residue", tail=b"go\r\n"),
    line(54, rb'BINARY ON "" "a\cb"', "", "TLS", sends=[b"acb\r"]),
    line(55, b'BINARY ON "" ""', "", "TLS", sends=[b"\r"]),
    line(56, rb'BINARY ON "" "\1\12\101\377\c"', "", "TLS", sends=[b"\x01\x0a\x41\xff"]),
    line(
        57,
        rb'BINARY ON "" "^A^?\^\-\$\s\q\x\c"',
        "",
        "TLS",
        sends=[b"\x01\x1f\x5e\x2d\x24\x20\x78"],
    ),
    line(58, b'BINARY ON "" EOT', "", "TLS", sends=[b"\x04"]),
    line(59, b'"220 " "\\c"\r\n', "220 go¶", "TLS"),
    line(
        60,
        rb'"" @/etc/hostname x "\c"',
        "",
        "TLS",
        answers={b"@": "x\n"},
        sends=[b"@/etc/hostname\r"],
    ),
    line(61, rb'"" "TIMEOUT" 10 "\c"', "10\n", "TLS", sends=[b"TIMEOUT\r"]),
]


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
