"""
The messages of TLS, as who looks for a fault wants to see them: which came when, which way, how
large, and what an alert says.  Nothing of their content is looked at but that.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import NamedTuple

from OpenSSL import SSL

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.tls import binding
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.failures import ALERTS
from tlstunnel.tls.session import Session

# The types of content of records (RFC 8446, section 5.1).
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE = 20, 21, 22

# The messages of a handshake, by their numbers (RFC 8446, section 4; IANA's registry).
_MESSAGES = {
    0: "hello_request",
    1: "client_hello",
    2: "server_hello",
    4: "new_session_ticket",
    5: "end_of_early_data",
    8: "encrypted_extensions",
    11: "certificate",
    12: "server_key_exchange",
    13: "certificate_request",
    14: "server_hello_done",
    15: "certificate_verify",
    16: "client_key_exchange",
    20: "finished",
    22: "certificate_status",
    24: "key_update",
    25: "compressed_certificate",
}

# What a ServerHello has for a random number that asks for another ClientHello (RFC 8446, section
# 4.1.3), behind its head and its version.
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
_RETRY_AT = 6

_LEVELS = {1: "warning", 2: "fatal"}

#: The most bytes of a message that are looked at.
LOOKED_AT = _RETRY_AT + len(_RETRY)


class Message(NamedTuple):
    """
    One message.

    @ivar isOurs: whether we sent it.
    @ivar kind: C{handshake}, C{alert}, or C{change_cipher_spec}.
    @ivar name: which of these.
    @ivar size: its bytes; 0 where that is not known.
    """

    isOurs: bool
    kind: str
    name: str
    size: int


def alert(isOurs: bool, level: int, number: int) -> Message:
    """
    The alert of that number.
    """
    name = f"{_LEVELS.get(level, level)} {ALERTS.get(number, number)}"
    return Message(isOurs, "alert", name, 2)


def messageOf(isOurs: bool, content: int, start: bytes, size: int) -> Message | None:
    """
    What OpenSSL tells of a message.

    @param content: the type of the content.
    @param start: its first bytes, L{LOOKED_AT} at most.
    @return: nothing, if it is none: it tells of the heads of records in the same way.
    """
    if content == _ALERT and len(start) >= 2:
        return alert(isOurs, start[0], start[1])
    if content == _CHANGE_CIPHER_SPEC:
        return Message(isOurs, "change_cipher_spec", "", size)
    if content != _HANDSHAKE or not start:
        return None
    name = _MESSAGES.get(start[0], str(start[0]))
    if name == "server_hello" and start[_RETRY_AT:] == _RETRY:
        name = "hello_retry_request"
    return Message(isOurs, "handshake", name, size)


def _heard(connection: SSL.Connection, told: Message | None) -> None:
    session = connection.get_app_data()
    if told is not None and isinstance(session, Session) and session.hear is not None:
        session.hear(told)


def _content(connection: SSL.Connection, isOurs: bool, kind: int, start: bytes, size: int) -> None:
    _heard(connection, messageOf(isOurs, kind, start, size))


def _state(connection: SSL.Connection, where: int, result: int) -> None:
    """
    What there is to be heard where OpenSSL cannot be asked for its messages: its states.
    """
    isOurs = bool(where & SSL.SSL_CB_WRITE)
    if where & SSL.SSL_CB_ALERT:
        _heard(connection, alert(isOurs, result >> 8, result & 0xFF))
    elif where & SSL.SSL_CB_LOOP:
        name = connection.get_state_string().decode("ascii", "replace")
        _heard(connection, Message("write" in name, "handshake", name, 0))


class Overheard(Creator):
    """
    Makes what another one makes, and tells of each message.
    """

    def __init__(self, creator: Creator, hear: Callable[[Message], None]) -> None:
        self._creator = creator
        self._hear = hear
        self.isClient = creator.isClient
        self.asksForCertificates = creator.asksForCertificates
        self.context = creator.context
        if not binding.setMessages(self.context, _content, LOOKED_AT):
            self.context.set_info_callback(_state)

    def session(self, peer: TCPAddress | UNIXAddress | None = None) -> Session:
        """
        The blank record of one more connection.
        """
        session = self._creator.session(peer)
        session.hear = self._hear
        return session

    def connection(self, sock: socket.socket | None, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.
        """
        return self._creator.connection(sock, session)

    def keep(self, connection: SSL.Connection, session: Session) -> None:
        """
        See L{Creator.keep}.
        """
        self._creator.keep(connection, session)

    def beside(self, connection: SSL.Connection, session: Session) -> Creator:
        """
        See L{Creator.beside}: who makes those tells of them elsewhere, if at all.
        """
        return self._creator.beside(connection, session)

    def under(self, domain: str) -> Creator:
        """
        See L{Creator.under}.
        """
        return Overheard(self._creator.under(domain), self._hear)
