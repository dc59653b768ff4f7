"""
The files in which lists of what was revoked are kept here.

What should be said of those that are gone, or that nobody reads, is said here too.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from weakref import WeakSet

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.crl import BEGIN, RevocationList, Subject, loadLists
from tlstunnel.identity.files import entries, isDirectory, reading
from tlstunnel.identity.pem import LARGEST_FILE
from tlstunnel.identity.revocation import Revocations, nameOf

# Files of lists, and what openssl-rehash(1) calls them.
_LISTS = re.compile(r".*\.crl|[0-9a-f]{8}\.r[0-9]+", re.DOTALL)

# The endings of files that may hold lists too, in lower case.
_OTHER_ENDINGS = ".crl", ".pem", ".crt", ".cer"

# What is in use in this process, and the newest edition of each list that ever was: by the places
# where it was, and what it is about.
_inUse: WeakSet[Revocations] = WeakSet()
_newest: dict[tuple[tuple[Path, ...], Subject], RevocationList] = {}


def loadRevocations(places: Iterable[Path]) -> Revocations:
    """
    Read the lists in some directories, which need not be there.

    @raise ConfigurationError: one cannot be read, or is not understood.
    """
    asked = tuple(dict.fromkeys(places))
    lists: dict[RevocationList, None] = {}
    notices = list(_misplaced(asked))
    for file in _filesIn(asked):
        for each in loadLists(file):
            if isinstance(each, str):
                notices.append(each)
            else:
                lists[each] = None
    alike = [each for each in _inUse if each.places == asked]
    notices += _gone(alike, Revocations(lists))
    for subject, now in Revocations(lists).newest().items():
        before = _newest.setdefault((asked, subject), now)
        if before.edition > now.edition:
            lists[before] = None
            notices.append(
                f"the revocation list of {nameOf(now)} is older ({_inWords(now)}) than the one "
                f"that was here before ({_inWords(before)}), which goes on to count; restart to go "
                "back"
            )
        _newest[asked, subject] = max(before, now, key=lambda each: each.edition)
    found = Revocations(lists, notices, asked)
    for known in alike:
        if (known.lists, known.notices) == (found.lists, found.notices):
            return known
    _inUse.add(found)
    return found


def _filesIn(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        for file in entries(place) if isDirectory(place) else ():
            if _LISTS.fullmatch(file.name):
                _checkFile(file)
                yield file


def _misplaced(places: Iterable[Path]) -> Iterator[str]:
    """
    A sentence for each file that holds a list, and is not read for its name.
    """
    for place in places:
        for file in entries(place) if isDirectory(place) else [place]:
            if not _LISTS.fullmatch(file.name) and _holdsList(file):
                yield (
                    f"{file}: the revocation list in it does not count; put it into a file of its "
                    "own, called *.crl, in the `trust` directory of the pool"
                )


def _holdsList(file: Path) -> bool:
    """
    Whether somebody may think that there is a list in a file of another name.
    """
    name = file.name.lower()
    if not name.endswith(_OTHER_ENDINGS):
        return False
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= LARGEST_FILE:
            return False
        return name.endswith(".crl") or BEGIN in file.read_bytes()
    except OSError:
        # Who reads the anchors says that.
        return False


def _checkFile(file: Path) -> None:
    """
    @raise ConfigurationError: it is none, so that reading it might never end, as that of a pipe.
    """
    with reading(file):
        mode = file.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "no file"
        raise ConfigurationError(str(file), f"is {what}", "put the list itself there")


def _gone(before: Iterable[Revocations], now: Revocations) -> Iterator[str]:
    """
    A sentence for each list that was in use, and is not there any more.
    """
    there = now.newest()
    for known in before:
        for subject, each in known.newest().items():
            if subject not in there:
                yield (
                    f"there is no revocation list of {nameOf(each)} any more: whom it has revoked "
                    "may come back"
                )


def _inWords(found: RevocationList) -> str:
    made = f"of {datetime.fromtimestamp(found.start, UTC):%Y-%m-%d %H:%M} UTC"
    return f"number {found.number}, {made}" if found.number >= 0 else made
