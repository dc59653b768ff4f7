"""
A configuration: everything that a file says about a process and its tunnels, checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.program.problems import Place, Problem
from tlstunnel.tunnel.description import Tunnel

#: Where the value of a setting came from if it was no file.
COMMAND_LINE = Path("command line")


@dataclass(frozen=True)
class Status:
    """
    Where the process tells how it is.

    @ivar local: the addresses; none if it does not tell.
    @ivar public: whether they may be such that other hosts can reach them.
    """

    local: tuple[TCPAddress | UNIXAddress, ...] = ()
    public: bool = False


@dataclass(frozen=True)
class Given:
    """
    The value of a key, as it was given.

    @ivar value: what TOML has, with paths from the folder of the file.
    @ivar place: where it stands.
    @ivar isDefault: whether it comes from the table C{defaults}.
    """

    value: object
    place: Place
    isDefault: bool = False


@dataclass(frozen=True)
class Configuration:
    """
    What is in force.  Two are equal if they make the same process, wherever they were read from.

    @ivar path: the file.
    @ivar process: the values of the settings of the process and its log, by their keys.
    @ivar status: where the process tells how it is.
    @ivar tunnels: in the order of the files, each with its name.
    @ivar files: every file that it was read from, and the folders that C{include} looked into.
    @ivar given: what was given, by table (C{process}, C{status}, C{tunnel.NAME}) and key.
    @ivar tables: where these tables begin.
    """

    path: Path = field(compare=False)
    process: Mapping[str, Any]
    status: Status
    tunnels: tuple[Tunnel, ...]
    files: tuple[Path, ...] = field(default=(), compare=False)
    given: Mapping[str, Mapping[str, Given]] = field(default_factory=dict, compare=False)
    tables: Mapping[str, Place] = field(default_factory=dict, compare=False)

    def placeOf(self, table: str, key: str) -> Place:
        """
        Where a key stands; the beginning of its table, or of the file, where it was not given.
        """
        given = self.given.get(table, {}).get(key)
        return given.place if given is not None else self.tables.get(table, Place(self.path))

    def problemOf(self, table: str, error: ConfigurationError, key: str = "") -> Problem:
        """
        What turned out to be wrong later, as with an address that is in use.

        @param table: C{tunnel.NAME}, C{status} or C{process}.
        @param key: the key to name where the error has none.
        """
        return Problem.of(self.placeOf(table, error.key or key), table, error, key)


def readConfiguration(path: Path, overriding: Mapping[str, object] | None = None) -> Configuration:
    """
    Read a configuration file, and those that it includes.

    No name is looked up, and nothing else is read but chat scripts.

    @param overriding: values of settings of the process that count instead of those of the file,
        as the command line gives them.
    @raise Problems: with all that is wrong.
    """
    raise NotImplementedError
