"""
Lists of who may come in, and of who may not: long ones too, for each is looked up by the selectors
of an identity, and never from one end to the other.

A list is text in a file, a selector a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity, Kind, Selector, selectorsFor
from tlstunnel.identity.pem import readFile

#: How many selectors of a list are shown.
SHOWN = 8

_COMMENT = re.compile(r"(^|\s)#.*")


@dataclass(frozen=True)
class AccessList:
    """
    Who may come: whomever one of several selectors matches, unless one that denies does so too.

    @ivar selectors: who may; nobody, where there are none.
    @ivar denied: who may not.
    @ivar places: where those that deny stand, as far as that is worth a word.
    """

    selectors: tuple[Selector, ...]
    denied: tuple[Selector, ...] = ()
    places: Mapping[Selector, str] = field(default_factory=dict, compare=False)

    @cached_property
    def kinds(self) -> Set[Kind]:
        """Of what sort those are who may come."""
        return {each.kind for each in self.selectors}

    @cached_property
    def _ranks(self) -> Mapping[Selector, int]:
        # Of equal ones the first counts.
        return {each: rank for rank, each in reversed(tuple(enumerate(self.selectors)))}

    @cached_property
    def _denied(self) -> Set[Selector]:
        return frozenset(self.denied)

    @cached_property
    def _deniedParents(self) -> Mapping[str, Selector]:
        """What stands behind the first label of each domain that is denied by itself."""
        return {
            "." + each.domain.partition(".")[2]: each
            for each in self.denied
            if each.kind is Kind.DOMAIN and "." in each.domain and not each.domain.startswith(".")
        }

    def first(self, candidates: Iterable[Identity]) -> Identity | None:
        """
        The one of C{candidates} that the first selector matches that matches any.

        This does not ask who is denied.
        """
        ranks = self._ranks
        best, found = len(self.selectors), None
        for candidate in candidates:
            for selector in selectorsFor(candidate):
                rank = ranks.get(selector, best)
                if rank < best:
                    best, found = rank, candidate
        return found

    def denialOf(self, identity: Identity) -> Selector | None:
        """The most concrete selector that denies C{identity}."""
        return next((each for each in selectorsFor(identity) if each in self._denied), None)

    def denialOfWildcard(self, parent: str) -> Selector | None:
        """
        A selector that denies a domain for which a wildcard stands, which is for one label.

        @param parent: what follows the asterisk, from the dot onwards.
        """
        denying = (each for each in selectorsFor(Selector(None, parent)) if each in self._denied)
        return self._deniedParents.get(parent) or next(denying, None)

    def placeOf(self, denying: Selector) -> str:
        """Where a selector that denies stands, for people; with the selector itself."""
        place = self.places.get(denying)
        return f"{denying} in {place}" if place else str(denying)

    def __str__(self) -> str:
        shown = _shown(self.selectors) or "an empty list"
        return f"{shown}, but not {_shown(self.denied)}" if self.denied else shown


def _shown(selectors: tuple[Selector, ...]) -> str:
    several = [str(each) for each in selectors[:SHOWN]]
    if len(selectors) > SHOWN:
        several[-1] = f"{len(selectors) - SHOWN + 1} others"
    return " or ".join(several)


def readList(path: Path) -> dict[Selector, str]:
    """
    Read a list: a selector a line; empty lines, and what stands behind C{#} at the beginning or
    behind white space, count for nothing.

    @return: the selectors in their order, each with its place, C{FILE, line N}.
    @raise ConfigurationError: there is no such file, or it is too large, or a line of it is broken.
    """
    found: dict[Selector, str] = {}
    # Who edits it on another system may have a byte order mark in it.
    content = readFile(path).removeprefix(b"\xef\xbb\xbf")
    for number, line in enumerate(content.splitlines(), 1):
        place = f"{path}, line {number}"
        try:
            text = _COMMENT.sub("", line.decode()).strip()
            if not text:
                continue
            found.setdefault(Selector.parse(text), place)
        except UnicodeDecodeError:
            raise ConfigurationError(
                place, "is not text in UTF-8", "save it in that encoding"
            ) from None
        except ValueError as error:
            raise ConfigurationError.of(place, error) from None
    return found
