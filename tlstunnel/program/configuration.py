"""
A configuration: everything that a file says about a process and its tunnels, checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstunnel.address import Listening, TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.claim import Claim
from tlstunnel.poolservice.description import NAME as POOL_SERVICE
from tlstunnel.poolservice.description import PoolDescription
from tlstunnel.program.clashes import clashes, wantedBy
from tlstunnel.program.configfile import ConfigurationFile, readFile
from tlstunnel.program.includes import Includes
from tlstunnel.program.keys import INCLUDE, PROCESS_KEYS, STATUS_KEYS
from tlstunnel.program.option import Option
from tlstunnel.program.poolsettings import ONE_PROCESS, POOL_SERVICE_KEYS, describePool
from tlstunnel.program.problems import Place, Problem, Problems
from tlstunnel.program.pullsettings import POOL_PULL, POOL_PULL_KEYS, describePull
from tlstunnel.program.tables import Given, Tell, given, refuseKey, tableGiving, tableOf, valuesOf
from tlstunnel.program.tunneltables import TunnelTables
from tlstunnel.tunnel.description import Tunnel

if TYPE_CHECKING:
    from tlstunnel.provisioning.connection import Place as DirectoryPlace

#: Where a value stands that no file has.
COMMAND_LINE = Place(Path("command line"), 0)

# Tables that only the main file has.
_TABLES = ("process", "status", POOL_SERVICE, POOL_PULL)

#: What an included file may have, and what the main one has besides.
INCLUDED = frozenset(("defaults", "tunnel"))
MAIN = INCLUDED | {INCLUDE.name, *_TABLES}


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
class Configuration:
    """
    What is in force.  Two are equal if they make the same process, wherever they were read from.

    @ivar path: the file.
    @ivar process: the values of the settings of the process and its log, by their keys.
    @ivar status: where the process tells how it is.
    @ivar tunnels: in the order of the files, each with its name.
    @ivar poolService: the pool service, if there is one.
    @ivar poolPull: the directory that a pool follows, if one does.
    @ivar files: every file that it was read from, and the folders that C{include} looked into.
    @ivar given: what was given, by table (as in L{problemOf}) and key.
    @ivar places: where these tables begin.
    """

    path: Path = field(compare=False)
    process: Mapping[str, Any]
    status: Status
    tunnels: tuple[Tunnel, ...]
    files: tuple[Path, ...] = field(default=(), compare=False)
    given: Mapping[str, Mapping[str, Given]] = field(default_factory=dict, compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False)
    poolService: PoolDescription | None = None
    poolPull: DirectoryPlace | None = None

    @property
    def services(self) -> tuple[Tunnel | PoolDescription, ...]:
        """
        All that is to be served.
        """
        return self.tunnels if self.poolService is None else (*self.tunnels, self.poolService)

    @property
    def claims(self) -> list[Claim]:
        """
        What is to be listened at, but for the status.
        """
        return [claim for each in self.services for claim in each.claims]

    def placeOf(self, table: str, key: str, index: int | None = None) -> Place:
        """
        Where a key stands; the beginning of its table, or of the file, where it was not given.

        @param index: the number of a value, where there are several.
        """
        found = self.given.get(table, {}).get(key)
        if found is None:
            return self.places.get(table, Place(self.path))
        return found.place if index is None else found.placeOf(index)

    def problemOf(
        self, table: str, error: ConfigurationError, key: str = "", index: int | None = None
    ) -> Problem:
        """
        Say where something stands that turned out to be wrong later, as an address that is in use.

        @param table: C{status}, C{process}, C{pool-service}, or what L{tableName} has for a tunnel.
        @param key: the key to name where the error has none.
        """
        found = self.given.get(table, {}).get(error.key or key)
        place = self.placeOf(table, error.key or key, index)
        return Problem.of(place, tableGiving(table, found), error, key)

    def inOrder(self, problems: Iterable[Problem]) -> list[Problem]:
        """
        The problems as somebody meets them who reads the files, each once.
        """
        order = {path: number for number, path in enumerate(self.files)}
        return sorted(
            dict.fromkeys(problems),
            key=lambda each: (order.get(each.path, len(order)), each.path, each.line),
        )


def readConfiguration(path: Path, overriding: Mapping[str, object] | None = None) -> Configuration:
    """
    Read a configuration file, and those that it includes.

    No name is looked up, and nothing else is read but chat scripts.

    @param overriding: values of settings of the process that count instead of those of the file,
        as the command line gives them.
    @raise Problems: with all that is wrong.
    """
    configuration, problems = examineConfiguration(path, overriding)
    if problems:
        raise Problems(problems)
    return configuration


def examineConfiguration(
    path: Path, overriding: Mapping[str, object] | None = None
) -> tuple[Configuration, list[Problem]]:
    """
    The same, whatever is wrong with it.

    @return: what is right, so that it can be looked at further, and all that is wrong.
    @raise Problems: the main file cannot be read at all.
    """
    problems: list[Problem] = []
    tell = problems.append
    includes = Includes(path, tell)
    main = includes.main
    for file in includes.files:
        known = MAIN if file is main else INCLUDED
        for key in file.content.keys() - known:
            refuseKey(file, (key,), known, tell)
    process = _keysOf("process", main, PROCESS_KEYS, tell)
    values = valuesOf("process", process, PROCESS_KEYS, tell)
    over = {key: Given(value, COMMAND_LINE) for key, value in (overriding or {}).items()}
    values |= valuesOf("process", over, [each for each in PROCESS_KEYS if each.name in over], tell)
    status = _keysOf("status", main, STATUS_KEYS, tell)
    pool = _keysOf(POOL_SERVICE, main, POOL_SERVICE_KEYS, tell)
    tables = TunnelTables(includes.files, tell)
    pull = _keysOf(POOL_PULL, main, POOL_PULL_KEYS, tell)
    # Not to serve another pool than the tunnels do, unless it is meant.
    usual = {key: each for key, each in tables.defaults.items() if key == "pool"}
    if POOL_SERVICE in main.content:
        pool = usual | pool
    if POOL_PULL in main.content:
        pull = usual | pull
    if not (tables.places or problems or POOL_SERVICE in main.content):
        tell(Problem(path, 0, "", "has no tunnel", "add a table [tunnel.NAME]"))
    configuration = Configuration(
        path=path,
        process=values,
        status=Status(**valuesOf("status", status, STATUS_KEYS, tell)),
        tunnels=tuple(tables.tunnels),
        files=includes.paths,
        given={
            "process": process | over,
            "status": status,
            POOL_SERVICE: pool,
            POOL_PULL: pull,
            **tables.given,
        },
        places=tables.places | {key: main.place(key) for key in _TABLES if key in main.content},
    )
    if POOL_SERVICE in main.content:
        configuration = _withPoolService(configuration, pool, tell)
    if POOL_PULL in main.content:
        configuration = _withPoolPull(configuration, pull, tell)
    problems += _exposures(configuration)
    problems += _clashes(configuration, tables.local)
    return configuration, configuration.inOrder(problems)


def readStatus(path: Path) -> Status:
    """
    Read where a process that runs tells how it is, and nothing else: what is wrong with the rest of
    the file meanwhile is not its fault.

    @raise Problems: with all that is wrong with that.
    """
    problems: list[Problem] = []
    main = readFile(path)
    status = _keysOf("status", main, STATUS_KEYS, problems.append)
    values = valuesOf("status", status, STATUS_KEYS, problems.append)
    if not (problems or values["local"]):
        problems.append(
            Problem(
                path,
                main.place("status").line,
                "status.local",
                "is missing, so that there is no status to ask for",
                'add a table [status] with local = "127.0.0.1:9290", and reload',
            )
        )
    if problems:
        raise Problems(problems)
    return Status(**values)


def _keysOf(
    table: str, file: ConfigurationFile, keys: Sequence[Option], tell: Tell
) -> dict[str, Given]:
    return given(tableOf(file.content, file, (table,), tell), file, (table,), keys, tell)


def _exposures(configuration: Configuration) -> Iterator[Problem]:
    """
    Where others could see how the process is, without being let to.
    """
    for number, address in enumerate(configuration.status.local):
        if not (configuration.status.public or address.isLocal):
            error = ConfigurationError(
                f"`local` {address}",
                "can be reached by other hosts",
                "give a loopback address or a UNIX socket, or add public = true",
            )
            yield configuration.problemOf("status", error, index=number)


def _withPoolService(
    configuration: Configuration, found: Mapping[str, Given], tell: Tell
) -> Configuration:
    """
    The same with the pool service, if that is right.

    @param found: what its table gives.
    """
    values = valuesOf(POOL_SERVICE, found, POOL_SERVICE_KEYS, tell)
    if len(values) < len(POOL_SERVICE_KEYS):
        return configuration
    if configuration.process.get("workers", 1) > 1:
        tell(configuration.problemOf("process", ConfigurationError("`workers`", *ONE_PROCESS)))
    try:
        return replace(configuration, poolService=describePool(values))
    except ConfigurationError as error:
        tell(configuration.problemOf(POOL_SERVICE, error))
        return configuration


def _withPoolPull(
    configuration: Configuration, found: Mapping[str, Given], tell: Tell
) -> Configuration:
    """
    The same with the directory that a pool follows, if that is right.

    @param found: what its table gives.
    """
    values = valuesOf(POOL_PULL, found, POOL_PULL_KEYS, tell)
    if len(values) < len(POOL_PULL_KEYS):
        return configuration
    try:
        return replace(configuration, poolPull=describePull(values))
    except ConfigurationError as error:
        tell(configuration.problemOf(POOL_PULL, error))
        return configuration


def _clashes(
    configuration: Configuration, local: Mapping[str, Sequence[Listening]]
) -> Iterator[Problem]:
    """
    What wants an address that something else has.

    @param local: where each tunnel wants to listen, be it right or not.
    """
    wanted = [each for table, addresses in local.items() for each in wantedBy(table, addresses)]
    if configuration.poolService is not None:
        for claim in configuration.poolService.claims:
            wanted += wantedBy(POOL_SERVICE, claim.addresses, claim.key)
    wanted += wantedBy("status", configuration.status.local)
    for each, first in clashes(wanted):
        place = configuration.placeOf(first.table, first.key, first.index)
        isSame = each.address == first.address
        error = ConfigurationError(
            f"`{each.key}` {each.address}",
            f"belongs to {first.table}{'' if isSame else f' with {first.address}'} ({place})",
            "give each an address of its own",
        )
        yield configuration.problemOf(each.table, error, index=each.index)
