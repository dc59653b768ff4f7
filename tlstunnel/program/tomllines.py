"""
Where the keys of a TOML text stand, which tomllib does not tell.

One pass is made over the text, and nothing is raised, whatever it is; tomllib says whether it is
TOML.  What cannot be told has the line of what it is in.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

#: The most parts of a key that are told apart, and the most arrays and tables within each other; no
#: key of ours has as many.
MAX_PARTS = 16

#: A key: names of tables and keys, and numbers of elements of arrays.
Key = tuple[str | int, ...]

# The longest first: three quotation marks are not an empty string and one more.  No alternative
# is tried twice, so that the time is that of one pass.
_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r]++|\#[^\n]*+)
    | (?P<newline>\n)
    | (?P<long>\"\"\"(?:[^"\\]|\\.|"(?!""))*+"{3,5}+|'''(?:[^']|'(?!''))*+'{3,5}+)
    | (?P<word>"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|[^\s\[\]{},=."'#]++)
    | (?P<mark>.)
    """,
    re.DOTALL | re.VERBOSE,
)


class Lines:
    """
    The lines of keys.

    @ivar tooDeep: the line of a key with more dots than any has a use for, and with which tomllib
        would take its time; 0 if there is none.
    @ivar nested: the line of a bracket within more others than any has a use for; else the first.
    """

    def __init__(self, text: str) -> None:
        scan = _Scan()
        self._lines = dict(reversed(list(scan.keysIn(text))))
        self.tooDeep = scan.tooDeep
        self.nested = scan.nested or 1

    def of(self, key: Key) -> int:
        """
        The line of C{key}, or of the innermost table or array that it would be in; else the first.
        """
        for end in range(len(key), 0, -1):
            if key[:end] in self._lines:
                return self._lines[key[:end]]
        return 1


def keyAt(text: str, line: int) -> Key:
    """
    The last key that begins up to C{line}.
    """
    last: Key = ()
    before = 0
    for key, at in _Scan().keysIn(text):
        if at > line:
            break
        # What a key is in comes after it.
        if at > before or key != last[: len(key)]:
            last, before = key, at
    return last


@dataclass
class _Container:
    """
    An array or an inline table that is being read.

    @ivar key: its own.
    @ivar index: the number of the element that comes, in an array.
    """

    key: Key
    index: int | None = None


@dataclass
class _Scan:
    """
    How far a text has been read.

    @ivar table: the table that keys belong to.
    @ivar arrays: the number of the last table in each array of tables.
    @ivar open: arrays and inline tables, the innermost last.
    @ivar parts: those of the key that is being read, and C{line} where it begins.
    @ivar header: how many brackets have been opened before the name of a table.
    @ivar inValue: whether a value is being read.
    @ivar dots: those in the key that is being read, and C{tooDeep} where there were too many first.
    @ivar nested: the line of the first bracket within too many others.
    """

    table: Key = ()
    arrays: dict[Key, int] = field(default_factory=dict)
    open: list[_Container] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    line: int = 1
    header: int = 0
    inValue: bool = False
    dots: int = 0
    tooDeep: int = 0
    nested: int = 0

    def keysIn(self, text: str) -> Iterator[tuple[Key, int]]:
        """
        All keys with their lines; a key may come more than once, and counts the first time.
        """
        line = 1
        for found in _TOKEN.finditer(text):
            token = found[0]
            match found.lastgroup:
                case "newline":
                    if not self.open:
                        self.parts, self.header, self.inValue, self.dots = [], 0, False, 0
                case "mark":
                    yield from self._mark(token, line)
                case "word" | "long":
                    yield from self._word(token, line)
            line += token.count("\n")

    def _word(self, token: str, line: int) -> Iterator[tuple[Key, int]]:
        if self.inValue:
            yield from self._element(line)
        else:
            if not self.parts:
                self.line = line
            if len(self.parts) <= MAX_PARTS:
                self.parts.append(_unquoted(token))

    def _element(self, line: int) -> Iterator[tuple[Key, int]]:
        """
        Something in an array, if we are in one.
        """
        if 0 < len(self.open) <= MAX_PARTS and self.open[-1].index is not None:
            yield from _within(self._value, line)

    @property
    def _value(self) -> Key:
        """
        The key of the value that is being read.
        """
        innermost = self.open[-1] if self.open else _Container(self.table)
        if innermost.index is not None:
            return (*innermost.key, innermost.index)
        return (*innermost.key, *self.parts)

    def _mark(self, mark: str, line: int) -> Iterator[tuple[Key, int]]:
        match mark:
            case "." if not self.inValue:
                self.dots += 1
                if self.dots > MAX_PARTS:
                    self.tooDeep = self.tooDeep or line
            case "=" if not self.inValue:
                if len(self.open) <= MAX_PARTS:
                    yield from _within(self._value, self.line)
                self.inValue, self.dots = True, 0
            case "[" | "{" if self.inValue:
                yield from self._element(line)
                self.open.append(_Container(self._value[:MAX_PARTS], 0 if mark == "[" else None))
                self.parts, self.inValue = [], mark == "["
                if len(self.open) > MAX_PARTS:
                    self.nested = self.nested or line
            case "[":
                self.header, self.line = self.header + 1, line
            case "]" if self.header and not self.inValue:
                yield from self._begin()
            case "]" | "}" if self.open:
                self.open.pop()
                self.inValue = True
            case "," if self.open:
                self._next(self.open[-1])

    def _next(self, innermost: _Container) -> None:
        if innermost.index is not None:
            innermost.index += 1
        else:
            self.parts, self.inValue = [], False

    def _begin(self) -> Iterator[tuple[Key, int]]:
        """
        A table begins.
        """
        table: Key = ()
        for number, part in enumerate(self.parts):
            table = (*table, part)
            isNew = number == len(self.parts) - 1 and self.header == 2
            if isNew:
                self.arrays[table] = self.arrays.get(table, -1) + 1
            if table in self.arrays:
                table = (*table, self.arrays[table])
        yield from _within(table, self.line)
        self.table, self.parts, self.header, self.dots = table, [], 0, 0


def _within(key: Key, line: int) -> Iterator[tuple[Key, int]]:
    """
    C{key} stands at C{line}, as does what it is in if that has no other line.
    """
    for end in range(min(len(key), MAX_PARTS), 0, -1):
        yield key[:end], line


def _unquoted(token: str) -> str:
    """
    A part of a key as tomllib has it.
    """
    if token[0] not in "\"'":
        return token
    try:
        return str(tomllib.loads(f"key = {token}")["key"])
    except ValueError:
        return token
