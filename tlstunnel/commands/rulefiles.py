"""
How commands change files of rules: a line more or less, and whatever else is in them stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import makeDirectory, present, writeFile
from tlstunnel.identity.pem import readFile
from tlstunnel.identity.rules import LARGEST_RULES, readRules, withoutComment


def addLines(path: Path, lines: Sequence[str]) -> None:
    """
    Add lines at the end of a file, which is made if there is none.

    @raise ConfigurationError: it cannot be changed, or is not to be relied upon.
    """
    before = _linesOf(path)
    _write(path, [*before, *lines])


def removeLines(path: Path, isGone: Callable[[str], bool]) -> None:
    """
    Remove lines of a file, each with its comment.

    @param isGone: says which, of lines without comments.
    @raise ConfigurationError: as L{addLines}.
    """
    _write(path, [each for each in _linesOf(path) if not isGone(withoutComment(each))])


def _linesOf(path: Path) -> list[str]:
    if path.is_symlink():
        # What is there is kept by somebody else.
        raise ConfigurationError(
            str(path), f"is a link to {path.readlink()}", "change that, or put a file in its place"
        )
    if not present(path):
        return []
    readRules(path)
    content = readFile(path, largest=LARGEST_RULES).removeprefix(b"\xef\xbb\xbf")
    return [each.decode() for each in content.splitlines()]


def _write(path: Path, lines: Sequence[str]) -> None:
    makeDirectory(path.parent)
    writeFile(path, "".join(f"{each}\n" for each in lines).encode(), 0o644, replace=True)
    # So that nobody learns of it only when it decides.
    readRules(path)
