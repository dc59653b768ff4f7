"""
What a message of the pool's own protocol looks like: how it is read, and how it is written.

A message is a verb and a line feed, then C{key=value} and a line feed for each thing that is said,
in UTF-8::

    tls
    role=client
    remote=mail.example.org

An answer may have a text behind an empty line, which a request never has.  This module knows
nothing of what is said, nor of how it travels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType

from tlstunnel.poolservice.refusals import BadRequest

#: The most bytes in a message.
MESSAGE_BYTES = 65536

#: The most lines behind the verb.
MOST_FIELDS = 64

#: The most characters of a value that is there for people to read.
PROSE = 2000

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")

# What would be the end of a line somewhere, or is not to be seen: the control characters of
# ISO 6429, and the separators of lines and paragraphs of Unicode.
_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")


#: The most bytes of a message that is remembered, with what it means.
SHORT_BYTES = 512


@dataclass(frozen=True)
class Message:
    """
    One message.

    @ivar verb: what it is about.
    @ivar fields: what is said, in order.
    @ivar text: what is behind the empty line.
    """

    verb: str
    fields: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    @cached_property
    def data(self) -> bytes:
        """
        What travels.  What has no place in a line is written as an escape of Python's.

        @raise ValueError: it is longer than a message can be.
        """
        said = self.fields.items()
        written = (
            "\n".join([self.verb, *(f"{key}={_escaped(value)}" for key, value in said)]) + "\n"
        )
        if self.text:
            written += "\n" + self.text
        data = written.encode()
        if len(data) > MESSAGE_BYTES:
            raise ValueError(f"a message has {MESSAGE_BYTES} bytes at most, and not {len(data)}")
        return data


def read(data: bytes) -> Message:
    """
    Read a request.  The line feed at its end may be left out.

    @raise BadRequest: it is none.
    """
    # Most programs ask for the same again and again.
    return _readAgain(data) if len(data) <= SHORT_BYTES else _read(data)


def _read(data: bytes) -> Message:
    try:
        said = data.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"byte {error.start} of the message is not UTF-8") from None
    verb, *lines = said.removesuffix("\n").split("\n", MOST_FIELDS + 1)
    if len(lines) > MOST_FIELDS:
        raise BadRequest(f"the message has more than {MOST_FIELDS} lines behind its verb")
    _check(verb, "the verb")
    if not _NAME.fullmatch(verb):
        raise BadRequest(
            f"the message begins with {_shown(verb)}; begin it with a verb on a line of its own, "
            "such as 'tls'"
        )
    fields: dict[str, str] = {}
    for number, line in enumerate(lines, 2):
        _check(line, f"line {number}")
        key, isThere, value = line.partition("=")
        if not (isThere and _NAME.fullmatch(key)):
            raise BadRequest(f"line {number} is {_shown(line)}; write KEY=VALUE, and one a line")
        if key in fields:
            raise BadRequest(f"{key}= is there twice; write it once")
        fields[key] = value
    return Message(verb, MappingProxyType(fields))


_readAgain = lru_cache(maxsize=256)(_read)


def prose(said: str) -> str:
    """
    What is for people to read, and needs not be there to its last word.
    """
    return said if len(said) <= PROSE else said[:PROSE] + "..."


def _check(line: str, what: str) -> None:
    found = _CONTROLS.search(line)
    if found is None:
        return
    if found[0] == "\0":
        remedy = "; send no NUL behind the text"
    elif found[0] == "\r":
        remedy = "; end lines with a line feed alone"
    else:
        remedy = ""
    raise BadRequest(f"{what} has the control character U+{ord(found[0]):04X}{remedy}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _escaped(value: str) -> str:
    if value.isprintable():
        return value
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in value
    )
