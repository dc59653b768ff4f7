"""
Closing what comes from a program, which may have seen to it that closing takes its time.

To close a descriptor can block for as long as whoever made it likes: a socket of TCP with SO_LINGER
waits until its peer has taken what was sent, and a file may be in a file system that a program
serves (FUSE), which is asked at that.  The same happens where the system closes what nobody has
taken out of a message.  So what is not known to be harmless is closed in a thread of its own, and
counts as open until that is done, so that there are never more of them than connections.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from tlstunnel.net.kernel import hasGone, reset, resetOnClose
from tlstunnel.net.unixsocket import aside, closeEach

#: Descriptors of one user that are being closed when nothing more is read from him.
MOST_CLOSING = 64

_NO_LINGER = struct.pack("ii", 0, 0)


class Closings:
    """
    What threads close for one user, on all his control connections.

    A message brings up to 253 descriptors, and the connections of one user could have thousands of
    them wait to be closed: then nobody else could have any.
    """

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[Callable[[], object]] = []

    @property
    def isMuch(self) -> bool:
        """Whether no more may come for now."""
        return self._count >= MOST_CLOSING

    def begin(self, count: int) -> None:
        """
        So many more descriptors are being closed.
        """
        self._count += count

    def end(self, count: int) -> None:
        """
        So many are closed.
        """
        self._count -= count
        if not self.isMuch:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each()

    def wait(self, goOn: Callable[[], object]) -> None:
        """
        Call C{goOn} once more may come.
        """
        self._waiting.append(goOn)


def drop(
    descriptors: Iterable[int], reactor: Any = None, dropped: Callable[[], object] | None = None
) -> None:
    """
    Close what is none of ours.

    @param dropped: called in the thread of C{reactor} once all are closed.
    """

    def close() -> None:
        closeEach(several)
        if dropped is not None:
            reactor.callFromThread(dropped)

    several = tuple(descriptors)
    if several or dropped is not None:
        aside(close)


def closeHanded(sock: socket.socket, isReset: bool = False) -> None:
    """
    Close a connection that was handed over, of which the program may have a copy: so it is ended
    before, and what the program has set does not let us wait.

    @param isReset: whether the peer is to see a reset.
    """
    if isReset and not reset(sock):
        # It sees none where there is a copy.
        resetOnClose(sock)
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It has ended already.
        pass
    if hasGone(sock):
        sock.close()
        return
    if not isReset:
        # It is off already, if the program has not set it since.
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    # The program may set it again before we are there.
    aside(sock.close)
