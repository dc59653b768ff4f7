"""
Where the tunnels of a process are described: on its command line, or in a file; and how a worker is
told what stands there, so that none has to read it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zope.interface import Attribute, Interface, implementer

from tlstunnel.errors import ConfigurationError
from tlstunnel.poolservice.description import NAME as POOL_SERVICE
from tlstunnel.program.configuration import COMMAND_LINE, Configuration, Status
from tlstunnel.program.configure import describe
from tlstunnel.program.nametables import namesOf, toldOf
from tlstunnel.program.option import read
from tlstunnel.program.options import TUNNEL_OPTIONS
from tlstunnel.program.plan import Described, Refused
from tlstunnel.program.poolsettings import describePool
from tlstunnel.program.problems import Problems
from tlstunnel.program.tunneltables import tableName
from tlstunnel.tunnel.description import Tunnel


class ISource(Interface):
    """
    Describes tunnels.
    """

    success = Attribute("L{str}: what the log says of a reload, with a place for C{changes}.")

    def read() -> Configuration:
        """
        What it says now.

        @raise ConfigurationError: that makes no sense.
        """

    def told(configuration: Configuration, described: Described) -> Mapping[str, Any]:
        """
        What a worker has to know of C{described}, for L{tunnelOf}; nothing where that is not for
        workers.
        """

    def refusal(configuration: Configuration, refused: Refused) -> ConfigurationError:
        """
        Say in its words why something cannot be served.
        """


def tunnelOf(told: Mapping[str, Any]) -> Tunnel:
    """
    The tunnel that a worker has been told of.

    @raise ConfigurationError: a chat script has become wrong meanwhile.
    """
    names = namesOf(told.get("names", ()))
    tunnel = describe(read(told["given"], TUNNEL_OPTIONS), told["words"], names)
    return replace(tunnel, name=told["name"], hostName=told["host"])


@implementer(ISource)
class CommandLineSource:
    """
    One tunnel, which has no name.
    """

    success = "reloaded identities and trust"

    def __init__(
        self, given: Mapping[str, Any], words: Sequence[str], process: Mapping[str, Any]
    ) -> None:
        """
        @param given: what was given for each option.
        @param words: a chat script, as the words of a command line.
        @param process: the values of the settings of the process.
        """
        known = {each.name for each in TUNNEL_OPTIONS}
        self._given = {name: given[name] for name in given if name in known}
        self._words = list(words)
        self._process = process

    def read(self) -> Configuration:
        """
        See L{ISource.read}: a chat script may have changed.
        """
        tunnel = describe(read(self._given, TUNNEL_OPTIONS), self._words)
        return Configuration(COMMAND_LINE.path, self._process, Status(), (tunnel,))

    def told(self, configuration: Configuration, described: Described) -> Mapping[str, Any]:
        """
        See L{ISource.told}.
        """
        assert isinstance(described, Tunnel)
        return {"name": "", "host": described.hostName, "given": self._given, "words": self._words}

    def refusal(self, configuration: Configuration, refused: Refused) -> ConfigurationError:
        """
        See L{ISource.refusal}: there is one tunnel.
        """
        return refused.refusals[0][1]


@implementer(ISource)
class PoolServiceSource:
    """
    A pool service, and nothing else, on a command line.
    """

    success = "reloaded the pool service"

    def __init__(
        self, values: Mapping[str, Any], process: Mapping[str, Any], status: Status
    ) -> None:
        """
        @param values: see L{describePool}.
        @param process: the values of the settings of the process.
        """
        self._values = values
        self._process = process
        self._status = status

    def read(self) -> Configuration:
        """
        See L{ISource.read}: what is read again is the pool.
        """
        pool = describePool(self._values)
        return Configuration(COMMAND_LINE.path, self._process, self._status, (), poolService=pool)

    def told(self, configuration: Configuration, described: Described) -> Mapping[str, Any]:
        """
        See L{ISource.told}: there are no workers.
        """
        return {}

    def refusal(self, configuration: Configuration, refused: Refused) -> ConfigurationError:
        """
        See L{ISource.refusal}: there is one service.
        """
        return refused.refusals[0][1]


@implementer(ISource)
class FileSource:
    """
    The tunnels of a file.
    """

    success = "reloaded: {changes}"

    def __init__(self, read: Callable[[], Configuration]) -> None:
        """
        @param read: see L{tlstunnel.program.configuration.readConfiguration}.
        """
        self._read = read

    def read(self) -> Configuration:
        """
        See L{ISource.read}.
        """
        return self._read()

    def told(self, configuration: Configuration, described: Described) -> Mapping[str, Any]:
        """
        See L{ISource.told}.
        """
        if not isinstance(described, Tunnel):
            return {}
        tunnel = described
        table = configuration.given[tableName(tunnel.name)]
        given = {key: each.value for key, each in table.items() if key != "mode"}
        return {
            "name": tunnel.name,
            "host": tunnel.hostName,
            "given": {**given, tunnel.mode.value: True},
            "words": [],
            "names": toldOf(tunnel.names, tunnel.name, configuration.given),
        }

    def refusal(self, configuration: Configuration, refused: Refused) -> ConfigurationError:
        """
        See L{ISource.refusal}.
        """
        problems = [
            configuration.problemOf(name if name == POOL_SERVICE else tableName(name), error)
            for name, error in refused.refusals
        ]
        # What stands in the defaults is wrong once.
        problems = list(dict.fromkeys(problems))
        return Problems(sorted(problems, key=lambda each: (str(each.path), each.line)))
