"""
What the tables of a configuration file give, checked key by key: which keys there are, and what
their values mean.

What concerns several keys at once is looked at elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlstunnel.errors import ConfigurationError, likely
from tlstunnel.program.configfile import ConfigurationFile, dotted
from tlstunnel.program.keys import (
    PROCESS_KEYS,
    STATUS_KEYS,
    TUNNEL_KEYS,
)
from tlstunnel.program.option import Option
from tlstunnel.program.poolsettings import POOL_SERVICE_KEYS
from tlstunnel.program.problems import Place, Problem
from tlstunnel.program.pullsettings import POOL_PULL_KEYS

#: What is said of each problem; nothing ends because of it.
Tell = Callable[[Problem], None]

# Where keys belong that stand somewhere else.
_TABLES = {
    **dict.fromkeys((each.name for each in POOL_PULL_KEYS), "[pool-pull]"),
    **dict.fromkeys((each.name for each in POOL_SERVICE_KEYS), "[pool-service]"),
    **dict.fromkeys((each.name for each in STATUS_KEYS), "[status]"),
    **dict.fromkeys((each.name for each in TUNNEL_KEYS), "[defaults], or a tunnel"),
    **dict.fromkeys((each.name for each in PROCESS_KEYS), "[process]"),
    "include": "the beginning of the main file",
    **dict.fromkeys(("process", "status", "pool-service", "pool-pull"), "the main file"),
}

# The options for the mode.
_MODES = {each: f'write mode = "{each}"' for each in ("server", "client", "bridge")}


@dataclass(frozen=True)
class Given:
    """
    The value of a key, as it was given.

    @ivar value: what TOML has, with paths from the folder of the file.
    @ivar place: where it stands.
    @ivar places: the same of each element, if it is an array.
    @ivar isDefault: whether it comes from a table C{defaults}.
    """

    value: object
    place: Place
    places: tuple[Place, ...] = ()
    isDefault: bool = False

    def placeOf(self, index: int) -> Place:
        """
        Where the value of that number stands.
        """
        return self.places[index] if index < len(self.places) else self.place


def tableOf(
    content: Mapping[str, Any], file: ConfigurationFile, key: Sequence[str], tell: Tell
) -> Mapping[str, Any]:
    """
    What a table has; nothing, if there is none.

    @param content: what the table would be in.
    @param key: its own.
    """
    found = content.get(key[-1], {})
    if isinstance(found, dict):
        return found
    name = "tunnel.NAME" if key[-1] == "tunnel" else dotted((*key,))
    tell(_problem(file, key, "is not a table", f"write [{name}], and its keys in lines below"))
    return {}


def _problem(file: ConfigurationFile, key: Sequence[str], problem: str, remedy: str) -> Problem:
    place = file.place(*key)
    return Problem(place.path, place.line, dotted((*key,)), problem, remedy)


def given(
    content: Mapping[str, Any],
    file: ConfigurationFile,
    table: Sequence[str],
    keys: Iterable[Option],
    tell: Tell,
) -> dict[str, Given]:
    """
    What a table gives; keys that it cannot have are told and left out.

    @param content: what the table has.
    @param table: its own key.
    """
    known = {each.name: each for each in keys}
    found = {}
    for key, value in content.items():
        option = known.get(key)
        if option is None and isinstance(value, dict) and table[:1] == ("tunnel",):
            name = ".".join((*table[1:], key, *namesWithin(value)))
            remedy = f"write [{dotted(('tunnel', name))}] for a tunnel of that name"
            tell(_problem(file, (*table, key), "there is no such table", remedy))
        elif option is None:
            refuseKey(file, (*table, key), known, tell)
        else:
            found[key] = _given(option, value, file, (*table, key))
    return found


def namesWithin(table: Mapping[str, Any]) -> Iterator[str]:
    """
    The names of tables within each other that have nothing else, as a dot in a name makes them.
    """
    while len(table) == 1:
        ((name, inner),) = table.items()
        if not isinstance(inner, dict):
            return
        yield name
        table = inner


def refuseKey(
    file: ConfigurationFile, key: Sequence[str], known: Iterable[str], tell: Tell
) -> None:
    """
    Tell of a key that cannot stand where it does, and what may be meant.
    """
    name = key[-1]
    meant = meantKey(name, known)
    if name in _TABLES and meant != "mode":
        tell(_problem(file, key, "does not belong here", f"move it to {_TABLES[name]}"))
        return
    if name == "name" and tuple(key) == ("defaults", "name"):
        remedy = "names are those of one tunnel: write [tunnel.NAME.name...]"
        tell(_problem(file, key, "does not belong here", remedy))
        return
    if len(key) == 1 and isinstance(file.content[name], dict):
        tell(_problem(file, key, "there is no such table", _tableMeant(meant)))
        return
    remedy = f"did you mean {meant}?" if meant else "see tlstunnel.toml(5)"
    tell(_problem(file, key, "there is no such key", _MODES.get(name, remedy)))


def _tableMeant(meant: str) -> str:
    if not meant or meant == "include":
        return "write [tunnel.NAME] for a tunnel; see tlstunnel.toml(5)"
    return f"did you mean [{meant}{'.NAME' if meant == 'tunnel' else ''}]?"


def meantKey(name: str, known: Iterable[str]) -> str:
    """
    Which of C{known} is probably meant by a key that is none; empty where none is like it.
    """
    if name in _MODES and "mode" in known:
        return "mode"
    return likely(name.lower().replace("_", "-"), known)


def _given(option: Option, value: object, file: ConfigurationFile, key: Sequence[str]) -> Given:
    if isinstance(value, list):
        return Given(
            [_placed(option, each, file) for each in value],
            file.place(*key),
            tuple(file.place(*key, number) for number in range(len(value))),
        )
    return Given(_placed(option, value, file), file.place(*key))


def _placed(option: Option, value: object, file: ConfigurationFile) -> object:
    if option.place is None or not isinstance(value, str):
        return value
    return option.place(value, file.folder)


def tableGiving(table: str, found: Given | None) -> str:
    """
    Which table gives a value to C{table}.
    """
    return "defaults" if found is not None and found.isDefault else table


def asDefaults(found: Mapping[str, Given]) -> dict[str, Given]:
    """
    The same, where it holds for all tunnels.
    """
    return {key: replace(each, isDefault=True) for key, each in found.items()}


def valuesOf(
    table: str, found: Mapping[str, Given], keys: Iterable[Option], tell: Tell
) -> dict[str, Any]:
    """
    The values of C{keys}: those given, else the defaults.  There is none of those that are wrong.

    @param table: how to call the table.
    """
    values = {}
    for option in keys:
        if option.name not in found:
            values[option.name] = option.default
            continue
        each = found[option.name]
        wrong = [Problem.of(place, table, error) for place, error in _mistakes(option, each)]
        for problem in wrong:
            tell(problem)
        if not wrong:
            values[option.name] = option.read(each.value)
    return values


def _mistakes(option: Option, found: Given) -> Iterable[tuple[Place, ConfigurationError]]:
    """
    What is wrong with a value, and with each element of one that may have several.
    """
    pieces: list[tuple[Place, object]] = [(found.place, found.value)]
    if option.isRepeatable and isinstance(found.value, list):
        pieces = [(place, [each]) for place, each in zip(found.places, found.value, strict=True)]
    for place, piece in pieces:
        try:
            option.read(piece)
        except ConfigurationError as error:
            yield place, error
