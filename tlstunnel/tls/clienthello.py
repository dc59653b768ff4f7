"""
The name that a client asks for, read from the first bytes that it sends: before OpenSSL sees them.

Only what leads to the name is looked at; whether the rest makes sense is for OpenSSL to say.
"""

from __future__ import annotations

#: The most bytes of records that are looked at.  A hello has a few hundred, a few thousand with
#: large key shares.
MOST_HELLO_BYTES = 65536

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_HOST_NAME = 0

_RECORD_HEADER_BYTES = 5
_LONGEST_RECORD = 16384
_VERSION_AND_RANDOM_BYTES = 34


class Incomplete(Exception):
    """
    More bytes are needed.
    """


class NoHello(Exception):
    """
    This is not how TLS begins.
    """


class _Reader:
    """
    Reads what is counted by a number before it.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """
        The next C{count} bytes.

        @raise NoHello: if there are not so many.
        """
        end = self._at + count
        if end > len(self._data):
            raise NoHello
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        """
        A number of C{size} bytes.
        """
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """
        What is counted by a number of C{size} bytes.
        """
        return self.take(self.number(size))


def serverName(data: bytes) -> bytes:
    """
    The name in the ClientHello (RFC 6066) that C{data} begins with; empty for none.

    @raise Incomplete: the hello is not whole yet.
    @raise NoHello: it is none, and does not become one by more bytes.
    """
    return _nameIn(_message(data))


def _message(data: bytes) -> bytes:
    """
    Put together the first message of a handshake, from as many records as it is in.
    """
    message = b""
    at = 0
    while True:
        head = data[at : at + _RECORD_HEADER_BYTES]
        _checkRecord(head)
        if len(head) < _RECORD_HEADER_BYTES:
            raise Incomplete
        size = int.from_bytes(head[3:], "big")
        if not 0 < size <= _LONGEST_RECORD:
            raise NoHello
        at += _RECORD_HEADER_BYTES
        message += data[at : at + size]
        at += size
        if message and message[0] != _CLIENT_HELLO:
            raise NoHello
        if len(message) >= 4:
            end = 4 + int.from_bytes(message[1:4], "big")
            if end > MOST_HELLO_BYTES:
                raise NoHello
            if len(message) >= end:
                return message[4:end]


def _checkRecord(head: bytes) -> None:
    if head and head[0] != _HANDSHAKE:
        raise NoHello
    if head[1:2] not in (b"", b"\3"):
        raise NoHello


def _nameIn(hello: bytes) -> bytes:
    reader = _Reader(hello)
    reader.take(_VERSION_AND_RANDOM_BYTES)
    reader.vector(1)  # the session's id
    reader.vector(2)  # suites
    reader.vector(1)  # ways to compress
    if not reader:
        return b""
    extensions = _Reader(reader.vector(2))
    while extensions:
        kind, value = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            return _hostName(value)
    return b""


def _hostName(extension: bytes) -> bytes:
    names = _Reader(_Reader(extension).vector(2))
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            return name
    return b""
