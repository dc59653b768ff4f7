"""
What is wrong with a configuration file: all of it, a line each, with the place in the file.

It knows places and sentences, and nothing of what the keys mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tlstunnel.errors import ConfigurationError, inWords

# The modes, which in a file are values of one key.
_MODES = frozenset(("server", "client", "bridge"))

# The settings that the subject of an error begins with.
_KEYS = re.compile(r"`[a-z0-9-]+`(, `[a-z0-9-]+`)* ?")


@dataclass(frozen=True, order=True)
class Place:
    """
    A line of a file.

    @ivar path: the file.
    @ivar line: its number; the first line is 1, and 0 is for what is no file.
    """

    path: Path
    line: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """
    One thing that is wrong.

    @ivar path: the file.
    @ivar line: where in it; 0 if that is nowhere, or it is no file, but the command line.
    @ivar key: what it is about, such as C{tunnel.mail.remote}; empty for the file as a whole.
    @ivar problem: what is wrong.
    @ivar remedy: what to do about it.
    @ivar isWarning: whether it does not matter, if it is meant.
    """

    path: Path
    line: int
    key: str
    problem: str
    remedy: str
    isWarning: bool = False

    @classmethod
    def of(cls, place: Place, table: str, error: ConfigurationError, key: str = "") -> Problem:
        """
        Say in the words of a file what C{error} says.

        @param place: where the key of the error stands.
        @param table: the table of that key, such as C{tunnel.mail}.
        @param key: the key to name where the error has none.
        """
        named = "mode" if error.key in _MODES else error.key
        # Behind the key may be the value.
        about = _KEYS.sub("", error.subject)
        return cls(
            place.path,
            place.line,
            ".".join(filter(None, (table, named or key))),
            inWords(f"{about}: {error.problem}" if about else error.problem, asKey),
            inWords(error.remedy, asKey),
        )

    def __str__(self) -> str:
        key = self.key
        if key and not self.line:
            # The command line, which has options and no tables.
            key = f"--{key.rpartition('.')[2]}"
        about = f"{key}: " if key else ""
        about += "warning: " if self.isWarning else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return printable(f"{self.where}: {about}{self.problem}{remedy}")

    @property
    def where(self) -> str:
        """
        The file, and the line where it is one.
        """
        return f"{self.path}:{self.line}" if self.line else str(self.path)


class Problems(ConfigurationError):
    """
    A configuration file cannot be used.

    @ivar problems: everything that is wrong with it, in the order of the files and lines.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.where, first.problem, first.remedy)

    def inWords(self, mention: Callable[[str], str]) -> str:
        """
        All of them, a line each: a file has words of its own.
        """
        return "\n".join(map(str, self.problems))


def asKey(name: str) -> str:
    """
    How somebody who writes a file knows a setting.
    """
    return f'mode = "{name}"' if name in _MODES else name


def printable(text: str) -> str:
    """
    C{text} on one line, with escapes for what cannot be printed.
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
