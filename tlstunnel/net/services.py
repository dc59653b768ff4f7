"""
SRV records (RFC 2782): where a domain has a service.

They are asked for without a thread, at the resolvers that resolv.conf(5) has.  Whatever the answer
is, it says where to connect, and never who has to be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tlstunnel.identity.names import normalDomain

#: Records of one answer that are used; and of all that is in it, such as addresses, that are read.
RECORDS = 50
RECORDS_READ = 500

#: Bounds of how long an answer counts, in seconds, whatever its time to live is.
LEAST_SECONDS, MOST_SECONDS = 5.0, 86400.0

#: Where the system's resolvers are; the first three of them count (resolv.conf(5)).
RESOLV_CONF = Path("/etc/resolv.conf")
SERVERS = 3
_PORT = 53

# Seconds that each resolver has, the first time and the second.
_TIMEOUTS = (1, 3)

# Seconds for an answer, where somebody waits for it at the start.
_START_SECONDS = 3.0

# How often a name may be said to be another one's.
_ALIASES = 8


class Record(NamedTuple):
    """
    One place of a service.

    @ivar priority: those with the lowest are tried first.
    @ivar weight: how often it is to be chosen among those with the same priority.
    """

    priority: int
    weight: int
    port: int
    target: str


class NoRecords(Exception):
    """
    Nobody knows of a service, or nothing of the answer can be used.
    """


def inOrder(records: Iterable[Record], random: Random) -> list[Record]:
    """
    The order in which to try C{records} (RFC 2782, "Usage rules").
    """
    left = sorted(records, key=lambda each: (each.priority, each.weight > 0))
    ordered = []
    while left:
        same = [each for each in left if each.priority == left[0].priority]
        chosen = random.randint(0, sum(each.weight for each in same))
        for each in same:
            chosen -= each.weight
            if chosen <= 0:
                break
        ordered.append(each)
        left.remove(each)
    return ordered


def recordsIn(answers: Sequence[Any], owner: str) -> tuple[tuple[Record, ...], float]:
    """
    What of an answer can be used.

    @param owner: what was asked for.
    @return: the records, and for how many seconds they count; none where the domain says that it
        has no such service.
    @raise NoRecords: if nothing can be used.
    """
    from twisted.names import dns

    wanted = owner.lower().encode()
    aliases = {
        each.name.name.lower(): each.payload.name.name.lower()
        for each in answers
        if each.type == dns.CNAME
    }
    for _ in range(_ALIASES):
        wanted = aliases.get(wanted, wanted)
    of = [each for each in answers if each.type == dns.SRV and each.name.name.lower() == wanted]
    if not of:
        raise NoRecords
    lifetime = min(max(min(each.ttl for each in of), LEAST_SECONDS), MOST_SECONDS)
    if len(of) == 1 and not of[0].payload.target.name.rstrip(b"."):
        return (), lifetime
    found = [record for each in of if (record := _record(each.payload)) is not None]
    if not found:
        raise NoRecords
    # Where there are too many, those that would be chosen least often are left out.
    found = sorted(set(found), key=lambda each: (each.priority, -each.weight, each))
    return tuple(found[:RECORDS]), lifetime


def _record(payload: Any) -> Record | None:
    """
    One record, if it names a place that can be connected to.
    """
    try:
        target = normalDomain(payload.target.name.decode("ascii").removesuffix("."))
    except ValueError:
        return None
    if not payload.port:
        return None
    # With a dot at the end no resolver appends others to it.
    return Record(payload.priority, payload.weight, payload.port, f"{target}.")


def servers() -> list[tuple[str, int]]:
    """
    The resolvers of the system (resolv.conf(5)).
    """
    try:
        lines = RESOLV_CONF.read_text("ascii", "replace").splitlines()
    except OSError:
        lines = []
    found = []
    for words in map(str.split, lines):
        if len(words) > 1 and words[0] == "nameserver":
            with suppress(ValueError):
                found.append((str(ip_address(words[1])), _PORT))
    return found[:SERVERS] or [("127.0.0.1", _PORT)]


async def ask(reactor: Any, owner: str) -> tuple[tuple[Record, ...], float]:
    """
    Look the records of C{owner} up.

    @return: see L{recordsIn}.
    @raise NoRecords: if there is no answer that can be used.
    """
    # Few need it, and DNS takes memory.
    from twisted.names import dns

    from tlstunnel.net.dnsmessages import Question
    from tlstunnel.net.question import asked

    for seconds in _TIMEOUTS:
        for server in servers():
            question = Question(owner, dns.SRV, isValidated=False, most=RECORDS_READ)
            with suppress(OSError):
                answer = await asked(reactor, server, question, seconds)
                if answer is not None and answer.rCode in (dns.OK, dns.ENAME):
                    return recordsIn(answer.answers, owner)
    raise NoRecords


def askNow(owner: str) -> None:
    """
    Look the records of C{owner} up, and wait for them: for the start, when nothing is served yet.

    @raise NoRecords: if there are none, or nobody answers.
    """
    from twisted.names import dns

    from tlstunnel.net.dnsmessages import DATAGRAM, Ignored, Question
    from tlstunnel.net.question import connected

    for server in servers():
        question = Question(owner, dns.SRV, isValidated=False, most=RECORDS_READ)
        try:
            with connected(server) as sock:
                sock.settimeout(_START_SECONDS)
                sock.send(question.wire)
                answer = question.read(sock.recv(DATAGRAM))
        except (OSError, Ignored):
            continue
        if answer.rCode in (dns.OK, dns.ENAME):
            if not answer.trunc:
                recordsIn(answer.answers, owner)
            return
    raise NoRecords
