"""
What a bridge must be like, and by which keys its two sides are known.

Its accepted side is described as a server tunnel, and its connected side as a client tunnel, so
that whatever is known of those holds here as well.  Where both have a setting of the same name, one
of them has another one in a bridge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from tlstunnel.errors import ConfigurationError, inWords
from tlstunnel.interfaces import IDialect
from tlstunnel.tunnel.description import DANE, Mode, Tunnel
from tlstunnel.tunnel.expected import checkRemoteID

#: What settings of the accepted side are called, by what they are in server mode.
OF_ACCEPTED = {
    "starttls": "starttls-in",
    "remote-id": "client-id",
    "remote-id-file": "client-id-file",
    "trust": "client-trust",
    "pin": "client-pin",
    "minimum-tls": "client-minimum-tls",
    "resumption": "client-resumption",
}

#: What those of the connected side are called, by what they are in client mode.
OF_CONNECTED = {"starttls": "starttls-out", "local-id": "remote-as"}


def keysOf(mode: Mode) -> Mapping[str, str]:
    """
    What settings are called where clients are accepted, if they have other names there.
    """
    return OF_ACCEPTED if mode is Mode.BRIDGE else {}


def ofSide(text: str, keys: Mapping[str, str]) -> str:
    """
    A text about one side that mentions settings by the keys that a bridge has.
    """
    return inWords(text, lambda key: f"`{keys.get(key, key)}`")


def errorOf(error: ConfigurationError, keys: Mapping[str, str]) -> ConfigurationError:
    """
    The same of an error.
    """
    texts = error.subject, error.problem, error.remedy
    return ConfigurationError(*(ofSide(each, keys) for each in texts))


@contextmanager
def about(keys: Mapping[str, str]) -> Iterator[None]:
    """
    A block that is about one side, and whose errors mention the keys of a bridge.
    """
    try:
        yield
    except ConfigurationError as error:
        raise errorOf(error, keys) from None


def checkBridge(tunnel: Tunnel) -> None:
    """
    See that both sides speak the same protocol, and one that has no part but this connection.

    @raise ConfigurationError: they do not.
    """
    onward = tunnel.onward
    if tunnel.mode is not Mode.BRIDGE or onward is None:
        return
    told = tunnel.disclosure
    meaningless = {
        "reveal": told.words,
        "proxy-out": told.proxyOut,
        "negotiate-only": tunnel.negotiatesOnly or onward.negotiatesOnly,
    }
    for key, given in meaningless.items():
        if given:
            raise ConfigurationError(f"`{key}`", "means nothing with `bridge`", "leave it out")
    ways = {"starttls-in": tunnel.dialect, "starttls-out": onward.dialect}
    for key, dialect in ways.items():
        _checkDialect(key, dialect)
    talking = [each.name for each in ways.values() if each.talks]
    if len(set(talking)) > 1:
        raise ConfigurationError(
            f"`starttls-in` {talking[0]}",
            f"is another protocol than `starttls-out` {talking[1]}, and nothing is translated",
            "give the same, or leave out the one of the side that begins with TLS",
        )
    if not talking and tunnel.alpn and DANE in onward.trust:
        raise ConfigurationError(
            "`alpn`",
            f"is what the client chooses, and with `trust` {DANE} it cannot be passed on",
            "leave it out",
        )
    for addresses in dict.fromkeys(each.remote for each in tunnel.names if each.remote):
        checkRemoteID(replace(onward, remote=addresses))


def _checkDialect(key: str, dialect: IDialect) -> None:
    """
    What else belongs to a connection would need TLS on both sides, too.
    """
    if dialect.opensChannels:
        problem = "has data connections, which are not passed between two sides with TLS"
    elif dialect.earlyDial:
        problem = (
            "shows clients what a server says before TLS, and here nothing is connected to before "
            "a client has come to TLS"
        )
    else:
        return
    raise ConfigurationError(
        f"`{key}` {dialect.name}",
        problem,
        "use two tunnels, one with `server`, and behind it one with `client`",
    )
