"""
The fields of which messages of MySQL and MariaDB are made.
"""

from __future__ import annotations

import struct

from tlstunnel.errors import Malformed

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
