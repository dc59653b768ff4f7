"""
The names of one server tunnel in a configuration file: what its tables C{tunnel.NAME.name."..."}
give, and how a worker is told of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.configfile import ConfigurationFile, dotted
from tlstunnel.program.configure import clientsOf, deniedClients
from tlstunnel.program.keys import NAME_KEYS, PROTOCOL_KEYS
from tlstunnel.program.option import read
from tlstunnel.program.problems import Place, Problem
from tlstunnel.program.tables import Given, Tell, given, namesWithin, tableOf, valuesOf
from tlstunnel.program.values import protocolIDs
from tlstunnel.tunnel.servedname import Addresses, ServedName, normalName


def tableOfName(tunnel: str, *key: str) -> str:
    """
    What the table of a name is called.

    @param key: the name, and perhaps C{alpn} and a protocol.
    """
    return dotted(("tunnel", tunnel, "name", *key))


def describeName(
    name: str, values: Mapping[str, Any], remotes: Mapping[str, Addresses] | None = None
) -> ServedName:
    """
    The name that C{values} make.

    @param values: those of L{NAME_KEYS}.
    @param remotes: where to connect to for each protocol that has a table.
    @raise ConfigurationError: they make none.
    """
    clients = values["remote-id" if values["client-id"] is None else "client-id"]
    chosen = tuple((_protocol(each), remote) for each, remote in (remotes or {}).items())
    return ServedName(
        name=name,
        remote=values["remote"],
        remoteID=clientsOf(clients or ()),
        denyID=deniedClients(values["deny-id"]),
        anybody=clients == (),
        alpn=tuple(each for each, _ in chosen) if chosen else values["alpn"],
        minimum=values["minimum-tls"],
        remotes=chosen,
    )


def _protocol(text: str) -> bytes:
    """
    The id of a protocol that has a table.

    @raise ConfigurationError: it is none.
    """
    try:
        (protocol,) = protocolIDs(text)
    except ValueError as error:
        raise ConfigurationError(f"`alpn` {text}", "is no id", "give one such as h2") from error
    return protocol


def toldOf(
    names: Sequence[ServedName], tunnel: str, found: Mapping[str, Mapping[str, Given]]
) -> Any:
    """
    What a worker has to know of C{names}, for L{namesOf}.

    @param found: what was given, by table and key.
    """
    return [
        (
            each.name,
            _valuesIn(found[tableOfName(tunnel, each.name)]),
            {
                protocol: _valuesIn(found[tableOfName(tunnel, each.name, "alpn", protocol)])
                for protocol in each.protocols
            },
        )
        for each in names
    ]


def _valuesIn(table: Mapping[str, Given]) -> dict[str, object]:
    return {key: each.value for key, each in table.items()}


def namesOf(told: Sequence[Any]) -> tuple[ServedName, ...]:
    """
    The names that a worker has been told of.
    """
    return tuple(
        describeName(
            name,
            read(values, NAME_KEYS),
            {each: read(own, PROTOCOL_KEYS)["remote"] for each, own in protocols.items()},
        )
        for name, values, protocols in told
    )


class NameTables:
    """
    The tables of names of one tunnel.

    @ivar names: those that are right.
    @ivar given: what was given for each, by table and key.
    @ivar places: where the tables begin.
    @ivar isRight: whether all of them are.
    """

    def __init__(self, file: ConfigurationFile, tunnel: str, content: Any, tell: Tell) -> None:
        """
        @param content: what the table C{tunnel.NAME} has.
        """
        self.names: list[ServedName] = []
        self.given: dict[str, Mapping[str, Given]] = {}
        self.places: dict[str, Place] = {}
        self.isRight = True
        self._file = file
        self._tunnel = tunnel
        self._tell = tell
        key = ("tunnel", tunnel, "name")
        for name, table in tableOf(content, file, key, self._refuse).items():
            self._read(name, table, file.place(*key, name))

    def _refuse(self, problem: Problem) -> None:
        self.isRight = False
        self._tell(problem)

    def _wrong(self, place: Place, key: str, problem: str, remedy: str) -> None:
        self._refuse(Problem(place.path, place.line, key, problem, remedy))

    def _read(self, text: str, content: Any, place: Place) -> None:
        raw = tableOfName(self._tunnel, text)
        if not isinstance(content, dict):
            self._wrong(place, raw, "is not a table", f"write [{raw}], and its keys in lines below")
            return
        whole = ".".join((text, *namesWithin(content)))
        if whole != text and not content.keys() & {each.name for each in NAME_KEYS}:
            remedy = f"write [{tableOfName(self._tunnel, whole)}]"
            self._wrong(place, raw, "is a part of a name only", remedy)
            return
        try:
            name = normalName(text)
        except ValueError as error:
            problem, _, remedy = str(error).partition("; ")
            self._wrong(place, raw, problem, remedy)
            return
        table = tableOfName(self._tunnel, name)
        if table in self.places:
            self._wrong(place, raw, f"is at {self.places[table]} already", "leave one of them out")
            return
        self.places[table] = place
        self._make(name, text, table, content)

    def _make(self, name: str, text: str, table: str, content: Mapping[str, Any]) -> None:
        protocols = content.get("alpn")
        rest = dict(content)
        if isinstance(protocols, dict):
            del rest["alpn"]
        else:
            protocols = {}
        key = ("tunnel", self._tunnel, "name", text)
        found = self.given[table] = given(rest, self._file, key, NAME_KEYS, self._refuse)
        values = {each.name: each.default for each in NAME_KEYS}
        values |= valuesOf(table, found, NAME_KEYS, self._refuse)
        remotes = {each: self._remote(key, name, each, own) for each, own in protocols.items()}
        try:
            self.names.append(describeName(name, values, remotes))
        except ConfigurationError as error:
            place = found[error.key].place if error.key in found else self.places[table]
            self._refuse(Problem.of(place, table, error))

    def _remote(self, key: tuple[str, ...], name: str, protocol: str, content: Any) -> Addresses:
        """
        Where to connect to for a protocol.
        """
        own = (*key, "alpn", protocol)
        table = tableOfName(self._tunnel, name, "alpn", protocol)
        if not isinstance(content, dict):
            remedy = f"write [{table}], and remote below"
            self._wrong(self._file.place(*own), table, "is not a table", remedy)
            return ()
        self.places[table] = self._file.place(*own)
        found = self.given[table] = given(content, self._file, own, PROTOCOL_KEYS, self._refuse)
        remote: Addresses = valuesOf(table, found, PROTOCOL_KEYS, self._refuse).get("remote", ())
        return remote
