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

import struct

from tlstunnel.errors import Malformed
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
LARGEST = 16384

# What clients can do that have attributes: then it is plain where these begin.
_CURRENT = PLUGIN_AUTH | SECURE_CONNECTION

# How many bytes a size has behind its first one.
_SIZES = {0xFC: 2, 0xFD: 3, 0xFE: 8}


class Fields:
    """
    The fields of a message, one after the other.

    @ivar at: where the next one begins.
    """

    def __init__(self, message: bytes, at: int = 0) -> None:
        self._message = message
        self.at = at

    def __bool__(self) -> bool:
        """
        Whether there are more.
        """
        return self.at < len(self._message)

    def take(self, count: int) -> bytes:
        """
        So many bytes.

        @raise Malformed: if there are less.
        """
        taken = self._message[self.at : self.at + count]
        if len(taken) < count:
            raise Malformed("a login that ends within a field")
        self.at += count
        return taken

    def string(self) -> bytes:
        """
        All up to a NUL.
        """
        end = self._message.find(b"\0", self.at)
        if end < 0:
            raise Malformed("a login that ends within a string")
        return self.take(end + 1 - self.at)[:-1]

    def counted(self) -> bytes:
        """
        What has its size before it.
        """
        size = self.take(1)[0]
        if size in _SIZES:
            size = int.from_bytes(self.take(_SIZES[size]), "little")
        elif size > 0xFA:
            raise Malformed("a login with a size that is none")
        return self.take(size)

    def short(self) -> bytes:
        """
        The same, whose size is a byte.
        """
        return self.take(self.take(1)[0])


def counted(value: bytes) -> bytes:
    """
    C{value} with its size before it.
    """
    size = len(value)
    return (bytes((size,)) if size < 0xFB else b"\xfc" + struct.pack("<H", size)) + value


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
