"""
A UNIX socket at whose other end somebody may send descriptors of files, which nobody here wants.

Where what is read comes with descriptors, and there is no room for them, Linux closes them then and
there; so it does with those that are unread when the socket is closed.  That can block for as long
as their owner likes: a socket of TCP with SO_LINGER, a file in a file system that a program serves
(FUSE).  So they are taken, and closed in a thread, and whoever sends them is not read from any
more.  Linux 6.16 lets nobody send them who is told not to (SO_PASSRIGHTS).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Thread
from typing import Any

from tlstunnel.net.kernel import typeOf, unread

# As Python has no name for it (asm-generic/socket.h).
_SO_PASSRIGHTS = 83

# What comes as a descriptor: those that were sent, and that of whoever has sent something, which
# whoever has a copy of the socket can ask for (SO_PASSPIDFD; linux/socket.h).
_KINDS = {int(socket.SCM_RIGHTS), 4}

#: Room for all that can come along: who has sent it, his own descriptor, and as many others as
#: Linux takes (SCM_MAX_FD).
ROOM = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4) + socket.CMSG_SPACE(253 * 4)

# As plain numbers: an Enum costs each time that it is looked at.
_PEEK, _STREAM = int(socket.MSG_PEEK), int(socket.SOCK_STREAM)
_SOCKET = socket.SOL_SOCKET

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


def closeEach(descriptors: Iterable[int]) -> None:
    """
    Close descriptors of somebody else, without waiting where he does not insist.
    """
    for each in descriptors:
        # What was written to one is lost where that fails, and is not for us to find.
        try:
            sock = socket.socket(fileno=each)
        except OSError:
            with suppress(OSError):
                os.close(each)
            continue
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        with suppress(OSError):
            sock.close()


def descriptorsIn(along: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """
    The descriptors among what came along with bytes.
    """
    found: list[int] = []
    for level, kind, packed in along:
        if kind in _KINDS and level == _SOCKET:
            numbers = array("i")
            numbers.frombytes(packed[: len(packed) - len(packed) % numbers.itemsize])
            found += numbers
    return found


class UNIXSocket(socket.socket):
    """
    One of them, connected.
    """

    @classmethod
    def of(cls, sock: socket.socket, isFresh: bool = False) -> socket.socket:
        """
        The same socket as one of these, where C{sock} is not used any more; or C{sock} itself,
        where the system lets nobody send descriptors, and none can have come before.

        @param isFresh: whether nobody can have sent anything yet.
        """
        if isinstance(sock, cls):
            return sock
        try:
            sock.setsockopt(_SOCKET, _SO_PASSRIGHTS, 0)
            # In a stream descriptors come with bytes alone.
            if isFresh or (typeOf(sock) == _STREAM and not unread(sock)):
                return sock
        except OSError:
            # The system knows nothing of that.
            pass
        timeout = sock.gettimeout()
        found = cls(sock.family, sock.type, sock.proto, sock.detach())
        found.settimeout(timeout)
        return found

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """
        See C{socket.recv_into}.

        @raise OSError: besides, if descriptors came along.
        """
        if flags & _PEEK:
            return super().recv_into(buffer, nbytes, flags)
        view = memoryview(buffer)[: nbytes or None]
        count, along, _, _ = self.recvmsg_into([view], ROOM, flags)
        descriptors = descriptorsIn(along)
        if descriptors:
            aside(lambda: closeEach(descriptors))
            raise OSError(errno.EPROTO, "descriptors came along, which nobody wants")
        return count

    def close(self) -> None:
        """
        See C{socket.close}: what is unread is closed in a thread.
        """
        if self.fileno() < 0:
            return
        # Nothing more is to come behind what we see; a peer that only reads does not notice.
        with suppress(OSError):
            self.shutdown(socket.SHUT_RD)
        if self.type != socket.SOCK_STREAM or unread(self):
            rest = socket.socket(self.family, self.type, self.proto, self.detach())
            aside(rest.close)
        else:
            super().close()
