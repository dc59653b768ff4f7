"""
One configuration file: who may have written it, what TOML has in it, and where.

It knows files and TOML, and nothing of what the keys mean.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlstunnel.identity.permission import toRead, userName
from tlstunnel.program.problems import Place, Problem, Problems
from tlstunnel.program.tomllines import Key, Lines
from tlstunnel.program.tomlmistakes import explained

#: The most bytes in a file.
MAX_FILE_BYTES = 1 << 20

# A key that needs no quotation marks.
_BARE = re.compile(r"[A-Za-z0-9_-]+")

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class ConfigurationFile:
    """
    A file that has been read.

    @ivar path: where it is.
    @ivar content: what TOML has in it.
    """

    path: Path
    content: Mapping[str, Any]
    _lines: Lines = field(repr=False)

    @property
    def folder(self) -> Path:
        """
        What relative paths in it begin from.
        """
        return self.path.absolute().parent

    def place(self, *key: str | int) -> Place:
        """
        Where a key stands, or the innermost table that it would be in.
        """
        return Place(self.path, self._lines.of(key))


def dotted(key: Key) -> str:
    """
    A key as TOML has it.
    """
    parts = (str(part) for part in key)
    return ".".join(part if _BARE.fullmatch(part) else quoted(part) for part in parts)


def quoted(text: str) -> str:
    """
    A text as TOML has it.
    """
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    # Surrogates cannot come from TOML, and cannot be written in it.
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def readFile(path: Path) -> ConfigurationFile:
    """
    Read a file.

    @raise Problems: it cannot be read, is not TOML, or somebody else could have written it.
    """
    text = _decoded(path, _contentOf(path))
    lines = Lines(text)
    if lines.tooDeep:
        raise _problem(path, "has a key of too many parts", "leave out some", lines.tooDeep)
    try:
        content = tomllib.loads(text)
    except RecursionError:
        problem = "has brackets within brackets beyond measure"
        raise _problem(path, problem, "close some", lines.nested) from None
    except ValueError as error:
        found = explained(text, str(error))
        raise Problems(
            [Problem(path, found.line, dotted(found.key), found.problem, found.remedy)]
        ) from None
    return ConfigurationFile(path, content, lines)


def _problem(path: Path, problem: str, remedy: str, line: int = 0) -> Problems:
    return Problems([Problem(path, line, "", problem, remedy)])


def _contentOf(path: Path) -> bytes:
    """
    The bytes of a file, whatever it is: nobody is waited for at the other end of a pipe.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                kind = "is a directory" if stat.S_ISDIR(status.st_mode) else "is not a file"
                raise _problem(path, kind, "name a file")
            _checkWriters(path, status)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        remedy = {
            errno.ENOENT: "see whether its name is right",
            errno.EACCES: toRead(path),
        }.get(error.errno or 0, "see what it is")
        raise _problem(path, f"cannot be read: {error.strerror or error}", remedy) from None
    except ValueError as error:
        raise _problem(path, f"cannot be the name of a file: {error}", "correct it") from None
    if len(content) > MAX_FILE_BYTES:
        raise _problem(
            path, f"has more than {MAX_FILE_BYTES} bytes", "move tunnels to included files"
        )
    return content


def _checkWriters(path: Path, status: os.stat_result) -> None:
    """
    Make sure that nobody tells root what to do but root.

    @raise Problems: somebody else can write to the file, or put another one in its place.
    """
    if os.geteuid() != 0:
        return
    folder = path.absolute().parent
    for each, found in ((path, status), (folder, folder.stat())):
        if found.st_uid != 0:
            raise _problem(
                path,
                f"{each} belongs to user {userName(found.st_uid)}, and root would do what it says",
                f"give it to root: chown root {each}",
            )
        # In a directory like /tmp nobody replaces what is root's.
        isSticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
        if found.st_mode & _OTHERS_WRITE and not isSticky:
            raise _problem(
                path,
                f"others than root can write to {each} (mode {stat.S_IMODE(found.st_mode):04o})",
                f"keep them from it: chmod go-w {each}",
            )


def _decoded(path: Path, content: bytes) -> str:
    try:
        # Some editors begin every file with a byte order mark.
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _problem(path, "is not UTF-8", "save it in that encoding", line) from None
