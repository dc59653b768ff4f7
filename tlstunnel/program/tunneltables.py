"""
The tunnels of a configuration: what its tables C{defaults} and C{tunnel.NAME} make together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlstunnel.address import Listening
from tlstunnel.errors import ConfigurationError
from tlstunnel.poolservice.description import NAME as POOL_SERVICE
from tlstunnel.program.configfile import ConfigurationFile, dotted
from tlstunnel.program.configure import examine
from tlstunnel.program.defaults import withDefaults
from tlstunnel.program.keys import MODE, NAME_KEYS, TUNNEL_KEYS
from tlstunnel.program.nametables import NameTables, tableOfName
from tlstunnel.program.option import Section
from tlstunnel.program.problems import Place, Problem, asKey
from tlstunnel.program.tables import (
    Given,
    Tell,
    asDefaults,
    given,
    meantKey,
    tableGiving,
    tableOf,
    valuesOf,
)
from tlstunnel.tunnel.description import Mode, Tunnel

_WHO_SECTIONS = (
    Section.MODE,
    Section.ADDRESSES,
    Section.IDENTITIES,
    Section.BRIDGE,
    Section.PROTOCOL,
)
_NAMES = frozenset(each.name for each in TUNNEL_KEYS)

# What decides whose certificates, and whose trust, a tunnel needs.
_WHO = {each.name for each in TUNNEL_KEYS if each.section in _WHO_SECTIONS}

# What is wrong with a name of a tunnel.
_OF_NAME = re.compile("(`.*`) of the name (.*)")

#: What a tunnel may be called.
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def tableName(tunnel: str) -> str:
    """
    What the table of a tunnel is called, by the name of that.
    """
    return dotted(("tunnel", tunnel))


@dataclass(frozen=True)
class _Defaults:
    """
    What holds for all tunnels of some files.

    @ivar found: what is given, as far as it is right.
    @ivar wrong: the keys of what is not.
    """

    found: Mapping[str, Given] = field(default_factory=dict)
    wrong: frozenset[str] = frozenset()


class TunnelTables:
    """
    The tunnels of some files.

    @ivar tunnels: those that are right, at least in what says who is who.
    @ivar given: what was given for each, by table and key, with what it has from C{defaults}.
    @ivar places: where the tables begin.
    @ivar local: where each tunnel wants to listen, be it right or not.
    @ivar defaults: what holds for the tunnels of all files.
    """

    def __init__(self, files: Iterable[ConfigurationFile], tell: Tell) -> None:
        """
        @param files: the main one first, whose defaults are those of all.
        """
        self.tunnels: list[Tunnel] = []
        self.given: dict[str, Mapping[str, Given]] = {}
        self.places: dict[str, Place] = {}
        self.local: dict[str, tuple[Listening, ...]] = {}
        self.defaults: Mapping[str, Given] = {}
        self._tell = tell
        general: _Defaults | None = None
        for file in files:
            own = self._defaults(file)
            if general is None:
                general, own = own, _Defaults()
                self.defaults = general.found
            for name, content in tableOf(file.content, file, ("tunnel",), tell).items():
                self._read(file, name, content, general, own)

    def _defaults(self, file: ConfigurationFile) -> _Defaults:
        content = tableOf(file.content, file, ("defaults",), self._tell)
        found = given(content, file, ("defaults",), TUNNEL_KEYS, self._tell)
        right = valuesOf("defaults", found, TUNNEL_KEYS, self._tell).keys()
        wrong = frozenset(found.keys() - right)
        return _Defaults(asDefaults({key: found[key] for key in found if key in right}), wrong)

    def _read(
        self,
        file: ConfigurationFile,
        name: str,
        content: object,
        general: _Defaults,
        ofFile: _Defaults,
    ) -> None:
        table, place = tableName(name), file.place("tunnel", name)
        if not isinstance(content, dict):
            if name in _NAMES:
                problem, remedy = "is in no tunnel", "give the table above it a name: [tunnel.NAME]"
            else:
                problem, remedy = "is not a table", f"write [{table}], and its keys in lines below"
            self._refuse(place, table, problem, remedy)
        elif not NAME.fullmatch(name):
            remedy = "give 1 to 64 letters, digits, hyphens, dots and underscores"
            self._refuse(place, table, "cannot be the name of a tunnel", remedy)
        elif name == POOL_SERVICE:
            remedy = "give it another one"
            self._refuse(place, table, "is what log and status call the pool service", remedy)
        elif table in self.places:
            remedy = "give each tunnel a name of its own"
            self._refuse(place, table, f"is at {self.places[table]} already", remedy)
        else:
            self.places[table] = place
            names = NameTables(file, name, content, self._tell)
            self.given |= names.given
            self.places |= names.places
            content = {key: value for key, value in content.items() if key != "name"}
            own = given(content, file, ("tunnel", name), TUNNEL_KEYS, self._tell)
            found = self.given[table] = withDefaults(own, general.found, ofFile.found)
            wrong = (general.wrong - ofFile.found.keys() | ofFile.wrong) - own.keys()
            # What was meant is not missing besides.
            wrong |= {meantKey(key, _NAMES) for key in content.keys() - _NAMES}
            isName = content and all(isinstance(each, dict) for each in content.values())
            if not isName:
                self._make(name, table, found, wrong, names)

    def _refuse(self, place: Place, key: str, problem: str, remedy: str) -> None:
        self._tell(Problem(place.path, place.line, key, problem, remedy))

    def _make(
        self,
        name: str,
        table: str,
        found: Mapping[str, Given],
        wrong: frozenset[str],
        names: NameTables,
    ) -> None:
        """
        @param wrong: the keys of defaults that would hold, if they were right.
        """
        right = valuesOf(table, found, TUNNEL_KEYS, self._tell)
        wrong |= found.keys() - right.keys()
        values: dict[str, Any] = {each.name: each.default for each in TUNNEL_KEYS} | right
        values |= {each.value: values[MODE.name] == each.value for each in Mode}
        self.local[table] = values["local"]
        self._checkNames(values[MODE.name], names)
        tunnel, mistakes = examine(values, name=name, names=names.names)
        if values[MODE.name] is None:
            if MODE.name not in wrong:
                self._refuse(
                    self.places[table],
                    f"{table}.{MODE.name}",
                    "is missing",
                    f"write {asKey('server')}, {asKey('client')} or {asKey('bridge')}",
                )
            wrong |= {each.value for each in Mode}
        for error in mistakes:
            # What follows from another mistake is none of its own.
            if not error.mentioned & wrong:
                self._tell(self._problem(name, table, error))
        # Whose certificates are needed is known in spite of a wrong limit.
        if tunnel is not None and names.isRight and not wrong & _WHO:
            self.tunnels.append(tunnel)

    def _checkNames(self, mode: str | None, names: NameTables) -> None:
        """
        Tell of keys of names that mean nothing in the mode of their tunnel.
        """
        for table, found in names.given.items():
            for option in NAME_KEYS if mode is not None else ():
                if option.name in found and not option.means(Mode(mode)):
                    own = "client-id" if mode == Mode.BRIDGE.value else "remote-id"
                    self._refuse(
                        found[option.name].place,
                        f"{table}.{option.name}",
                        f"means nothing with {asKey(str(mode))}",
                        f"say with {own} who clients must be",
                    )

    def _problem(self, name: str, table: str, error: ConfigurationError) -> Problem:
        ofName = _OF_NAME.fullmatch(error.subject)
        if ofName is not None:
            served = tableOfName(name, ofName[2])
            own = self.given.get(served, {}).get(error.key)
            place = self.places[served] if own is None else own.place
            error = ConfigurationError(ofName[1], error.problem, error.remedy)
            return Problem.of(place, served, error)
        # What has no key of ours is a mistake in a script.
        found = self.given[table].get(error.key or "chat")
        place = self.places[table] if found is None else found.place
        return Problem.of(place, tableGiving(table, found), error, "chat")
