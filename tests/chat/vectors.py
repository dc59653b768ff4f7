"""
The conformance vectors of chat: scripts, what a peer says, and what has to come of it.

In the table, the peer's words are as on the wire but for C{¶}, which is CRLF, C{~}, which begins a
new segment, and C{~+3s}, which begins it so many seconds later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tlstunnel.chat.steps import Side

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
