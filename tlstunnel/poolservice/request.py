"""
The request to speak TLS on a connection, as programs write it in our own protocol.

Whoever makes a mistake in it is told what is wrong and what to write instead, in a sentence for the
log of the program that its author reads.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from tlstunnel.errors import ConfigurationError, likely
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.interfaces import IDialect
from tlstunnel.poolservice.messages import SHORT_BYTES
from tlstunnel.poolservice.refusals import BadRequest, NoRemote
from tlstunnel.poolservice.wanted import Demand, Wanted
from tlstunnel.protocols.registry import find

#: The fields that it may have.
FIELDS = (
    "role",
    "remote",
    "local",
    "client",
    "starttls",
    "service",
    "alpn",
    "minimum",
    "timeout",
    "plain",
)

#: What stands for nobody.
NOBODY = "-"

#: Whose TLS it is that begins at once.
IMPLICIT = "none"

#: The most bytes of an ALPN id (RFC 7301, section 3.1), and the most ids.
ID_BYTES = 255
MOST_IDS = 32

#: Versions of TLS that may be asked for.
VERSIONS = ("1.2", "1.3")

_SECONDS = re.compile("[1-9][0-9]{0,5}")

_Read = TypeVar("_Read")


class Plain(enum.Enum):
    """
    Of what kind the plaintext socket is.
    """

    UNIX = "unix"
    TCP = "tcp"


@dataclass(frozen=True)
class Request:
    """
    One request.

    @ivar wanted: what is wanted of TLS.
    @ivar plain: of what kind the plaintext socket is to be.
    @ivar service: what the program says that the connection is for; we only take note.
    """

    wanted: Wanted
    plain: Plain = Plain.UNIX
    service: str = ""


def requestOf(fields: Mapping[str, str]) -> Request:
    """
    Read the fields of a request.

    @raise Refusal: they make no sense, or do not say enough.
    """
    items = tuple(fields.items())
    # Most programs ask for the same again and again.
    isShort = sum(map(len, fields.values())) <= SHORT_BYTES
    return _requestAgain(items) if isShort else _requestOf(items)


def _requestOf(items: tuple[tuple[str, str], ...]) -> Request:
    fields = dict(items)
    for key, said in items:
        if key not in FIELDS:
            near = likely(key, FIELDS)
            remedy = f"did you mean {near}=?" if near else f"there are {', '.join(FIELDS)}"
            raise BadRequest(f"there is no field {key}=; {remedy}")
        if not said and key != "service":
            raise BadRequest(f"{key}= is empty; give a value, or leave the line out")
    isClient = _word(fields, "role", ("client", "server"), "") == "client"
    dialect = _dialect(fields)
    wanted = (_client if isClient else _server)(fields, dialect)
    plain = Plain(_word(fields, "plain", [each.value for each in Plain], Plain.UNIX.value))
    if dialect.opensChannels and plain is Plain.UNIX:
        raise BadRequest(
            f"starttls={dialect.name} has data connections, which need an address; add plain=tcp"
        )
    return Request(wanted, plain, fields.get("service", ""))


_requestAgain = lru_cache(maxsize=256)(_requestOf)


def _client(fields: Mapping[str, str], dialect: IDialect) -> Wanted:
    if "client" in fields:
        raise BadRequest("client= is what a server demands; leave it out with role=client")
    remote = fields.get("remote")
    if remote is None:
        raise NoRemote(
            "a client has to say who must be at the other end; add remote=, such as "
            "remote=mail.example.org"
        )
    local = fields.get("local")
    isNobody = local == NOBODY
    return Wanted(
        isClient=True,
        dialect=dialect,
        remote=_read("remote", remote, Identity.parse),
        local=None if local is None or isNobody else _read("local", local, Identity.parse),
        isNobody=isNobody,
        alpn=_alpn(fields),
        minimum=_word(fields, "minimum", VERSIONS, VERSIONS[0]),
        seconds=_seconds(fields),
    )


def _server(fields: Mapping[str, str], dialect: IDialect) -> Wanted:
    remote, local = fields.get("remote"), fields.get("local")
    if local == NOBODY:
        raise BadRequest("a server has to be somebody; leave local=- out to be whom clients want")
    default = Demand.IGNORE if remote is None else Demand.REQUIRE
    words = [each.value for each in Demand]
    demand = Demand(_word(fields, "client", words, default.value))
    if remote is not None and demand is not Demand.REQUIRE:
        raise BadRequest(
            f"remote= says who clients must be, and client={demand.value} lets anybody in; leave "
            "one of them out"
        )
    return Wanted(
        isClient=False,
        dialect=dialect,
        remote=None if remote is None else _read("remote", remote, Selector.parse),
        local=None if local is None else _read("local", local, Identity.parse),
        demand=demand,
        alpn=_alpn(fields),
        minimum=_word(fields, "minimum", VERSIONS, VERSIONS[0]),
        seconds=_seconds(fields),
    )


def _word(
    fields: Mapping[str, str], key: str, words: tuple[str, ...] | list[str], default: str
) -> str:
    """
    One of C{words}.
    """
    said = fields.get(key, default)
    if said not in words:
        several = ", ".join(words[:-1]) + f" or {words[-1]}"
        if not said:
            raise BadRequest(f"the request does not say the {key}; add {key}={several}")
        raise BadRequest(f"{key}={said} is not known; write {several}")
    return said


def _read(key: str, said: str, parse: Callable[[str], _Read]) -> _Read:
    try:
        return parse(said)
    except ValueError as error:
        raise BadRequest(f"{key}= is wrong: {error}") from None


def _dialect(fields: Mapping[str, str]) -> IDialect:
    name = fields.get("starttls", IMPLICIT)
    try:
        return find(name)
    except ConfigurationError as error:
        raise BadRequest(f"starttls= is wrong: {error.problem}; {error.remedy}") from None


def _alpn(fields: Mapping[str, str]) -> tuple[bytes, ...] | None:
    said = fields.get("alpn")
    if said is None:
        return None
    ids = tuple(each.encode() for each in said.split(","))
    if not all(0 < len(each) <= ID_BYTES for each in ids):
        raise BadRequest(
            f"alpn= has an id that is empty or longer than {ID_BYTES} bytes; write ids with one "
            "comma between them, such as alpn=h2,http/1.1"
        )
    if len(ids) > MOST_IDS:
        raise BadRequest(f"alpn= has more than {MOST_IDS} ids; give fewer")
    return ids


def _seconds(fields: Mapping[str, str]) -> float | None:
    said = fields.get("timeout")
    if said is None:
        return None
    if not _SECONDS.fullmatch(said):
        raise BadRequest(f"timeout={said} is no time; give whole seconds, such as timeout=15")
    return float(said)
