"""
The two messages of MySQL and MariaDB that have a user in them (Protocol::HandshakeResponse41 and
COM_CHANGE_USER)::

    login    caps(4) maxpacket(4) charset reserved(23) user 00 size password
             database 00 plugin 00 size attributes            as far as the capabilities say so
    change   11 user 00 size password database 00
             charset(2) plugin 00 size attributes             or less of these, from behind

Attributes are what a client tells of itself, in names and values with a size before each; servers
show them in C{performance_schema.session_connect_attrs}.  The identity becomes one of them, where a
client has any, as all do nowadays.

What is wrong with one is said without showing it: there is a password in it, or what proves that
somebody has one.
"""

from __future__ import annotations

from tlstunnel.errors import Malformed
from tlstunnel.protocols.mysqlfields import Fields, counted
from tlstunnel.protocols.mysqlpackets import (
    CONNECT_ATTRS,
    CONNECT_WITH_DB,
    LENENC_CLIENT_DATA,
    PLUGIN_AUTH,
    SECURE_CONNECTION,
)

#: The attribute that has the identity, and is nobody else's to give.
ATTRIBUTE = b"_tlstunnel_identity"

#: The most bytes of such a message.
LARGEST_BYTES = 16384

# What clients can do that have attributes: then it is plain where these begin.
_CURRENT = PLUGIN_AUTH | SECURE_CONNECTION


def readLogin(login: bytes, capabilities: int) -> tuple[bytes, int | None]:
    """
    @return: the user, and where the attributes begin, if there are any.
    @raise Malformed: if servers could differ about that.
    """
    fields = Fields(login, 32)
    user = fields.string()
    if not capabilities & CONNECT_ATTRS:
        return user, None
    if capabilities & _CURRENT != _CURRENT:
        raise Malformed("a login with attributes of a client that is too old for them")
    if capabilities & LENENC_CLIENT_DATA:
        fields.counted()
    else:
        fields.short()
    if capabilities & CONNECT_WITH_DB:
        fields.string()
    fields.string()
    return user, fields.at


def readChange(change: bytes, capabilities: int) -> tuple[bytes, int | None]:
    """
    The same of a COM_CHANGE_USER.
    """
    fields = Fields(change, 1)
    user = fields.string()
    if not capabilities & CONNECT_ATTRS:
        return user, None
    fields.short()
    fields.string()
    if fields:
        fields.take(2)
    if not fields:
        return user, None
    fields.string()
    return user, fields.at


def tell(message: bytes, at: int, identity: bytes) -> bytes:
    """
    A message with the identity among its attributes, the first of them, and no other of that name.

    @param at: where the attributes begin.
    @raise Malformed: if there is anything behind them, or in another form.
    """
    fields = Fields(message, at)
    pairs = Fields(fields.counted() if fields else b"")
    if fields:
        raise Malformed("a login with something behind its attributes")
    said = counted(ATTRIBUTE) + counted(identity)
    while pairs:
        name, value = pairs.counted(), pairs.counted()
        if name.strip().lower() != ATTRIBUTE:
            said += counted(name) + counted(value)
    return message[:at] + counted(said)
