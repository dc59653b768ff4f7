"""
What is in force, as a configuration file that says where each value comes from.

Read again, it makes the same configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tlstunnel.identity.pool import Pool
from tlstunnel.program.configfile import quoted
from tlstunnel.program.configuration import COMMAND_LINE, Configuration
from tlstunnel.program.keys import (
    NAME_KEYS,
    PROCESS_KEYS,
    PROTOCOL_KEYS,
    STATUS_KEYS,
    TUNNEL_KEYS,
)
from tlstunnel.program.nametables import tableOfName
from tlstunnel.program.option import Option
from tlstunnel.program.poolsettings import POOL_SERVICE_KEYS
from tlstunnel.program.problems import Place, printable
from tlstunnel.program.pullsettings import POOL_PULL, POOL_PULL_KEYS
from tlstunnel.program.tables import Given
from tlstunnel.program.tunneltables import tableName
from tlstunnel.tunnel.description import Tunnel


def show(configuration: Configuration) -> str:
    """
    The text of a file that has all that is in force.
    """
    tables: list[tuple[str, Iterable[Option]]] = [
        ("process", PROCESS_KEYS),
        ("status", STATUS_KEYS),
    ]
    if configuration.poolService is not None:
        keys = _withPool(POOL_SERVICE_KEYS, configuration.poolService.pool)
        tables.append((configuration.poolService.name, keys))
    if configuration.poolPull is not None:
        tables.append((POOL_PULL, _withPool(POOL_PULL_KEYS, configuration.poolPull.pool)))
    for tunnel in configuration.tunnels:
        tables.append((tableName(tunnel.name), _keysOf(tunnel)))
        tables += _tablesOfNames(tunnel)
    shown = _Shown(configuration)
    text = "\n".join(line for table, keys in tables for line in shown.table(table, keys))
    return f"# what is in force by {printable(str(configuration.path))}\n\n{text}"


def _keysOf(tunnel: Tunnel) -> list[Option]:
    """
    The keys that mean something for C{tunnel}; and where it has the pool from, if nobody says so.
    """
    return _withPool([each for each in TUNNEL_KEYS if each.means(tunnel.mode)], tunnel.pool)


def _withPool(keys: Iterable[Option], pool: Pool) -> list[Option]:
    return [replace(each, default=str(pool.path)) if each.name == "pool" else each for each in keys]


def _tablesOfNames(tunnel: Tunnel) -> Iterator[tuple[str, Iterable[Option]]]:
    for each in tunnel.names:
        keys = [k for k in NAME_KEYS if k.means(tunnel.mode)]
        if each.remotes:
            keys = [k for k in keys if k.name != "alpn"]
        yield tableOfName(tunnel.name, each.name), keys
        for protocol in each.protocols:
            yield tableOfName(tunnel.name, each.name, "alpn", protocol), PROTOCOL_KEYS


class _Shown:
    """
    The lines for one configuration.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._folder = configuration.path.parent

    def table(self, table: str, keys: Iterable[Option]) -> Iterator[str]:
        """
        The lines of a table, and an empty one.
        """
        found = self._configuration.given.get(table, {})
        begin = self._configuration.places.get(table)
        yield f"[{table}]  # {self._placed(begin) if begin is not None else 'default'}"
        absent = []
        for option in keys:
            if option.name in found:
                each = found[option.name]
                yield f"{option.name} = {toml(each.value)}  # {self._source(each)}"
            elif option.default in (None, ()):
                absent.append(option.name)
            else:
                # Whether there has to be a pool depends on whether somebody has named it.
                comment = "# " if option.name == "pool" else ""
                yield f"{comment}{option.name} = {toml(option.default)}  # default"
        if absent:
            yield f"# not given: {', '.join(absent)}"
        yield ""

    def _source(self, each: Given) -> str:
        if each.place == COMMAND_LINE:
            return "command line"
        return f"{'defaults, ' if each.isDefault else ''}{self._placed(each.place)}"

    def _placed(self, place: Place) -> str:
        """
        A place, with a path from the folder of the main file if it is in it.
        """
        path = place.path
        if path.is_relative_to(self._folder):
            path = path.relative_to(self._folder)
        return printable(f"{path}:{place.line}")


def toml(value: object) -> str:
    """
    A value as TOML has it.
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else quoted(str(value))
