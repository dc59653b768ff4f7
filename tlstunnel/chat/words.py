"""
The words of a chat(8) script: where each stands, and how a file or a command line falls into them.

Knows quotes, comments and hyphens, and nothing of what a word means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tlstunnel.errors import ConfigurationError

#: The most bytes that a script may have.
MAX_SCRIPT_BYTES = 64 * 1024

_WORD = re.compile(
    rb"""[ \t]+ | "(?P<double>(?:\\.|[^\\"])*)" | '(?P<single>(?:\\.|[^\\'])*)' """
    rb"""| (?P<bare>[^ \t"'][^ \t]*)""",
    re.DOTALL | re.VERBOSE,
)
_SPLIT = re.compile(rb"-|(?:\\.|[^\\-]|\\\Z)+", re.DOTALL)


@dataclass(frozen=True)
class Position:
    """
    Where a word stands.

    @ivar source: the script's name; empty for words after C{--}.
    @ivar line: from 1; 0 for words after C{--}, and for a script as a whole.
    @ivar column: in characters, from 1; for words after C{--} the number of the argument.
    """

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        if self.line:
            return f"{self.source}:{self.line}:{self.column}"
        return self.source or f"-- argument {self.column}"


class ScriptError(ConfigurationError):
    """
    A chat script cannot be run as it stands.

    @ivar position: where the offending word is.
    @ivar word: that word; empty where there is none.
    """

    def __init__(self, position: Position, problem: str, remedy: str, word: bytes = b"") -> None:
        self.position = position
        self.word = word
        super().__init__(str(position), problem, remedy)


@dataclass(frozen=True)
class Word:
    """
    One word of a script, its escapes untouched.

    @ivar quoted: whether it stood in quotes.
    """

    position: Position
    text: bytes
    quoted: bool = False

    def error(self, problem: str, remedy: str) -> ScriptError:
        """An error that points at this word."""
        return ScriptError(self.position, problem, remedy, self.text)

    def __str__(self) -> str:
        return self.text.decode("utf-8", "backslashreplace")


def fileWords(text: bytes, name: str) -> Iterator[Word]:
    """
    The words of a script file.

    @raise ScriptError: a quote is not closed on its line, or the script is too long.
    """
    if len(text) > MAX_SCRIPT_BYTES:
        raise ScriptError(
            Position(name, 1, 1),
            f"the script is longer than {MAX_SCRIPT_BYTES // 1024} KiB",
            "see whether its name is right",
        )
    for number, line in enumerate(text.replace(b"\r\n", b"\n").split(b"\n"), 1):
        if not line.startswith(b"#"):
            yield from _lineWords(line, name, number)


def _lineWords(line: bytes, name: str, number: int) -> Iterator[Word]:
    at, column = 0, 1
    while at < len(line):
        position = Position(name, number, column)
        found = _WORD.match(line, at)
        if found is None:
            raise ScriptError(position, "unterminated quote", "end it on the same line", line[at:])
        if found.lastgroup is not None:
            yield Word(position, found[found.lastgroup], quoted=found.lastgroup != "bare")
        at = found.end()
        column += len(found[0].decode("utf-8", "replace"))


def argumentWords(arguments: Sequence[bytes], first: int = 1) -> Iterator[Word]:
    """
    The words of a command line, taken as they are: the shell has dealt with quotes.

    @param first: the argument number of the first of them.
    """
    for number, text in enumerate(arguments, first):
        yield Word(Position("", 0, number), text)


def splitAtHyphens(text: bytes) -> list[bytes]:
    """
    Split an expect at each hyphen that no backslash protects.  As in chat(8), nothing stands behind
    a hyphen at the end: C{a-} is C{a} alone, and C{a--} has one sub-send, which is empty.
    """
    parts = [b""]
    for piece in _SPLIT.findall(text):
        if piece == b"-":
            parts.append(b"")
        else:
            parts[-1] = piece
    return parts if parts[-1] else parts[:-1]
