"""
Closing what comes from a program, which may have seen to it that closing takes its time.

To close a descriptor can block for as long as whoever made it likes: a socket of TCP with SO_LINGER
waits until its peer has taken what was sent, and a file may be in a file system that a program
serves (FUSE), which is asked at that.  The same happens where the system closes what nobody has
taken out of a message.  So what is not known to be harmless is closed in a thread of its own, and
counts as open until that is done, so that there are never more of them than connections.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any

from tlstunnel.net.kernel import hasGone

_NO_LINGER = struct.pack("ii", 0, 0)


def aside(close: Callable[[], object]) -> None:
    """
    Call C{close} in a thread.
    """
    # It must not keep the process from ending, and one that waits must not keep others.
    try:
        Thread(target=close, name="tlstunnel-close", daemon=True).start()
    except RuntimeError:
        # There can be no more threads.
        close()


def drop(
    descriptors: Iterable[int], reactor: Any = None, dropped: Callable[[], object] | None = None
) -> None:
    """
    Close what is none of ours.

    @param dropped: called in the thread of C{reactor} once all are closed.
    """

    def close() -> None:
        for each in several:
            try:
                os.close(each)
            except OSError:
                # What was written to it is lost, and is not for us to find.
                pass
        if dropped is not None:
            reactor.callFromThread(dropped)

    several = tuple(descriptors)
    if several or dropped is not None:
        aside(close)


def closeHanded(sock: socket.socket) -> None:
    """
    Close a connection that was handed over, of which the program may have a copy: so it is ended
    before, and what the program has set does not let us wait.
    """
    try:
        # It is off already, if the program has not set it since.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It has ended already.
        pass
    if hasGone(sock):
        sock.close()
    else:
        aside(sock.close)
