"""
The choice of a hint: the first row that fits a connection that failed.
"""

from __future__ import annotations

import re
from functools import cache

from tlstunnel.address import TCPAddress
from tlstunnel.errors import Forged, LimitReached, TooManyErrors, TunnelError
from tlstunnel.protocols.registry import STARTTLS_PORTS
from tlstunnel.tls.belonging import STRANGER
from tlstunnel.tls.failures import OWED
from tlstunnel.tunnel.bridge import OF_ACCEPTED, OF_CONNECTED
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.backends import BACKEND_HINTS
from tlstunnel.tunnel.hints.chats import CHAT_HINTS
from tlstunnel.tunnel.hints.connecting import CONNECTING_HINTS
from tlstunnel.tunnel.hints.dane import DANE_HINTS
from tlstunnel.tunnel.hints.dialects import DIALECT_HINTS
from tlstunnel.tunnel.hints.directories import DIRECTORY_HINTS
from tlstunnel.tunnel.hints.endings import ENDING_HINTS, FAULT_HINT, isFault
from tlstunnel.tunnel.hints.handed import HANDED_HINTS, inFields
from tlstunnel.tunnel.hints.handshake import HANDSHAKE_HINTS
from tlstunnel.tunnel.hints.hint import Hint
from tlstunnel.tunnel.hints.identities import IDENTITY_HINTS
from tlstunnel.tunnel.hints.keys import KEY_HINTS
from tlstunnel.tunnel.hints.languages import languageOf
from tlstunnel.tunnel.hints.programs import PROGRAM_HINTS
from tlstunnel.tunnel.hints.proxies import PROXY, hintOfProxy
from tlstunnel.tunnel.hints.revocation import REVOCATION_HINTS
from tlstunnel.tunnel.record import GREETING, HANDSHAKING, NEGOTIATING, POOL_SERVICE, Record

_OPTION = re.compile("--([a-z]+(?:-[a-z]+)*)")

# Who is not the one that the hints of a stage are about.
_OTHERS = {("the app", NEGOTIATING), ("the app", HANDSHAKING), ("the client", GREETING)}

# What has hints about whoever it was.
_OF_ANYBODY = (TooManyErrors, Forged, LimitReached)

# What a backend should speak where TLS is there from the first byte.
_OF_CLIENTS = "what the clients speak"
_OF_REVEAL = "the protocol of --reveal"

# The first row that fits counts, so that the more special ones stand first.
_HINTS = (
    *PROGRAM_HINTS,
    *CHAT_HINTS,
    *CONNECTING_HINTS,
    *DANE_HINTS,
    *DIRECTORY_HINTS,
    *DIALECT_HINTS,
    *KEY_HINTS,
    *IDENTITY_HINTS,
    *REVOCATION_HINTS,
    *HANDSHAKE_HINTS,
    *BACKEND_HINTS,
    *ENDING_HINTS,
)


@cache
def _hintsFor(kind: type[TunnelError], isHanded: bool) -> tuple[Hint, ...]:
    """
    The rows about errors of one class: most errors of a relay have none.

    @param isHanded: whether the connection is one that a program has handed over.
    """
    hints = (*HANDED_HINTS, *_HINTS) if isHanded else _HINTS
    return tuple(hint for hint in hints if issubclass(kind, hint.errors))


def _inBridge(text: str, isClient: bool) -> str:
    """
    A hint about one side of a bridge, with the options that this has there.
    """
    keys = OF_ACCEPTED if isClient else OF_CONNECTED
    text = text.replace("{upgrade}", "--starttls")
    return _OPTION.sub(lambda found: f"--{keys.get(found[1], found[1])}", text)


def _inWordsOf(record: Record, text: str, error: TunnelError) -> str:
    """
    A hint in the words by which that is set which it is about.
    """
    if record.mode is Mode.BRIDGE:
        return _inBridge(text, error.who == "the client")
    return inFields(text) if record.tunnel == POOL_SERVICE else text


def _whoOf(record: Record, error: TunnelError) -> str:
    """
    Who it was, as one of a tunnel.
    """
    if error.who != "the program":
        return error.who
    return "the app" if record.mode is Mode.CLIENT else "the backend"


def _causeOfWords(record: Record, speaks: str, port: int) -> str:
    """
    What the peer seems to speak, by its words or by its port; empty where nothing tells.
    """
    if speaks == "TLS":
        return "TLS"
    if speaks and record.dialect not in {"none", "chat", *speaks.split(" or ")}:
        return f"speaks {speaks}"
    return "clear port" if port in STARTTLS_PORTS else ""


def hintFor(record: Record) -> str:
    """
    What to do about the end of a connection.

    @param record: of one that is over.
    @return: the hint; empty where there is none.
    """
    error = record.error
    if error is None or (record.dialect.endswith("-data") and not error.cause.startswith(STRANGER)):
        # Of data connections the control connection decides nearly everything.
        return ""
    if isFault(error):
        return FAULT_HINT
    if error.cause.startswith(PROXY):
        return hintOfProxy(error.cause)
    isHanded = record.tunnel == POOL_SERVICE
    hints = _hintsFor(type(error), isHanded)  # type: ignore[arg-type]
    if not hints:
        return ""
    stage = record.reached
    who = _whoOf(record, error)
    if (who, stage) in _OTHERS and not isinstance(error, _OF_ANYBODY):
        return ""
    if (who, stage) == ("the backend", NEGOTIATING):
        # That of mysql greets before the client.
        stage = GREETING
    speaks = languageOf(error.said)
    server = record.peer if isHanded else record.backend
    port = server.port if isinstance(server, TCPAddress) else 0
    cause = error.cause
    if not cause and who == "the server" and record.owesCertificate and not record.toPlain:
        # In TLS 1.3 it judges a client behind the handshake, and some say nothing of it.
        cause = OWED
    elif not cause and stage is HANDSHAKING and (record.dialects[0], server) == ("nats", None):
        # No backend has said it, as TLS comes first.
        cause = "INFO awaited"
    cause = cause or _causeOfWords(record, speaks, port)
    for hint in hints:
        if hint.fits(record, stage, cause):
            text = hint.text.replace("the peer", error.who or "the peer")
            text = _inWordsOf(record, text, error)
            return text.format(
                dialect=_OF_CLIENTS if record.dialect == "none" else record.dialect,
                spoken=_OF_REVEAL if record.dialect == "none" else record.dialect,
                upgrade="--chat" if record.dialect == "chat" else "--starttls",
                port=port,
                usual=STARTTLS_PORTS.get(port, "NAME (see --list-protocols)"),
                speaks=speaks,
            )
    return ""
