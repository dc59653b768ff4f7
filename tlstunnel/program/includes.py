"""
All files of a configuration: the main one, and those that it includes.
"""

from __future__ import annotations

import glob
import os
from pathlib import Path

from tlstunnel.identity.permission import toRead
from tlstunnel.program.configfile import readFile
from tlstunnel.program.keys import INCLUDE
from tlstunnel.program.problems import Place, Problem, Problems
from tlstunnel.program.tables import Tell, given, valuesOf
from tlstunnel.program.values import patternInFolder

#: The most files that a configuration can have.
MAX_FILES = 1000


class Includes:
    """
    The files that have been read; what is wrong with one is told, and it is left out.

    @ivar main: the first.
    @ivar files: all of them.
    @ivar folders: where files were looked for.
    """

    def __init__(self, path: Path, tell: Tell) -> None:
        """
        @raise Problems: the main file cannot be read.
        """
        self._tell = tell
        self.main = readFile(path)
        self.files = [self.main]
        self.folders: dict[Path, None] = {}
        self._seen = {os.path.realpath(path)}
        alone = {key: each for key, each in self.main.content.items() if key == INCLUDE.name}
        found = given(alone, self.main, (), [INCLUDE], tell)
        patterns = valuesOf("", found, [INCLUDE], tell).get(INCLUDE.name, ())
        for number, pattern in enumerate(patterns):
            self._include(
                patternInFolder(pattern, path.parent), self.main.place(INCLUDE.name, number)
            )

    def _include(self, pattern: str, place: Place) -> None:
        folders = _matching(str(Path(pattern).parent))
        self.folders |= dict.fromkeys(folders)
        paths = _matching(pattern)
        looked = folders or _nearest(Path(pattern).parent)
        closed = [folder for folder in looked if not _canBeSearched(folder)]
        for folder in closed:
            self._refuse(
                place, f"{folder} cannot be searched: Permission denied", toRead(Path(folder))
            )
        if not (paths or closed):
            self._refuse(place, f"{pattern!r} matches no file", "make one, or leave it out")
        for path in paths:
            # A file that two patterns match counts once.
            if os.path.realpath(path) in self._seen:
                continue
            if path.is_dir():
                self._refuse(place, f"{path} is a directory", f"write {path}/*.toml")
                continue
            if len(self.files) == MAX_FILES:
                self._refuse(place, f"there are more than {MAX_FILES} files", "join some of them")
                return
            self._seen.add(os.path.realpath(path))
            try:
                self.files.append(readFile(path))
            except Problems as error:
                for each in error.problems:
                    self._tell(each)

    def _refuse(self, place: Place, problem: str, remedy: str) -> None:
        self._tell(Problem(place.path, place.line, INCLUDE.name, problem, remedy))

    @property
    def paths(self) -> tuple[Path, ...]:
        """
        Every file, and every folder that was looked into.
        """
        return (*(each.path for each in self.files), *self.folders)


def _canBeSearched(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=True)


def _nearest(folder: Path) -> list[Path]:
    """
    The first above C{folder} that is there: if that cannot be searched, what is in it is not known.
    """
    return [each for each in folder.parents if os.path.isdir(each)][:1]  # noqa: PTH112


def _matching(pattern: str) -> list[Path]:
    """
    What C{pattern} matches, in order; no hidden files, unlike with C{Path.glob}, as editors have
    them.
    """
    return sorted(map(Path, glob.glob(pattern)))  # noqa: PTH207
