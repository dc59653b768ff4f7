"""
The settings of an agent, which has a command line and no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlstunnel.agent.allowance import Allowance
from tlstunnel.agent.service import AgentDescription
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.access import SocketAccess
from tlstunnel.program.option import Option, Scope, Section
from tlstunnel.program.options import OPTIONS
from tlstunnel.program.poolsettings import localSocket
from tlstunnel.program.values import Number, text

#: Seconds for which a certificate may be good.  The next one is asked for at about half of that, a
#: second later once more if need be, and none is shown in its last second: with less there is no
#: time for it.  More is no short life.
LEAST_SECONDS, MOST_SECONDS = 5.0, 7 * 86400.0

#: Who may connect where nobody says who gets anything, and where somebody does.
OWN_MODE, ANY_MODE = 0o600, 0o666


def _lifetime(value: object) -> float:
    seconds = float(Number(float, "seconds")(value))
    bounds = f"give {LEAST_SECONDS:g} to {MOST_SECONDS:g} seconds"
    if seconds < LEAST_SECONDS:
        raise ValueError(f"{seconds:g} s leave no time to get the next certificate; {bounds}")
    if seconds > MOST_SECONDS:
        raise ValueError(f"{seconds:g} s are no short life; {bounds}")
    return seconds


def _allowance(value: object) -> Allowance:
    return Allowance.parse(text(value))


def _shared(name: str) -> Option:
    (option,) = (each for each in OPTIONS if each.name == name)
    return replace(option, section=Section.AGENT, scope=Scope.AGENT, short="", mode=None)


AGENT_OPTIONS = (
    Option(
        "socket",
        Section.AGENT,
        "where tunnels connect, which have it as `agent`; systemd:NAME for a socket that systemd "
        "hands us",
        argument="PATH",
        parse=localSocket,
        default=None,
        scope=Scope.AGENT,
    ),
    Option(
        "issuer",
        Section.AGENT,
        "the directory of the intermediate by whose word certificates are given, as 'tlstunnel "
        "identity issuer' makes it: fullchain.pem and privkey.pem",
        argument="DIR",
        parse=text,
        default=None,
        scope=Scope.AGENT,
    ),
    Option(
        "lifetime",
        Section.AGENT,
        "seconds for which a certificate is good",
        argument="SECONDS",
        parse=_lifetime,
        default=600.0,
        scope=Scope.AGENT,
    ),
    Option(
        "allow",
        Section.AGENT,
        "who gets certificates: user:NAME or group:NAME, or with =ID behind it for those "
        "identities alone; repeatable. Without it whoever can connect gets all, and by default "
        "only our own user can connect",
        argument="WHO",
        parse=_allowance,
        default=(),
        isRepeatable=True,
        scope=Scope.AGENT,
    ),
    replace(
        _shared("socket-mode"),
        help="permissions of the socket (default: 0600, with `allow` 0666)",
    ),
    _shared("socket-owner"),
    _shared("socket-group"),
)


def describeAgent(values: Mapping[str, Any]) -> AgentDescription:
    """
    The agent that C{values} make.

    @param values: those of L{AGENT_OPTIONS}, by their names.
    @raise ConfigurationError: they make none.
    """
    for key, remedy in (
        ("socket", "say where tunnels connect"),
        ("issuer", "make one with 'tlstunnel identity issuer', and name its directory"),
    ):
        if values[key] is None:
            raise ConfigurationError(f"`{key}`", "is missing", remedy)
    mode = values["socket-mode"]
    if mode is None:
        mode = ANY_MODE if values["allow"] else OWN_MODE
    return AgentDescription(
        Path(values["issuer"]),
        values["socket"],
        SocketAccess(mode, values["socket-owner"], values["socket-group"]),
        values["lifetime"],
        values["allow"],
    )
