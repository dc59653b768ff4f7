"""
Questions of DNS and answers to them, as C{twisted.names} writes and reads them: what of an answer
counts.

Nothing here is sent, and nothing is known of what the records mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from struct import unpack
from typing import IO, Any

from twisted.names import dns

from tlstunnel.errors import quote

#: The most records in all of an answer, unless somebody takes more, and the most names of which
#: each is another one's alias.
RECORDS = 50
ALIASES = 8

#: The most seconds that an answer counts, whatever it says itself.
LONGEST_TTL = 3600

#: What we take in a datagram (RFC 6891, section 6.2.3): on this host nothing is in fragments.
DATAGRAM = 4096

# RFC 1035, section 3.1: the length of a name in its usual form, and of what is between its dots.
_LONGEST_NAME = 253
_LABEL = re.compile("[!-~]{1,63}")

# The type of what says how much we take (RFC 6891).
_OPT = 41

# The types whose data is read, as names in it may be written in short; of others it stays as it is.
_READ: dict[int, Any] = {
    dns.CNAME: dns.Record_CNAME,
    dns.SOA: dns.Record_SOA,
    dns.SRV: dns.Record_SRV,
}


class LookupFailed(Exception):
    """
    Nobody knows what there is, or it must not be believed.

    @ivar cause: C{servfail}, where the resolver says no more than that it failed; C{unreachable},
        where it says nothing; else empty.
    """

    def __init__(self, problem: str, cause: str = "") -> None:
        self.cause = cause
        super().__init__(problem)


class Ignored(Exception):
    """
    That is no answer to our question.
    """


@dataclass(frozen=True)
class Answer:
    """
    What there is of a name.

    @ivar isSecure: whether DNSSEC proves it; also that there is nothing.
    @ivar records: the data of the records of the type asked for.
    @ivar seconds: how long it counts.
    """

    isSecure: bool
    records: tuple[bytes, ...]
    seconds: float


class Message(dns.Message):
    """
    A message of which nothing is read that we did not ask for, and nothing passed over that cannot
    be read.
    """

    def parseRecords(self, list: list[dns.RRHeader], num: int, strio: IO[bytes]) -> None:
        """
        Read a section.

        @raise Exception: whatever is wrong with it.
        """
        for _ in range(num):
            header = dns.RRHeader()
            header.decode(strio)
            end = strio.tell() + (header.rdlength or 0)
            payload = self.lookupRecordType(header.type)(ttl=header.ttl)
            payload.decode(strio, header.rdlength)
            if strio.tell() != end:
                raise ValueError("a record has another length than it says")
            header.payload = payload
            list.append(header)

    def lookupRecordType(self, type: int) -> Any:
        """
        What reads the data of a record.
        """
        return _READ.get(type, dns.UnknownRecord)


class Question:
    """
    One question, asked once.
    """

    def __init__(self, name: str, kind: int, isValidated: bool = True, most: int = RECORDS) -> None:
        """
        @param kind: the type of the records (RFC 1035, section 3.2.2).
        @param isValidated: ask whether DNSSEC proves the answer, and take longer datagrams.
        @param most: the most records in all of an answer.
        @raise LookupFailed: there is no such name.
        """
        isShort = len(name) <= _LONGEST_NAME
        if not (isShort and name.isascii() and all(map(_LABEL.fullmatch, name.split(".")))):
            raise LookupFailed(f"{quote(name.encode())} is no name that DNS can have")
        self.name = name.encode()
        self.kind = kind
        self.number = dns.randomSource()
        self._isValidated = isValidated
        self._most = most

    @property
    def wire(self) -> bytes:
        """
        The message that asks it: it may say that AD is understood (RFC 6840, section 5.7).
        """
        message = Message(self.number, recDes=1, authenticData=int(self._isValidated))
        message.addQuery(self.name, self.kind)
        if self._isValidated:
            message.additional = [dns.RRHeader(b"", _OPT, DATAGRAM, payload=dns.UnknownRecord())]
        return message.toStr()

    def read(self, wire: bytes) -> Message:
        """
        Read an answer to it.

        @raise Ignored: it is none, or cannot be read.
        """
        try:
            number, flags, asked, *counts = unpack("!6H", wire[:12])
            # Nothing is read before it is known how much there is.
            isOurs = number == self.number and flags & 0x8000
            if isOurs and asked == 1 and sum(counts) <= self._most:
                message = Message()
                stream = BytesIO(wire)
                message.decode(stream)
                if stream.read(1):
                    raise ValueError("there is something behind the message")
                (query,) = message.queries
                found = query.name.name.lower(), query.type, query.cls
                if found == (self.name.lower(), self.kind, dns.IN) and not message.opCode:
                    return message
        except Exception as error:
            raise Ignored from error
        raise Ignored


def judged(question: Question, message: Message) -> Answer:
    """
    What an answer says.

    @raise LookupFailed: that it is not known what there is.
    """
    if message.rCode == dns.ESERVER:
        raise LookupFailed(
            f"the resolver failed to look up {question.name.decode()} (SERVFAIL)", "servfail"
        )
    if message.rCode not in (dns.OK, dns.ENAME):
        raise LookupFailed(
            f"the resolver refused to look up {question.name.decode()} (code {message.rCode})"
        )
    records, seconds = _found(question, message)
    if not records:
        seconds = min(seconds, _secondsOfNothing(message))
    return Answer(bool(message.authenticData), tuple(records), seconds)


def _found(question: Question, message: Message) -> tuple[list[bytes], float]:
    """
    The records asked for, at the end of the aliases that lead from the name asked for (RFC 1034,
    section 4.3.2); anything else of their type has no business in the answer.

    @return: their data, and how long they count.
    @raise LookupFailed: there is something else.
    """
    aliases: dict[bytes, bytes] = {}
    found: list[tuple[bytes, bytes]] = []
    seconds = float(LONGEST_TTL)
    for each in message.answers:
        payload: Any = each.payload
        owner = each.name.name.lower()
        if each.cls != dns.IN or each.type not in (dns.CNAME, question.kind):
            continue
        seconds = min(seconds, each.ttl)
        if each.type == question.kind:
            found.append((owner, payload.data))
        elif owner in aliases:
            raise LookupFailed(f"{quote(owner)} is an alias of several names")
        else:
            aliases[owner] = payload.name.name.lower()
    path = [question.name.lower()]
    while path[-1] in aliases and len(path) <= ALIASES:
        path.append(aliases[path[-1]])
    isElsewhere = any(owner != path[-1] for owner, _ in found)
    if isElsewhere or set(aliases) != set(path[:-1]) or path[-1] in aliases:
        raise LookupFailed(f"the answer about {question.name.decode()} has records of another name")
    return [data for _, data in found], seconds


def _secondsOfNothing(message: Message) -> float:
    """
    How long it counts that there is nothing (RFC 2308, section 5); no time where nobody says so.
    """
    times = []
    for each in message.authority:
        payload: Any = each.payload
        if each.type == dns.SOA:
            times.append(min(each.ttl, payload.minimum))
    return float(min(times, default=0))
