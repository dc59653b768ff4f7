"""
How a layout becomes files: only those are touched that were written here, and are as they were
written; a file of somebody else wins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import (
    isDirectory,
    makeDirectory,
    moveFile,
    present,
    reading,
    removeFile,
    writeFile,
)
from tlstunnel.identity.names import Identity, Selector, selectorsFor
from tlstunnel.identity.pem import readFile
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.requests import KEYS, link
from tlstunnel.identity.withdrawal import WITHDRAWN_FILE, markWithdrawn
from tlstunnel.provisioning.layout import ANCHORS, CHAIN, Layout
from tlstunnel.provisioning.state import MANY

#: Bytes of the list of our files at most.
MAX_LIST = 64 << 20

#: What is known of nothing, and of what cannot be read.
_ABSENT, _UNREADABLE = "", "?"


@dataclass
class Outcome:
    """
    What has become of a layout.

    @ivar written: paths in the pool, also of links.
    @ivar removed: likewise.
    @ivar withdrawn: directories of keys, in the pool, that have no certificate on purpose now.
    @ivar notes: what should be said.
    @ivar problems: what could not be done.
    """

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[ConfigurationError] = field(default_factory=list)

    @property
    def isNews(self) -> bool:
        """
        Whether anything has changed.
        """
        return bool(self.written or self.removed or self.withdrawn)

    @contextmanager
    def trying(self) -> Iterator[None]:
        """
        Do something that does not keep anything else from being done where it fails.
        """
        try:
            yield
        except ConfigurationError as error:
            self.problems.append(error)

    @contextmanager
    def tryingAt(self, path: Path) -> Iterator[None]:
        """
        Likewise, where the system is asked about C{path} directly.
        """
        with self.trying(), reading(path):
            yield


class Files:
    """
    Our files in a pool.
    """

    def __init__(self, pool: Pool, record: Path, workshop: Path) -> None:
        """
        @param record: the file in which it is remembered which ones they are.
        @param workshop: where they are made.
        """
        self._pool = pool
        self._record = record
        self._workshop = workshop
        # The digests that each of ours may have: two while it is being written.
        self._ours: dict[str, list[str]] = {}
        self._wanted: dict[str, str] = {}
        self._linked: dict[Identity, str] = {}
        self._vacant: set[str] = set()

    def open(self) -> None:
        """
        Read which ones are ours.

        @raise ConfigurationError: that cannot be read.
        """
        if not present(self._record):
            return
        try:
            found = json.loads(readFile(self._record, largest=MAX_LIST))
            self._ours = {str(path): list(map(str, several)) for path, several in found.items()}
        except (ValueError, AttributeError, TypeError):
            raise ConfigurationError(
                str(self._record),
                "is broken, so that nobody knows which files came from the directory",
                "remove it, and those files that shall be written again",
            ) from None

    def isOurs(self, path: str) -> bool:
        """
        Whether there is a file that was written here.

        @param path: that in the pool.
        """
        return path in self._ours and self._digest(path) in self._ours[path]

    def apply(self, layout: Layout, isThorough: bool = False) -> Outcome:
        """
        Bring about what C{layout} has.

        @param isThorough: look at all files, and not only at those that should change.
        @raise ConfigurationError: it cannot be remembered what is ours, so that nothing is done.
        """
        if not isDirectory(self._workshop):
            # Whoever moved the pool has not taken our files away.
            raise ConfigurationError(
                str(self._workshop),
                "is gone, and so may be the pool",
                "start again once it is back",
            )
        outcome = Outcome()
        wanted = {path: sha256(content).hexdigest() for path, content in layout.files.items()}
        news = {
            path: digest
            for path, digest in wanted.items()
            if isThorough or self._wanted.get(path) != digest
        }
        failed: set[str] = set()
        writing = list(self._toWrite(news, outcome, failed))
        leaving = [path for path in self._ours if path not in wanted]
        if writing:
            for path in writing:
                self._ours[path] = [*self._ours.get(path, ()), wanted[path]]
            self._remember()
        self._write({path: layout.files[path] for path in writing}, outcome)
        links = layout.links.items()
        self._link(links if isThorough else links - self._linked.items(), outcome)
        self._linked = dict(links & self._linked.items())
        # Before they go: nobody is to take that for a mishap.
        gone = {path.removesuffix(f"/{CHAIN}") for path in leaving} & layout.vacant
        self.mark(gone | (layout.vacant if isThorough else layout.vacant - self._vacant), outcome)
        self._vacant = layout.vacant
        for path in leaving:
            there = self._digest(path)
            if there == _UNREADABLE:
                outcome.problems.append(self._unreadable(path, "has to go, and cannot be read"))
            elif there in self._ours[path]:
                with outcome.trying():
                    removeFile(self._pool.path / path)
                    outcome.removed.append(path)
                    outcome.notes += self._successor(path)
        for path in layout.files if isThorough else writing:
            if path.endswith(f"/{CHAIN}"):
                with outcome.trying():
                    removeFile((self._pool.path / path).with_name(WITHDRAWN_FILE))
        self._settle((*writing, *leaving))
        failed.update(path for path in writing if path not in outcome.written)
        self._wanted = {path: each for path, each in wanted.items() if path not in failed}
        return outcome

    def mark(self, vacant: Iterable[str], outcome: Outcome) -> None:
        """
        Say of keys that they have no certificate on purpose, unless they have one of somebody else.
        """
        for place in vacant:
            directory = self._pool.path / place
            with outcome.trying():
                isFree = self.isOurs(f"{place}/{CHAIN}") or not present(directory / CHAIN)
                if isFree and present(directory) and not present(directory / WITHDRAWN_FILE):
                    markWithdrawn(directory, self._workshop)
                    outcome.withdrawn.append(place)

    def _settle(self, touched: Collection[str]) -> None:
        """
        Remember of some what they are now; what cannot be read at the moment may be ours as before.
        """
        for path in touched:
            digest = self._digest(path)
            if digest in self._ours[path]:
                self._ours[path] = [digest]
            elif digest != _UNREADABLE:
                del self._ours[path]
        if touched:
            self._remember()

    def _toWrite(
        self, news: Mapping[str, str], outcome: Outcome, failed: set[str]
    ) -> Iterator[str]:
        """
        What has to be written, and may be; what cannot be seen now is one of C{failed}.
        """
        for path, digest in news.items():
            there = self._digest(path)
            if there == _ABSENT or there in self._ours.get(path, ()):
                if there != digest:
                    yield path
            elif there == _UNREADABLE:
                failed.add(path)
                outcome.problems.append(self._unreadable(path, "cannot be read"))
            elif there != digest:
                outcome.notes.append(f"{path}: is not from the directory, and stays as it is")

    def _digest(self, path: str) -> str:
        """
        That of a file; of none, nothing; of what cannot be read, something else.
        """
        file = self._pool.path / path
        try:
            content = readFile(file) if present(file) else None
        except ConfigurationError:
            return _UNREADABLE
        return _ABSENT if content is None else sha256(content).hexdigest()

    def _unreadable(self, path: str, problem: str) -> ConfigurationError:
        return ConfigurationError(
            str(self._pool.path / path), f"{problem}, so that it stays", "see who may read it"
        )

    def _write(self, contents: Mapping[str, bytes], outcome: Outcome) -> None:
        """
        Write files, each as a whole.  The disk has many of them at once, before any is in its
        place, as it takes a while to have each for itself.
        """
        areMany = len(contents) > MANY
        made = {}
        for number, (path, content) in enumerate(contents.items()):
            with outcome.trying():
                file = self._workshop / str(number)
                writeFile(file, content, 0o644, replace=True, isLasting=not areMany)
                made[path] = file
        if areMany:
            os.sync()
        for path, file in made.items():
            with outcome.trying():
                place = self._pool.path / path
                if place.name != CHAIN:
                    # A key that was removed meanwhile has no use for a certificate.
                    makeDirectory(place.parent)
                moveFile(file, place)
                outcome.written.append(path)

    def _remember(self) -> None:
        content = json.dumps(self._ours).encode()
        writeFile(self._record, content, 0o600, replace=True, workshop=self._workshop)

    def _link(self, links: Iterable[tuple[Identity, str]], outcome: Outcome) -> None:
        """
        Let identities lead to the keys that they have certificates for.
        """
        for identity, target in links:
            place = self._pool.path / identity.fileName
            with outcome.tryingAt(place):
                isLink = place.is_symlink()
                before = str(place.readlink()) if isLink else ""
                isFree = before.startswith(f"{KEYS}/") or not (isLink or place.exists())
                if isFree and before != target and self.isOurs(f"{target}/{CHAIN}"):
                    link(place, Path(target))
                    outcome.written.append(identity.fileName)
                    before = target
                if before == target:
                    self._linked[identity] = target

    def _successor(self, path: str) -> list[str]:
        """
        Who is believed from now on about those for whom there was a file of anchors.
        """
        directory, _, name = path.partition("/")
        if directory != "trust":
            return []
        name = name.removesuffix(".pem")
        files = self._pool.path / "trust"
        others = []
        if name != ANCHORS:
            with suppress(ValueError):
                selector = Selector.parse(name.replace("spiffe:", "spiffe://", 1))
                others = [each.fileName for each in selectorsFor(selector) if each != selector]
        for other in (*others, ANCHORS):
            if other != name and present(files / f"{other}.pem"):
                return [f"{path}: is gone, and trust/{other}.pem decides in its place"]
        return [f"{path}: is gone, and the pool's own authority or the system's store decides"]
