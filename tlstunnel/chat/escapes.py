"""
The escapes of chat(8): what the text of an expect or of a send stands for.

Where a byte means something else in an expect than in a send, chat(8) has it so; what differs from
chat(8) is that NUL can be expected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tlstunnel.chat.words import Word

#: A backslash with its digits or its character, a caret with its character, a dollar with its name.
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.|\Z)|\^(.?)|\$(\w*)", re.DOTALL)

#: What is wrong with a BREAK, as a word and as C{\\K}.
NO_BREAK = "BREAK has no meaning on a socket", "leave it out"

_CHARACTERS = {b"b": b"\b", b"n": b"\n", b"r": b"\r", b"s": b" ", b"t": b"\t", b"N": b"\0"}


@dataclass(frozen=True)
class Values:
    r"""
    What a script may refer to.

    @ivar t: the value of C{\T}: C{-T}, else the domain of the remote identity.
    @ivar u: the value of C{\U}: C{-U}, else the domain of the local identity.
    @ivar environment: where C{$NAME} is looked up; L{None} where a dollar is just a dollar.
    """

    t: bytes | None = None
    u: bytes | None = None
    environment: Mapping[bytes, bytes] | None = None


@dataclass(frozen=True)
class Pause:
    r"""
    A pause within a send, C{\d} or C{\p}.

    @ivar seconds: how long.
    """

    seconds: float


#: Within a send.
Part = bytes | Pause


def expandExpect(text: bytes, values: Values) -> bytes:
    """
    What an expect, ABORT or REPORT string stands for.

    @param text: the string; of an expect, one of those that hyphens separate.
    """

    def expanded(found: re.Match[bytes]) -> bytes:
        common = _common(found, values)
        if common is not None:
            return common
        character: bytes = found[1]
        if character in (b"T", b"U"):
            return found[0]
        return b"" if character == b"q" else character

    return _ESCAPE.sub(expanded, text)


@dataclass(frozen=True)
class Expansion:
    r"""
    What a send stands for.

    @ivar parts: strings and the pauses between them.
    @ivar secret: it had a C{\q}: it does not belong in the log.
    """

    parts: tuple[Part, ...]
    secret: bool


def expandSend(word: Word, text: bytes, values: Values, end: bytes = b"") -> Expansion:
    r"""
    What a send, a sub-send, a SAY or a GREETING stands for.

    @param word: where the text stands, for the errors.
    @param text: the string.
    @param end: what is appended unless the string ends in C{\c}.
    @raise ScriptError: a value is missing, or the string asks for a BREAK.
    """
    parts: list[Part] = []
    literal = bytearray()
    secret = False
    at = 0
    for found in _ESCAPE.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        common = _common(found, values)
        if common is not None:
            literal += common
            continue
        match found[1]:
            case b"c" if at == len(text):
                end = b""
            case b"d" | b"p":
                parts += [bytes(literal), Pause(1.0 if found[1] == b"d" else 0.01)]
                literal.clear()
            case b"q":
                secret = True
            case b"K":
                raise word.error(*NO_BREAK)
            case b"T":
                literal += _value(word, values.t, "T", "remote-id")
            case b"U":
                literal += _value(word, values.u, "U", "local-id")
            case character:
                literal += character or b"\\"
    parts.append(bytes(literal + text[at:] + end))
    return Expansion(tuple(part for part in parts if part), secret)


def _common(found: re.Match[bytes], values: Values) -> bytes | None:
    """What an escape stands for, if that is the same in an expect and in a send."""
    escaped, controlled, name = found.groups()
    if controlled is not None:
        return bytes([controlled[0] & 0x1F]).strip(b"\0") if controlled else b"^"
    if name is not None:
        return found[0] if values.environment is None else values.environment.get(name, b"")
    if escaped.isdigit() and escaped < b"8":
        return bytes([int(escaped, 8) & 0xFF])
    return _CHARACTERS.get(escaped)


def _value(word: Word, value: bytes | None, letter: str, key: str) -> bytes:
    if value is None:
        raise word.error(rf"\{letter} has no value", f"give `{key}`, or -{letter} behind --")
    return value
