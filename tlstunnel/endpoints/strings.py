"""
Endpoint strings: C{tlstunnel:HOST:PORT} for clients, C{starttls:DIALECT:INNER} for servers.

The plugin in C{twisted.plugins} calls what is here.  What is wrong with a string is a
C{ValueError} with a sentence, as with those of Twisted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.endpoints import serverFromString

from tlstunnel.endpoints.client import TunnelClientEndpoint
from tlstunnel.endpoints.describing import clientTunnel, common, inKeys, serverTunnel
from tlstunnel.endpoints.server import TunnelServerEndpoint
from tlstunnel.errors import ConfigurationError, nearest
from tlstunnel.tunnel.description import Tunnel

CLIENT = "tlstunnel:HOST:PORT"
SERVER = "starttls:DIALECT:INNER"

_COMMON = tuple(inspect.signature(common).parameters)[1:]

#: The keys of each, the first two without a name as well.
CLIENT_KEYS = ("host", "port", "starttls", "remote", "local", "timeout", *_COMMON)
SERVER_KEYS = ("dialect", "inner", "local", "remote", *_COMMON)


def clientEndpoint(reactor: Any, /, *words: str, **given: str) -> TunnelClientEndpoint:
    """
    The endpoint of a client string.

    @raise ValueError: something is missing or wrong.
    """
    settings = _settings(CLIENT, CLIENT_KEYS, words, given)
    text = settings.pop("timeout", "")
    return TunnelClientEndpoint(
        reactor, _described(CLIENT, clientTunnel, settings), _seconds(text) if text else None
    )


def serverEndpoint(reactor: Any, /, *words: str, **given: str) -> TunnelServerEndpoint:
    """
    The endpoint of a server string.

    @raise ValueError: something is missing or wrong.
    """
    # To Twisted's parser an equals sign within the inner description ends the name of a key.
    begun = next((key for key in given if ":" in key), "")
    if begun and len(words) == 1:
        words = (*words, f"{begun}={given.pop(begun)}")
    settings = _settings(SERVER, SERVER_KEYS, words, given)
    inner, settings["starttls"] = settings.pop("inner"), settings.pop("dialect")
    tunnel = _described(SERVER, serverTunnel, settings)
    return TunnelServerEndpoint(reactor, serverFromString(reactor, inner), tunnel)


def _settings(
    form: str, keys: tuple[str, ...], words: tuple[str, ...], given: Mapping[str, str]
) -> dict[str, str]:
    """
    What the string gives, by its keys.
    """
    kind = form.partition(":")[0]
    if len(words) > 2:
        raise ValueError(
            f"{kind}: {words[2]!r} is one word too many: {form} is followed by key=value, "
            "and a colon within a value is written \\:"
        )
    settings = dict(zip(keys, words, strict=False))
    for key, value in given.items():
        if key not in keys:
            remedy = nearest(key, keys) or f"there are {', '.join(keys)}"
            raise ValueError(f"{kind}: there is no key {key}=; {remedy}")
        if key in settings:
            raise ValueError(f"{kind}: {key}= is given twice; leave one of them out")
        if not value:
            raise ValueError(f"{kind}: {key}= is empty; give a value, or leave it out")
        settings[key] = value
    for key in keys[:2]:
        if not settings.get(key):
            raise ValueError(f"{kind}: {key.upper()} is missing; write {form}")
    return settings


def _described(form: str, describe: Callable[..., Tunnel], settings: dict[str, str]) -> Tunnel:
    try:
        return describe(**settings)
    except ConfigurationError as problem:
        raise ValueError(f"{form.partition(':')[0]}: {inKeys(problem)}") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise ValueError(
            f"tlstunnel: timeout={text} is no time; give seconds, more than 0 and less than a day"
        )
    return seconds
