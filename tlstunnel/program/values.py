"""
How the value of a setting is read: the text of a command line, or what a file has, which may have a
type already.

Each function here takes either, and raises C{ValueError} with a sentence for the user: what is
wrong, and behind a semicolon what to do about it.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path

from tlstunnel.chat.source import readyScripts
from tlstunnel.errors import nearest, oneOf
from tlstunnel.identity.names import KeyIdentity
from tlstunnel.identity.pins import parsePin
from tlstunnel.tunnel.description import WORDS

# So many words are all listed where another one was given.
_FEW_WORDS = 3

#: The most bytes in a list of ALPN ids: what an extension holds (RFC 8446, section 4.2), less the
#: length of the list; with a byte before each id.
LONGEST_IDS = 65533

#: The most characters of a value in a sentence about it.
LONGEST_SHOWN = 80


def shown(value: object) -> str:
    """
    A value in a sentence, as the file has it.
    """
    match value:
        case bool():
            text = "true" if value else "false"
        case list():
            return "an array"
        case dict():
            return "a table"
        case int():
            # Python refuses to write what has thousands of digits in decimal.
            text = str(value) if value.bit_length() < 1000 else f"{value:#x}"
        case date() | time():
            text = value.isoformat()
        case _:
            text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def text(value: object) -> str:
    """
    Any text but the empty one.
    """
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text; put it between quotation marks")
    if not value:
        raise ValueError("is empty; give a value, or leave it out")
    if "\0" in value:
        raise ValueError(f"{shown(value)} has a NUL in it; leave that out")
    return value


def flag(value: object) -> bool:
    """
    Yes or no.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false; give one of them")
    return value


def choice(*words: str) -> Callable[[object], str]:
    """
    One of C{words}.
    """

    def chosen(value: object) -> str:
        # A file has 1.2 without quotes, too.
        word = value if isinstance(value, str) else shown(value)
        if word not in words:
            meant = nearest(word, words) if len(words) > _FEW_WORDS else ""
            remedy = meant or f"give {oneOf(words)}"
            raise ValueError(f"{shown(value)} is not known; {remedy}")
        return word

    return chosen


@dataclass(frozen=True)
class Number:
    """
    A number that makes sense.

    @ivar kind: C{int} or C{float}.
    @ivar unit: what is counted.
    @ivar mayBeZero: whether 0 is one of them.
    @ivar most: the greatest of them.
    """

    kind: type[int] | type[float]
    unit: str
    mayBeZero: bool = False
    most: float = 999_999_999

    def __call__(self, value: object) -> float:
        """
        Read it.
        """
        try:
            # To Python, true is 1.
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError
            number = float(value)
        except OverflowError:
            number = float("inf")
        except ValueError:
            number = float("nan")
        isWhole = self.kind is float or number.is_integer()
        # A comparison with what is not a number is false.
        if number > self.most:
            raise ValueError(f"{shown(value)} is above {self.most}; give fewer {self.unit}")
        if not (isWhole and (number > 0 or (self.mayBeZero and number == 0))):
            least = "" if self.mayBeZero else " above 0"
            more = " from 0 on" if self.mayBeZero else ""
            whole = f"give a whole number{more}"
            remedy = whole if self.kind is int else f"give {self.unit} alone, as 10"
            raise ValueError(f"{shown(value)} is not a number of {self.unit}{least}; {remedy}")
        return self.kind(number)


# What the name of a field is (RFC 9110, section 5.6.2).
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

#: The most processes that make sense, for each core: they only compete for it.
PROCESSES_PER_CORE = 4


def processes(value: object) -> int:
    """
    How many processes: a number, or C{auto} for one a core.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if value == "auto":
        return cores or 1
    try:
        return int(Number(int, "processes", most=PROCESSES_PER_CORE * (cores or 1))(value))
    except ValueError as error:
        raise ValueError(f"{error}, or auto for one a core") from None


def headerName(value: object) -> tuple[str, str]:
    """
    The usual name of a field of HTTP, and another one for it (RFC 9110, section 5.1).
    """
    usual, equals, other = text(value).partition("=")
    if not equals or not _TOKEN.fullmatch(usual) or (other and not _TOKEN.fullmatch(other)):
        raise ValueError(f"{shown(value)} are no two names; give them as Forwarded=X-Client")
    return usual, other


def permissions(value: object) -> int:
    """
    Permissions, in octal (chmod(1)).
    """
    if not (isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value)):
        raise ValueError(f"{shown(value)} is not a mode; give three octal digits, such as 0660")
    return int(value, 8)


def pin(value: object) -> KeyIdentity:
    """
    The SHA-256 of a public key.
    """
    return parsePin(text(value))


def protocolIDs(value: object) -> tuple[bytes, ...]:
    """
    ALPN ids, separated by commas (RFC 7301).
    """
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text; put it between quotation marks")
    if not value.strip(","):
        raise ValueError("is empty; give ids, or leave it out")
    try:
        ids = tuple(os.fsencode(part) for part in value.split(",") if part)
    except UnicodeEncodeError:
        raise ValueError(
            f"{shown(value)} is not text; write it in the encoding of this system"
        ) from None
    if any(len(each) > 255 for each in ids):
        raise ValueError("an id is longer than 255 bytes; put commas between several")
    if sum(len(each) + 1 for each in ids) > LONGEST_IDS:
        raise ValueError(f"all ids together have more than {LONGEST_IDS} bytes; give fewer")
    return ids


def inFolder(path: str, folder: Path) -> str:
    """
    What C{path} means in a file of C{folder}.
    """
    return str(folder / path) if path else ""


def patternInFolder(pattern: str, folder: Path) -> str:
    """
    The same of a pattern for paths, which the folder is not part of.
    """
    return inFolder(pattern, Path(glob.escape(str(folder))))


def trustInFolder(where: str, folder: Path) -> str:
    """
    The same of what may be a word instead.
    """
    return where if where in WORDS else inFolder(where, folder)


def chatInFolder(script: str, folder: Path) -> str:
    """
    The same of what may be the name of a ready script instead.
    """
    return script if script in readyScripts() else inFolder(script, folder)


def socketInFolder(address: str, folder: Path) -> str:
    """
    The same of an address, which is a path where it is that of a UNIX socket.
    """
    scheme, _, path = address.partition(":")
    return f"unix:{inFolder(path, folder)}" if scheme == "unix" and path else address
