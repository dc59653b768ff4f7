"""
The first line of a NATS server, C{INFO} and an object of JSON.

What is read here comes from a peer that has proved nothing yet: the line is bounded before it is
looked at, the JSON has to be as its specification has it, no name occurs twice, and of the object
nothing is kept but values of known names, kinds and sizes.  They are written anew for the other
end, which is told neither to use TLS nor where servers are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from tlstunnel.errors import Malformed, TunnelError
from tlstunnel.protocols.conversation import Conversation

#: Bytes that the line may have: servers list each other in it.
MAX_INFO_BYTES = 32768

_LINE = re.compile(rb"INFO[ \t]+(\{.*\})[ \t]*", re.IGNORECASE | re.DOTALL)
_ERROR = re.compile(rb"-ERR\b", re.IGNORECASE)

# A string, also one that does not end.
_STRING = re.compile(rb'"(?:[^"\\]|\\.|\\\Z)*+(?:"|\Z)', re.DOTALL)

# What leaves of anything that opens or closes a brace, and of all else nothing.
_BRACES = bytes.maketrans(b"[]", b"{}")
_OTHERS = bytes(set(range(256)).difference(b"[]{}"))

# Nothing that is known is deeper than a list in the object.
_MAX_DEPTH = 8

# Digits of an unsigned integer of 64 bits.
_MAX_DIGITS = 20
_MAX_TEXT = 255

# What servers write nowhere; programs that search the line, and read no JSON, might take what
# stands behind it for another name.
_QUOTES = frozenset('"\\')

_TEXTS = frozenset(
    "server_id server_name version go git_commit client_ip nonce cluster domain xkey".split()
)
_NUMBERS = {
    "proto": 1 << 31,
    "port": 1 << 16,
    "max_payload": 1 << 63,
    "client_id": 1 << 64,
    "api_lvl": 1 << 31,
}
_FLAGS = frozenset("auth_required headers jetstream ldm".split())

_HOST = "host"
_DEMANDED, _AVAILABLE = "tls_required", "tls_available"

Value = str | int


@dataclass(frozen=True)
class Info:
    """
    What a server says of itself.

    @ivar values: of known names, in the order in which they came, and nothing about TLS.
    @ivar demandsTLS: whether it takes nobody without TLS.
    @ivar offersTLS: whether it takes TLS.
    """

    values: Mapping[str, Value]
    demandsTLS: bool
    offersTLS: bool

    def line(self, host: bytes, demandsTLS: bool = False) -> bytes:
        """
        The line, made of these values.

        @param host: who the server is to whoever reads it.
        @param demandsTLS: whether it is to tell a client to begin with TLS.
        """
        told: dict[str, Value] = {**self.values, _HOST: host.decode("ascii")}
        if demandsTLS:
            told[_DEMANDED] = True
        return b"INFO " + json.dumps(told, separators=(",", ":")).encode("ascii") + b"\r\n"


def parseInfo(line: bytes) -> Info:
    """
    Read the line of a server, without its end.

    @raise Malformed: if it is anything else.
    """
    found = _LINE.fullmatch(line)
    if found is None:
        raise Malformed("not the INFO of a NATS server", line)
    try:
        _checkDepth(found[1])
        said = json.loads(
            found[1].decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_constant=_refuse,
        )
        values = {name: value for name, value in said.items() if _isKnown(name, value)}
        demands, offers = _isTrue(said, _DEMANDED), _isTrue(said, _AVAILABLE)
    except ValueError as error:
        why = "no JSON" if isinstance(error, json.JSONDecodeError | UnicodeError) else str(error)
        raise Malformed(f"the INFO of the peer is unfit: {why}", line) from None
    return Info(values, demands, demands or offers)


async def readInfo(conversation: Conversation, refusal: type[TunnelError]) -> Info:
    """
    Hear it from a server, to which nothing was said.

    @param refusal: what to raise if it says C{-ERR} instead, such as for too many connections.
    """
    conversation.maxLine = MAX_INFO_BYTES
    line = await conversation.readLine()
    if _ERROR.match(line):
        raise refusal("expected INFO", line)
    return parseInfo(line)


def _checkDepth(text: bytes) -> None:
    """
    Before anything is built of it: each round takes away what has nothing in it any more.
    """
    left = _STRING.sub(b"", text).translate(_BRACES, _OTHERS)
    for _ in range(_MAX_DEPTH):
        left = left.replace(b"{}", b"")
    if left:
        raise ValueError("objects within objects, or without an end")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    known = dict(pairs)
    if len(known) < len(pairs):
        raise ValueError("a name occurs twice")
    return known


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number of too many digits")
    return int(digits)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _isKnown(name: str, value: object) -> bool:
    """
    Whether a value is to be kept.

    @raise ValueError: if it is not what this name stands for.
    """
    if name in _TEXTS:
        fits = isinstance(value, str) and _isText(value)
    elif name in _NUMBERS:
        fits = type(value) is int and 0 <= value < _NUMBERS[name]
    elif name in _FLAGS:
        fits = isinstance(value, bool)
    else:
        return False
    if not fits:
        raise ValueError(f"{name} has a value that cannot be")
    return True


def _isText(value: str) -> bool:
    return len(value) <= _MAX_TEXT and value.isprintable() and _QUOTES.isdisjoint(value)


def _isTrue(said: Mapping[str, object], name: str) -> bool:
    value = said.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return value
