"""
Closing a socket whose peer may still be talking.

The kernel resets a connection that is closed with unread bytes, or that gets more of them later,
and the reset overtakes what the peer is to hear last: an alert, a reply, the end of a long answer.
So the socket stays open for a moment, in which all that arrives is read and dropped.  This module
knows sockets and the reactor, and nothing of who closes them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.python.failure import Failure

from tlstunnel.net.descriptor import Descriptor

#: Seconds that a peer has to hear our last words and to close.
LINGER_SECONDS = 1.0

#: Sockets that may linger at the same time: a flood of hopeless connections must not hold them all.
LINGERING_SOCKETS = 1000

#: Times that one socket is read in one turn of the reactor.
READS_PER_TURN = 16

#: The most bytes of one such read.
READ_BYTES = 65536

_waste = memoryview(bytearray(READ_BYTES))


def discard(sock: socket.socket) -> bool | None:
    """
    Read what has arrived, as far as one turn of the reactor allows, and drop it.

    @return: C{True} once the peer has ended, C{None} if there was nothing, C{False} if there was
        something and may be more.
    """
    result: bool | None = None
    try:
        for _ in range(READS_PER_TURN):
            if not sock.recv_into(_waste, READ_BYTES, socket.MSG_DONTWAIT):
                return True
            result = False
    except BlockingIOError:
        return result
    except OSError:
        return True
    return result


class Linger:
    """
    The sockets of one service that are about to be closed.
    """

    def __init__(
        self, reactor: Any, seconds: float = LINGER_SECONDS, sockets: int = LINGERING_SOCKETS
    ) -> None:
        """
        @param seconds: how long one may stay open.
        @param sockets: how many may do so at the same time; more are closed at once.
        """
        self.reactor = reactor
        self.seconds = seconds
        self._sockets = sockets
        self._lingering: set[_Lingering] = set()

    def __len__(self) -> int:
        """
        How many there are.
        """
        return len(self._lingering)

    def closeGently(self, sock: socket.socket, close: Callable[[], object] | None = None) -> None:
        """
        Close C{sock} when its peer does, or a moment later; our direction ends now.

        @param sock: non-blocking; known to nobody else any more.
        @param close: closes it, where that takes more than to close it.
        """
        if close is None:
            close = sock.close
        if discard(sock) or len(self._lingering) >= self._sockets:
            close()
            return
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            close()
            return
        self._lingering.add(_Lingering(self, sock, close))

    def closed(self, lingering: _Lingering) -> None:
        """
        One of them is closed.
        """
        self._lingering.discard(lingering)

    def closeAll(self) -> None:
        """
        Close all of them now: the service has ended.
        """
        for each in tuple(self._lingering):
            each.close()


class _Lingering(Descriptor):
    """
    One such socket.
    """

    __slots__ = ("_call", "_close", "_linger")

    def __init__(self, linger: Linger, sock: socket.socket, close: Callable[[], object]) -> None:
        super().__init__(linger.reactor, sock)
        self._linger = linger
        self._close = close
        self._call = linger.reactor.callLater(linger.seconds, self.close)
        # Where the system has no room for one more that is watched, it has its time all the same.
        with suppress(OSError):
            self.startReading()

    def doRead(self) -> None:
        """
        More that nobody wants, or the end.
        """
        if discard(self.sock):
            self.close()

    def close(self) -> None:
        """
        Wait no longer.
        """
        self.stopReading()
        if self._call.active():
            self._call.cancel()
        self._linger.closed(self)
        self._close()

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        super().connectionLost(reason)
        self.close()
