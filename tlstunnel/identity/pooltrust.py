"""
Whom a pool has us believe: which of its files of anchors decides about whom.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import spiffe
from tlstunnel.identity.files import entries, isDirectory, present
from tlstunnel.identity.names import Identity, Kind, Selector, selectorsFor
from tlstunnel.identity.trust import Anchors, Trust

if TYPE_CHECKING:
    from tlstunnel.identity.pool import Pool

# What decides where no selector does; a host of that name has no file.
_GENERAL = "anchors.pem"


class PoolTrust:
    """
    The trust of a pool as it is now: no file is looked at twice.
    """

    def __init__(self, pool: Pool) -> None:
        """
        @param pool: a pool that is there.
        @raise ConfigurationError: we are not let to see what is in it.
        """
        self._pool = pool
        self._directory = directory = pool.path / "trust"
        self._isThere = present(directory)
        if self._isThere and not isDirectory(directory):
            entries(directory)
        self._found: dict[Selector, Path | None] = {}
        self._read: dict[tuple[Selector | None, bool], Anchors] = {}
        self._trusts: dict[tuple[Selector | None, bool], Trust] = {}

    @cached_property
    def _selectors(self) -> list[Selector]:
        """All selectors with anchors, as far as a name of a file is one."""
        found = []
        for file in entries(self._directory) if self._isThere else ():
            name = file.name.removesuffix(".pem")
            if name.startswith("spiffe:"):
                name = name.replace(":", "://", 1)
            with suppress(ValueError):
                selector = Selector.parse(name)
                if self._pool.trustFile(selector) == file and file.name != _GENERAL:
                    found.append(selector)
        return found

    def _fileOf(self, selector: Selector) -> Path | None:
        """The file with the anchors for one selector, if there is one."""
        if selector not in self._found:
            file = None
            # Those for workloads are for a whole trust domain.
            if selector.path in (None, "/"):
                file = self._pool.trustFile(selector)
                if file.name == _GENERAL or not present(file):
                    file = None
            self._found[selector] = file
        return self._found[selector]

    def _covering(self, remote: Identity | Selector) -> Selector | None:
        """The most concrete selector with anchors that matches all of C{remote}."""
        # Not among all of them: there may be thousands.
        several = selectorsFor(remote) if self._isThere else ()
        return next((each for each in several if self._fileOf(each) is not None), None)

    def anchorsFor(self, remote: Identity | Selector) -> Anchors:
        """
        See L{Pool.anchorsFor}.
        """
        covering, isPublic = self._covering(remote), remote.kind is Kind.DOMAIN
        known = self._read.get((covering, isPublic))
        if known is None:
            known = self._read[covering, isPublic] = self._anchors(covering, isPublic, remote)
        return known

    def _anchors(
        self, covering: Selector | None, isPublic: bool, remote: Identity | Selector
    ) -> Anchors:
        file = None if covering is None else self._fileOf(covering)
        if file is not None:
            return Anchors.read([file])
        pool = self._pool
        anchors, own = self._directory / _GENERAL, pool.path / "ca" / "cert.pem"
        files = [file for file in (anchors, own) if present(file)]
        system = anchors not in files and isPublic
        if files or system:
            return Anchors.read(files, system, own)
        raise ConfigurationError(
            str(self._directory),
            f"has no certificate of an authority to trust for {remote}",
            "give `trust` FILE"
            if pool.isOfCertbot
            else f"run {pool.command('trust', _named(remote), 'FILE')}, or give `trust` FILE",
        )

    def trustFor(self, remote: Identity | Selector) -> Trust:
        """
        See L{Pool.trustFor}.
        """
        general, covering = self.anchorsFor(remote), self._covering(remote)
        concrete = {each: self.anchorsFor(each) for each in self._below(remote)}
        if concrete:
            if covering is not None:
                concrete[covering] = general
            return Trust(general, concrete)
        # Of many there are few that differ.
        key = covering, remote.kind is Kind.DOMAIN
        return self._trusts.setdefault(key, Trust(general))

    def _below(self, remote: Identity | Selector) -> list[Selector]:
        """The selectors with anchors that are about some of those whom C{remote} matches."""
        if isinstance(remote, Identity) or remote.isExact:
            return []
        above = set(selectorsFor(remote))
        return [each for each in self._selectors if each.overlaps(remote) and each not in above]


def _named(remote: Identity | Selector) -> str:
    """Whose anchors can be told apart: of workloads a whole trust domain."""
    return str(remote) if remote.path is None else f"{spiffe.SCHEME}{remote.domain}"
