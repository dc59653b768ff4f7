"""
What a conversion comes to: the parts of a configuration file, before they are written.

It knows neither where they come from nor how TOML looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

#: What a key can have.
Value = str | int | float | bool | list[str]


@dataclass
class NameDraft:
    """
    A name that a tunnel serves in a way of its own.

    @ivar name: what clients ask for: a domain, or a wildcard.
    @ivar values: as those of a L{Draft}.
    @ivar notes: the same.
    """

    name: str
    values: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Draft:
    """
    A tunnel.

    @ivar name: what it is called in the file.
    @ivar values: by their keys, in the order in which they are written.
    @ivar notes: what the reader should know, a sentence or two each.
    @ivar names: those that have a table.
    """

    name: str
    values: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    names: list[NameDraft] = field(default_factory=list)


@dataclass
class LeftOut:
    """
    A tunnel that there will not be.

    @ivar name: what it is called in what was read.
    @ivar place: where it stands there.
    @ivar reasons: why, a sentence or two each.
    @ivar original: what was read, a line each.
    """

    name: str
    place: str
    reasons: list[str]
    original: list[str]


@dataclass
class Conversion:
    """
    A whole file.

    @ivar source: what was read.
    @ivar commands: what to run before the file is used, a line each.
    @ivar notes: what the reader should know of the process, or of all tunnels.
    @ivar process: values of the table of that name.
    @ivar status: the same.
    @ivar tunnels: in the order of what was read.
    @ivar lost: the protections that are there no more, a line each.
    """

    source: str
    commands: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    process: dict[str, Value] = field(default_factory=dict)
    status: dict[str, Value] = field(default_factory=dict)
    tunnels: list[Draft | LeftOut] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def drafts(self) -> list[Draft]:
        """
        The tunnels that there will be.
        """
        return [each for each in self.tunnels if isinstance(each, Draft)]

    @property
    def warnings(self) -> list[str]:
        """
        What could not be converted, a line each.
        """
        leftOut = [
            f"{each.place}: [{each.name}] is left out: {reason}"
            for each in self.tunnels
            if isinstance(each, LeftOut)
            for reason in each.reasons
        ]
        return [*leftOut, *self.lost]


#: The most characters in the name of a tunnel; what the file allows, less room for a number.
LONGEST_NAME = 58


def nameFor(text: str, taken: Iterable[str], otherwise: str = "tunnel") -> str:
    """
    A name for a tunnel that nobody has to put between quotation marks, and that none has yet.

    @param text: what it was called.
    @param otherwise: what to call it if nothing is left of that.
    """
    base = re.sub("[^A-Za-z0-9_-]", "-", text).strip("-")[:LONGEST_NAME] or otherwise
    names, name, number = set(taken), base, 1
    while name in names:
        number += 1
        name = f"{base}-{number}"
    return name


def sayOnce(notes: Iterable[str], about: str, advice: str) -> str:
    """
    A note that gives C{advice}, or refers to those that do so already.
    """
    isSaid = any(each.endswith(f": {advice}") for each in notes)
    return f"{about}: {'as above' if isSaid else advice}"
