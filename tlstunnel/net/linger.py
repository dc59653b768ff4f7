"""
Closing a socket whose peer may still be talking.

The kernel resets a connection that is closed with unread bytes, or that gets more of them later,
and the reset overtakes what the peer is to hear last: an alert, a reply, the end of a long answer.
So the socket stays open for a moment, in which all that arrives is read and dropped.  This module
knows sockets and the reactor, and nothing of who closes them.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

#: Seconds that a peer has to hear our last words and to close.
PATIENCE = 1.0

#: Sockets that may linger at the same time: a flood of hopeless connections must not hold them all.
MOST = 1000

#: Reads in one turn of the reactor.
_READS = 16

_waste = memoryview(bytearray(65536))

_lingering: set[Lingering] = set()


def discard(sock: socket.socket) -> bool | None:
    """
    Read what has arrived, and drop it.

    @return: C{True} once the peer has ended, C{None} if there was nothing, C{False} if there was
        something and may be more.
    """
    result: bool | None = None
    try:
        for _ in range(_READS):
            if not sock.recv_into(_waste):
                return True
            result = False
    except BlockingIOError:
        return result
    except OSError:
        return True
    return result


def closeGently(reactor: Any, sock: socket.socket) -> None:
    """
    Close C{sock} when its peer does, or a moment later.
    """
    if discard(sock) or len(_lingering) >= MOST:
        sock.close()
        return
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        sock.close()
        return
    Lingering(reactor, sock)


@implementer(IReadDescriptor)
class Lingering:
    """
    One such socket.
    """

    def __init__(self, reactor: Any, sock: socket.socket) -> None:
        self._reactor = reactor
        self._sock = sock
        self._call = reactor.callLater(PATIENCE, self.close)
        _lingering.add(self)
        reactor.addReader(self)

    def doRead(self) -> None:
        """
        More that nobody wants, or the end.
        """
        if discard(self._sock):
            self.close()

    def close(self) -> None:
        """
        Wait no longer.
        """
        self._reactor.removeReader(self)
        self.connectionLost()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        if self._call.active():
            self._call.cancel()
        _lingering.discard(self)
        self._sock.close()

    def fileno(self) -> int:
        """
        The socket's descriptor.
        """
        return self._sock.fileno()

    def logPrefix(self) -> str:
        """
        What the reactor calls us in its own messages.
        """
        return "linger"


def closeAll() -> None:
    """
    Close all of them now: the process is about to end.
    """
    for each in tuple(_lingering):
        each.close()
