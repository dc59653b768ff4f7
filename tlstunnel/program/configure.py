"""
From the values of settings to the description of a tunnel: what concerns several of them at once.

Nothing is bound, and nothing is read but a chat script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tlstunnel.address import UNIXAddress
from tlstunnel.chat.dialect import chatDialect
from tlstunnel.chat.escapes import Values
from tlstunnel.chat.parse import ScriptOptions
from tlstunnel.chat.source import makeScript, readFile
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool, defaultPool
from tlstunnel.interfaces import IDialect
from tlstunnel.net.access import SocketAccess
from tlstunnel.program.options import OPTIONS, TUNNEL_OPTIONS
from tlstunnel.protocols import registry
from tlstunnel.tunnel.description import Mode, Tunnel, checkRemoteID, identityOfRemote
from tlstunnel.tunnel.limits import Limits

_T = TypeVar("_T")


def describe(values: Mapping[str, Any], chatWords: Sequence[str] = ()) -> Tunnel:
    """
    The tunnel that C{values} make.

    @param values: those of L{TUNNEL_OPTIONS}, by their names.
    @param chatWords: a chat script, as the words of a command line.
    @raise ConfigurationError: they make none.
    """
    mode = _mode(values)
    for key, what in (("local", "where to listen"), ("remote", "where to forward to")):
        if not values[key]:
            raise ConfigurationError(f"`{key}`", "is missing", f"say {what}")
    localID = _identity("local-id", Identity.parse, values)
    if mode is Mode.SERVER and localID is None:
        raise ConfigurationError("`local-id`", "is missing", "say whom a server tunnel stands for")
    remoteID: Identity | Selector | None = (
        _identity("remote-id", Selector.parse, values)
        if mode is Mode.SERVER
        else _identity("remote-id", Identity.parse, values)
    )
    dialect = _dialect(values, chatWords, mode, localID, remoteID)
    pool = values["pool"]
    tunnel = Tunnel(
        mode=mode,
        local=values["local"],
        access=_access(values),
        remote=values["remote"],
        dialect=dialect,
        localID=localID,
        remoteID=remoteID,
        pool=defaultPool() if pool is None else Pool(Path(pool)),
        trust=values["trust"] or "",
        alpn=values["alpn"],
        options=_dialectOptions(values["dialect-option"], dialect),
        anyName=values["any-name"],
        requireALPN=values["require-alpn"],
        minimum=values["minimum-tls"],
        skipResolve=values["skip-resolve"],
        limits=Limits(**{each.limit: values[each.name] for each in OPTIONS if each.limit}),
    )
    if mode is Mode.CLIENT:
        checkRemoteID(tunnel)
    return tunnel


def _mode(values: Mapping[str, Any]) -> Mode:
    """
    The mode, which what has a meaning in one mode alone has to agree with.
    """
    if values["server"] == values["client"]:
        raise ConfigurationError(
            "`server`, `client`",
            "both were given" if values["server"] else "none was given",
            "give exactly one of them",
        )
    mode = Mode.SERVER if values["server"] else Mode.CLIENT
    for option in TUNNEL_OPTIONS:
        if option.mode not in (None, mode) and values[option.name] != option.default:
            raise ConfigurationError(
                f"`{option.name}`", f"means nothing with `{mode.value}`", "leave it out"
            )
    return mode


def _access(values: Mapping[str, Any]) -> SocketAccess:
    """
    Who may connect to the UNIX sockets, of which there has to be one then.
    """
    given = {key: values[f"socket-{key}"] for key in ("mode", "owner", "group")}
    if not any(isinstance(each, UNIXAddress) for each in values["local"]):
        for key, value in given.items():
            if value is not None:
                raise ConfigurationError(
                    f"`socket-{key}`",
                    "is for UNIX sockets that we make, and `local` has none",
                    "leave it out; for a socket of systemd, its unit has SocketMode=, SocketUser= "
                    "and SocketGroup=",
                )
    return SocketAccess(**given)


def _identity(key: str, parse: Callable[[str], _T], values: Mapping[str, Any]) -> _T | None:
    if values[key] is None:
        return None
    try:
        return parse(values[key])
    except ValueError as error:
        raise ConfigurationError(f"`{key}`", str(error)) from None


def _dialect(
    values: Mapping[str, Any],
    chatWords: Sequence[str],
    mode: Mode,
    localID: Identity | None,
    remoteID: Identity | Selector | None,
) -> IDialect:
    if values["chat"] is None and not chatWords:
        return registry.find(values["starttls"] or "none")
    if values["starttls"] is not None:
        raise ConfigurationError(
            "`starttls`, `chat`", "both were given", "say in one way how to upgrade to TLS"
        )
    peer = remoteID or identityOfRemote(values["remote"])
    options = ScriptOptions(
        side=mode.value,
        values=Values(
            t=(peer.domain.lstrip(".").encode() or None) if peer else None,
            u=localID.domain.encode() if localID else None,
        ),
        strict=values["chat-strict"],
        readFile=readFile if values["chat-files"] else None,
    )
    return chatDialect(lambda: makeScript(values["chat"], chatWords, options))


def _dialectOptions(words: Sequence[str], dialect: IDialect) -> frozenset[str]:
    for word in words:
        if word not in dialect.options:
            known = ", ".join(dialect.options) or "none"
            raise ConfigurationError(
                f"`dialect-option` {word}", f"{dialect.name} has no such option", f"it has: {known}"
            )
    return frozenset(words)
