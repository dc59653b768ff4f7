"""
A socket that the reactor watches: the base of all that listens, dials, talks and lingers.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import TCPAddress, UNIXAddress, addressOf
from tlstunnel.errors import Closed


def noDescriptor() -> int:
    """
    What a socket that is given up is known by.
    """
    return -1


@implementer(IReadWriteDescriptor)
class Descriptor:
    """
    Remembers what it is watched for, since asking the reactor costs more.

    @ivar sock: the socket, non-blocking.
    @ivar fileno: tells its descriptor, or -1 once it is closed: the socket's own, as the reactor
        asks each time.
    """

    __slots__ = ("_local", "_reactor", "_reading", "_writing", "fileno", "sock")

    def __init__(self, reactor: Any, sock: socket.socket) -> None:
        self._reactor = reactor
        self.sock = sock
        self.fileno: Callable[[], int] = sock.fileno
        self._reading = False
        self._writing = False
        self._local: TCPAddress | UNIXAddress | None = None

    @property
    def local(self) -> TCPAddress | UNIXAddress:
        """
        Our end; looked up when it is first asked for.

        @raise Closed: if it is too late for that.
        """
        if self._local is None:
            try:
                self._local = addressOf(self.sock.getsockname())
            except OSError:
                raise Closed("the connection is closed") from None
        return self._local

    def startReading(self) -> None:
        """
        Call C{doRead} when there is something to read.
        """
        if not self._reading:
            self._reactor.addReader(self)
            self._reading = True

    def stopReading(self) -> None:
        """
        Do not call C{doRead} any more.
        """
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    def startWriting(self) -> None:
        """
        Call C{doWrite} when there is room to write, or the socket is connected.
        """
        if not self._writing:
            self._reactor.addWriter(self)
            self._writing = True

    def stopWriting(self) -> None:
        """
        Do not call C{doWrite} any more.
        """
        if self._writing:
            self._writing = False
            self._reactor.removeWriter(self)

    def doRead(self) -> None:
        """
        There is something to read.
        """

    def doWrite(self) -> None:
        """
        There is room to write.
        """

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        self._reading = self._writing = False

    def logPrefix(self) -> str:
        """
        What the reactor calls us in its own messages.
        """
        return type(self).__name__
