"""
What a setting is: a row of the table in L{tlstunnel.program.options}.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.values import flag
from tlstunnel.tunnel.description import Mode


class Scope(enum.Enum):
    """
    What a setting applies to.
    """

    TUNNEL = "one tunnel"
    PROCESS = "the process, with all its tunnels"
    LOG = "the log of the program in the foreground"
    STATUS = "what the process tells of itself"
    POOL_SERVICE = "the pool service"
    POOL_PULL = "the pool that follows a directory"
    AGENT = "the agent that gives certificates"
    FILE = "the configuration file, wherever it is served"
    VIEW = "nothing: it tells what is in the configuration file"
    ACTION = "nothing: it shows something, and that is all"


class Section(enum.Enum):
    """
    What belongs together in the help and in the manual page; the value is the title in the help.
    """

    FILE = "Many tunnels in one process"
    MODE = "Mode, exactly one"
    ADDRESSES = (
        "Addresses (127.0.0.1:25, [::1]:443, host:service, :443, /unix/socket), each repeatable"
    )
    IDENTITIES = "Identities (domain, user@domain, or spiffe://domain/path)"
    BRIDGE = "Both sides (with -b, where -R, --pin and --trust are about the server)"
    PROTOCOL = "Protocol"
    TLS = "TLS (1.2 and 1.3, nothing weaker)"
    WHO = "Who is there (what the plaintext side is told of its peer)"
    LIMITS = "Limits"
    PROCESSES = "Processes"
    STATUS = "Status"
    POOL_SERVICE = "The pool service"
    POOL_PULL = "The pool of a directory"
    AGENT = "The agent"
    LOG = "Log (to standard error; under twistd its own options decide)"
    HELP = "Help"


@dataclass(frozen=True)
class Option:
    """
    One setting.

    @ivar name: its key in a file, and its long name on the command line.
    @ivar section: where the help and the manual page have it.
    @ivar help: what it means, in words that go on from its name.
    @ivar more: sentences that only the manual page has room for.
    @ivar short: its letter on the command line, if it has one.
    @ivar argument: what the help calls its value; empty if it is a flag.
    @ivar parse: makes the value of what was given; raises C{ValueError} with a sentence.
    @ivar default: the value where nothing is given; C{None} or empty where that has no value.
    @ivar isRepeatable: whether it may have several values, which then are a tuple.
    @ivar scope: what it applies to.
    @ivar mode: the mode in which alone it means anything, besides that of a bridge, which has the
        settings of both sides.
    @ivar inBridge: whether it means anything there.
    @ivar limit: the field of L{tlstunnel.tunnel.limits.Limits} that it sets.
    @ivar place: makes of a value in a file, and the folder of that file, what it means there; for
        those that may be paths.
    """

    name: str
    section: Section
    help: str
    more: str = ""
    short: str = ""
    argument: str = ""
    parse: Callable[[object], Any] = flag
    default: Any = False
    isRepeatable: bool = False
    scope: Scope = Scope.TUNNEL
    mode: Mode | None = None
    inBridge: bool = True
    limit: str = ""
    place: Callable[[str, Path], str] | None = None

    @property
    def modes(self) -> str:
        """
        In which modes alone it means anything, in words; empty where its section says so, or that
        is every one.
        """
        if self.mode in (None, Mode.BRIDGE):
            return ""
        assert self.mode is not None
        return f"with `{self.mode.value}`" + (" or `bridge`" if self.inBridge else "")

    def means(self, mode: Mode) -> bool:
        """
        Whether it means anything in C{mode}.
        """
        return self.inBridge if mode is Mode.BRIDGE else self.mode in (None, mode)

    @property
    def shownDefault(self) -> str:
        """
        The default, as one would give it; empty where there is none.
        """
        if not self.argument or self.default in (None, ()):
            return ""
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def read(self, given: object) -> Any:
        """
        The value that C{given} stands for: text or a typed value, or a list of them.

        @raise ConfigurationError: it makes no sense, or there are several where one is enough.
        """
        values = given if isinstance(given, list) else [given]
        if not self.isRepeatable and len(values) != 1:
            raise ConfigurationError(f"`{self.name}`", f"has {len(values)} values", "give one")
        try:
            parsed = [self.parse(each) for each in values]
        except ValueError as error:
            raise ConfigurationError.of(f"`{self.name}`", error) from None
        return tuple(parsed) if self.isRepeatable else parsed[0]


def read(given: Mapping[str, object], options: Iterable[Option]) -> dict[str, Any]:
    """
    The values of C{options}, by their names: those given, else the defaults.

    @raise ConfigurationError: one of them makes no sense.
    """
    return {
        option.name: option.read(given[option.name]) if option.name in given else option.default
        for option in options
    }
