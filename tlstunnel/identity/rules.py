"""
Files of rules about who may do what: short ones of text, read each time that they decide.

They decide on behalf of the owner of the pool, and so are his or root's, and nobody else can write
them.  Whatever is odd about one is an error, and never as if it were not there.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import present, reading
from tlstunnel.identity.permission import ourName, userName

#: The most bytes that such a file may have: what is in it is gone through for each connection.
LARGEST_RULES = 1 << 14

# How a file is opened: nobody is waited for at the other end of a pipe.
_AT_ONCE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

_COMMENT = re.compile(r"(^|\s)#.*")


def readRules(path: Path) -> list[tuple[str, str]] | None:
    """
    Read the lines of a file, without comments and what is empty then.

    @return: each with its place, C{FILE, line N}; C{None} if there is no such file.
    @raise ConfigurationError: it cannot be read, or others can write it, or it is no file of text.
    """
    _checkDirectory(path.parent)
    if not present(path):
        return None
    found = []
    # Who edits it on another system may have a byte order mark in it.
    content = _contentOf(path).removeprefix(b"\xef\xbb\xbf")
    for number, line in enumerate(content.splitlines(), 1):
        place = f"{path}, line {number}"
        try:
            text = withoutComment(line.decode())
        except UnicodeDecodeError:
            raise ConfigurationError(
                place, "is not text in UTF-8", "save it in that encoding"
            ) from None
        if text:
            found.append((place, text))
    return found


def withoutComment(line: str) -> str:
    """
    What counts of a line.
    """
    return _COMMENT.sub("", line).strip()


def _contentOf(path: Path) -> bytes:
    with reading(path), os.fdopen(os.open(path, _AT_ONCE), "rb") as file:
        _check(path, os.fstat(file.fileno()))
        content = file.read(LARGEST_RULES + 1)
    if len(content) > LARGEST_RULES:
        raise ConfigurationError(
            str(path),
            f"has more than {LARGEST_RULES} bytes, and all of it counts for each connection",
            "name a group instead of many users, or write more rules with less in each",
        )
    return content


def _check(path: Path, status: os.stat_result) -> None:
    """
    @raise ConfigurationError: it is no file, or one that others than root and we can change.
    """
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(str(path), "is not a file", "put a file of text in its place")
    _checkOwner(path, status)


def _checkDirectory(directory: Path) -> None:
    """
    @raise ConfigurationError: others can put another file in the place of one in C{directory}, or
        take one away, so that a rule that says less counts.
    """
    with reading(directory):
        try:
            status = directory.stat()
        except (FileNotFoundError, NotADirectoryError):
            return
    _checkOwner(directory, status)


def _checkOwner(path: Path, status: os.stat_result) -> None:
    """
    @raise ConfigurationError: others than root and we can change it.
    """
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(
            str(path),
            f"belongs to user {userName(status.st_uid)}, who is neither root nor us",
            f"run 'chown {ourName()} {shlex.quote(str(path))}'",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o022:
        raise ConfigurationError(
            str(path),
            f"can be written by others (mode {mode:04o})",
            f"run 'chmod go-w {shlex.quote(str(path))}'",
        )
