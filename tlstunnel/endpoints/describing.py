"""
What an endpoint is told in words, as the description of a tunnel.

Keys are those of endpoint strings, and the arguments of the functions here.  What is wrong is a
L{ConfigurationError} that mentions settings by the keys of a configuration file; L{inKeys} says it
in ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlstunnel.address import TCPAddress, parseAddress
from tlstunnel.endpoints.connections import checkDialect
from tlstunnel.errors import ConfigurationError, inWords
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pins import parsePin
from tlstunnel.identity.pool import Pool, defaultPool
from tlstunnel.interfaces import IDialect
from tlstunnel.protocols.options import checkOptions
from tlstunnel.protocols.registry import find
from tlstunnel.tls.faces import VERSIONS
from tlstunnel.tunnel.description import Mode, Tunnel, checkRisk
from tlstunnel.tunnel.expected import checkIdentities
from tlstunnel.tunnel.showing import AUTO, NOT_FOR_SERVERS

#: The keys that stand for another one of a configuration file.
KEYS = {
    "local-id": "local",
    "remote-id": "remote",
    "minimum-tls": "minimum",
    "dialect-option": "option",
}

#: The longest id of ALPN, in bytes (RFC 7301, section 3.1).
LONGEST_ID = 255


def inKeys(problem: ConfigurationError) -> str:
    """
    A problem, in one line, for whoever writes an endpoint string.
    """

    def mention(key: str) -> str:
        return f"{KEYS.get(key, key)}="

    subject, text = problem.subject, problem.problem
    if problem.key:
        value = subject.partition("` ")[2]
        subject = f"`{problem.key}`{value}"
        text = f"{subject}: {text}" if value else f"{subject} {text}"
    else:
        text = f"{subject}: {text}"
    return inWords(f"{text}; {problem.remedy}" if problem.remedy else text, mention)


def clientTunnel(
    host: str,
    port: int | str,
    starttls: str = "none",
    remote: str = "",
    local: str = "",
    **settings: str,
) -> Tunnel:
    """
    A tunnel to a server.

    @param host: a name or an address.
    @param remote: who must be there; by default C{host}.
    @param local: whose certificate we show, if that is asked for; by default nobody's, and with
        C{auto} that of whom the rules of the pool show.
    @param settings: those of L{common}.
    @raise ConfigurationError: something is missing or wrong.
    """
    dialect = find(starttls)
    address = _addressOf(host, port)
    if not remote and address.isLiteral:
        raise ConfigurationError(
            "`remote-id`",
            f"is missing, and {address} does not name the server",
            "give the name in the server's certificate",
        )
    tunnel = Tunnel(
        mode=Mode.CLIENT,
        local=(),
        remote=(address,),
        dialect=dialect,
        remoteID=_parsed("`remote-id`", Identity.parse, remote or address.domain),
        localID=_parsed("`local-id`", Identity.parse, local) if local not in ("", AUTO) else None,
        byRules=local == AUTO,
        quiet=True,
        **common(Mode.CLIENT, dialect, **settings),
    )
    checkIdentities(tunnel)
    return tunnel


def serverTunnel(starttls: str, local: str = "", remote: str = "", **settings: str) -> Tunnel:
    """
    A tunnel for clients.

    @param local: who we are; several, with commas between them, are chosen among by SNI.
    @param remote: the selector of those who may come, and have to prove who they are; by default
        anybody may, and nobody is asked.
    @param settings: those of L{common}.
    @raise ConfigurationError: something is missing or wrong.
    """
    dialect = find(starttls)
    if local == AUTO:
        raise ConfigurationError(f"`local-id` {AUTO}", *NOT_FOR_SERVERS)
    ours = [_parsed("`local-id`", Identity.parse, each) for each in local.split(",") if each]
    tunnel = Tunnel(
        mode=Mode.SERVER,
        local=(),
        remote=(),
        dialect=dialect,
        localID=ours[0] if ours else None,
        otherIDs=tuple(ours[1:]),
        remoteID=_parsed("`remote-id`", Selector.parse, remote) if remote else None,
        **common(Mode.SERVER, dialect, **settings),
    )
    if not ours:
        raise ConfigurationError("`local-id`", "is missing", "say who the server is")
    checkRisk(tunnel)
    return tunnel


def common(
    mode: Mode,
    dialect: IDialect,
    pool: str = "",
    trust: str = "",
    alpn: str = "",
    minimum: str = "1.2",
    pin: str = "",
    option: str = "",
) -> dict[str, Any]:
    """
    What both sides may be told.

    @param pool: where identities and trust are kept; by default where C{tlstunnel} keeps them.
    @param trust: whose word counts instead of the pool's: a path, C{system} or C{pins}.
    @param alpn: the ids to offer or to select from, with commas between them.
    @param minimum: the lowest version of TLS.
    @param pin: the keys that the peer may have, likewise.
    @param option: those of the dialect, likewise.
    @return: the same for L{Tunnel}.
    @raise ConfigurationError: something is wrong.
    """
    if minimum not in VERSIONS:
        raise ConfigurationError(
            f"`minimum-tls` {minimum}", "is no version that we speak", "give 1.2 or 1.3"
        )
    place = Pool(Path(pool)) if pool else defaultPool()
    settings: dict[str, Any] = {
        "pool": place,
        "trust": (trust,) if trust else (),
        "minimum": minimum,
        "pins": tuple(_parsed("`pin`", parsePin, each) for each in pin.split(",") if each),
        "options": checkOptions([each for each in option.split(",") if each], dialect, mode.value),
    }
    if alpn:
        settings["alpn"] = _parsed("`alpn`", _ids, alpn)
    checkDialect(Tunnel(Mode.SERVER, (), (), dialect))
    return settings


def _addressOf(host: str, port: int | str) -> TCPAddress:
    if not host:
        raise ConfigurationError("the host", "is missing", "say where to connect to")
    written = f"[{host}]" if ":" in host else host
    address = _parsed(f"{host} port {port}", parseAddress, f"{written}:{port}")
    if not isinstance(address, TCPAddress):
        raise ConfigurationError(f"{host}", "is no host", "give a name or an address")
    return address


def _ids(text: str) -> tuple[bytes, ...]:
    ids = tuple(each.encode() for each in text.split(",") if each)
    if not ids or any(len(each) > LONGEST_ID for each in ids):
        raise ValueError(f"an id has 1 to {LONGEST_ID} bytes; put commas between several")
    return ids


def _parsed(subject: str, parse: Any, text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigurationError.of(
            f"{subject} {text}" if "`" in subject else subject, error
        ) from None
