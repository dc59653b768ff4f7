"""
What is wrong with a text that is not TOML, in the words of somebody who writes one: tomllib says it
in those of its grammar.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from itertools import takewhile

from tlstunnel.program.tomllines import Key, Lines, keyAt

# How tomllib says where a mistake is.
_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")

# So many digits Python does not make a number of.
_MANY_DIGITS = re.compile(r"\d[\d_]{4000}")

# What stands where a value should.
_WORD = re.compile(r"[^\s,\]}#]*")

# How it says that quotation marks are missing.
_EXPECTED_QUOTES = {f"Expected {each!r}": each for each in ("'", "'''")}

# What is a yes or no in other files.
_FLAGS = frozenset(("true", "false", "yes", "no", "on", "off"))

_TYPOGRAPHIC = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"

_END_QUOTES = ("has no quotation mark at its end", "write one, the same as at its beginning")
_ESCAPES = (
    "has a backslash before something that it does not go with",
    "write two for one, or put the text between single quotation marks",
)
_ONCE = "leave one of the two out"
_STATEMENT = "write key = value, or [table], or # before a comment"
_BARE = frozenset(f"{string.ascii_letters}{string.digits}-_.")
_OTHERS = "other characters than letters, digits, hyphens and underscores"

# A line that should be the name of a table, and the name.
_HEADER = re.compile(r"\s*\[{1,2}\s*([^\]\[#]*?)\s*(?:[\]\[#].*)?\Z")

# What the message of tomllib begins with where that is wrong.
_OF_TABLES = ("Expected ']", "Expected newline", "Invalid initial character")

# A name that has a space where a dot was meant.
_TUNNEL = re.compile(r"tunnel\s+\S+\Z")

# What the message of tomllib begins with, what is wrong, and what to do about it: first what is
# about the value of a key.
_OF_VALUES = (
    ("Unclosed array", "has no ] at its end", "write one after the last of its values"),
    ("Unclosed inline table", "has no } at its end", "write one after the last of its keys"),
    ("Unterminated string", *_END_QUOTES),
    ("Illegal character '\\n'", *_END_QUOTES),
    ("Expected \"'", *_END_QUOTES),
    ("Unescaped", *_ESCAPES),
    ("Invalid hex value", *_ESCAPES),
    ("Escaped character", *_ESCAPES),
    ("Invalid date", "is a date that no calendar has", "put text between quotation marks"),
    (
        "Expected newline",
        "has something after its value",
        "put several values between brackets, and # before a comment",
    ),
)
_REPEATED = (
    ("Cannot declare", "give each a name of its own, or make one table of both"),
    ("Cannot overwrite", _ONCE),
    ("Cannot mutate", _ONCE),
    ("Cannot redefine", _ONCE),
    ("Duplicate inline table key", _ONCE),
)
_OF_LINES = (
    ("Invalid statement", "is neither a key, nor a table, nor a comment", _STATEMENT),
    ("Expected '='", "has no = after a key", _STATEMENT),
    (
        "Invalid initial character",
        "has no key where one should be",
        f"put one with {_OTHERS} between quotation marks",
    ),
    ("Illegal character", "has a character that cannot be printed", "leave it out"),
    ("Found invalid character", "has a character that cannot be printed", "leave it out"),
)


@dataclass(frozen=True)
class Mistake:
    """
    Why a text is not TOML.

    @ivar line: where.
    @ivar key: what it is about; empty if that cannot be told.
    @ivar problem: what is wrong.
    @ivar remedy: what to do about it.
    """

    line: int
    key: Key
    problem: str
    remedy: str


def explained(text: str, said: str) -> Mistake:
    """
    Why C{text} is not TOML.

    @param said: what tomllib says about it.
    """
    found = _WHERE.search(said)
    if found is None:
        return _unplaced(text, said)
    said = said[: found.start()]
    line = int(found[1]) if found[1] else _lineOfEnd(text, said)
    column = int(found[2]) if found[1] else 0
    key = _keyAt(text, line)
    if not column and text.rstrip().endswith(("[", ",")):
        # The next element may still come.
        said = "Unclosed array"
    if said == "Invalid value":
        return Mistake(line, key, *_noValue(_wordAt(text, line, column)))
    first = Lines(text).of(key)
    for beginning, remedy in _REPEATED:
        if said.startswith(beginning):
            return Mistake(line, key, f"is at line {first} already", remedy)
    header = _HEADER.match(text.split("\n")[line - 1])
    if header is not None and said.startswith(_OF_TABLES):
        return Mistake(line, (), *_noTable(header[0].strip(), header[1]))
    for beginning, problem, remedy in _OF_VALUES:
        if said.startswith(beginning):
            # A bracket is missed only where the next key comes.
            return Mistake(first if "Unclosed" in said else line, key, problem, remedy)
    for beginning, problem, remedy in _OF_LINES:
        if said.startswith(beginning):
            place = f"column {column}" if column else "the end"
            return Mistake(line, (), f"{problem}, at {place}", remedy)
    return Mistake(line, key, f"is not TOML: {said}", "write all as https://toml.io has it")


def _lineOfEnd(text: str, said: str) -> int:
    """
    Where something begins that goes on to the end: the last of such quotation marks; else the last
    line that has anything.
    """
    quotes = '"""' if said == "Unterminated string" else _EXPECTED_QUOTES.get(said, "")
    at = text.rfind(quotes) if quotes else -1
    return text.count("\n", 0, at) + 1 if at >= 0 else text.rstrip().count("\n") + 1


def _keyAt(text: str, line: int) -> Key:
    """
    The key there, without numbers of elements.
    """
    return tuple(takewhile(lambda part: isinstance(part, str), keyAt(text, line)))


def _unplaced(text: str, said: str) -> Mistake:
    number = _MANY_DIGITS.search(text)
    if number is None:
        return Mistake(1, (), f"is not TOML: {said}", "write all as https://toml.io has it")
    line = text.count("\n", 0, number.start()) + 1
    return Mistake(line, _keyAt(text, line), "has thousands of digits", "give a smaller number")


def _wordAt(text: str, line: int, column: int) -> str:
    """
    What stands at a place.
    """
    if not column:
        return ""
    found = _WORD.match(text.split("\n")[line - 1], column - 1)
    return found[0] if found is not None else ""


def _noValue(word: str) -> tuple[str, str]:
    """
    What is wrong with C{word} as a value, and what to do about it.
    """
    if not word:
        return "has no value", "write one after the =, or leave the key out"
    if word.lower() in _FLAGS:
        return f"{word} is not a value", "write true or false"
    if word[0] in _TYPOGRAPHIC:
        return f"begins with {word[0]}", "put text between straight quotation marks"
    return f"{_shortened(word)} is not a value", "put text between quotation marks"


def _noTable(header: str, name: str) -> tuple[str, str]:
    """
    What is wrong with a line that should be the name of a table, and what to do about it.
    """
    if _TUNNEL.match(name):
        return f"has a space in the name of a table: {_shortened(header)}", "write [tunnel.NAME]"
    if not name:
        return "has no name of a table between its brackets", "write [tunnel.NAME]"
    if "]" not in header:
        return f"has no ] behind the name of a table: {_shortened(header)}", f"write [{name}]"
    if header.endswith("]") and set(name) <= _BARE:
        return f"has brackets that do not match: {_shortened(header)}", f"write [{name}]"
    if set(name) <= _BARE:
        return f"has something behind the name of a table: {_shortened(header)}", f"write [{name}]"
    return (
        f"is not the name of a table: {_shortened(header)}",
        f"put a part of it with {_OTHERS} between quotation marks",
    )


def _shortened(word: str) -> str:
    return word if len(word) <= 40 else f"{word[:40]}..."
