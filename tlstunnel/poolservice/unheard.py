"""
Closing the sockets of programs that are not heard at all, as they have too much already.

What they have said by then may hold descriptors, and to close those can take as long as a program
likes (L{tlstunnel.local.closing}).  No quota limits how many such programs come.  If each got
a thread of its own, one user could take all the threads there may be, so that the next socket would
have to be closed in the thread of the reactor, which would wait with it.  So it is looked whether
there are descriptors; those sockets that have none are closed at once, and the others of one user
wait for each other.
"""

from __future__ import annotations

import socket
from collections import deque
from threading import Lock

from tlstunnel.net.unixsocket import aside
from tlstunnel.poolservice.descriptors import closeUnheard

#: Messages of one program that are looked at; who has said more waits with the others of its user.
LOOKS = 16

#: The most bytes that are looked at at once.
LOOK_BYTES = 65536

# Room for who has sent a message, and for nothing else: looking takes no descriptor.
_CREDENTIALS = socket.CMSG_SPACE(12)


class Unheard:
    """
    Those of one socket that listens.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        # What waits, by user; a thread closes one after the other of each.
        self._waiting: dict[int, deque[socket.socket]] = {}

    def close(self, sock: socket.socket, uid: int) -> None:
        """
        Close C{sock}, which a program of user C{uid} has connected.

        @param sock: non-blocking; known to nobody else.
        """
        if _isEmptied(sock):
            sock.close()
            return
        with self._lock:
            waiting = self._waiting.get(uid)
            if waiting is not None:
                waiting.append(sock)
                return
            self._waiting[uid] = deque([sock])
        aside(lambda: self._closeAll(uid))

    def _closeAll(self, uid: int) -> None:
        while True:
            with self._lock:
                waiting = self._waiting[uid]
                if not waiting:
                    del self._waiting[uid]
                    return
                sock = waiting.popleft()
            closeUnheard(sock)


def _isEmptied(sock: socket.socket) -> bool:
    """
    Drop what came to C{sock}, as long as no descriptor comes along.

    @return: whether nothing is left in it, and nothing can come any more.
    """
    try:
        sock.shutdown(socket.SHUT_RDWR)
        # An empty message is no end: who has sent it comes along.  A stream has none.
        isStream = sock.type == socket.SOCK_STREAM
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        for _ in range(LOOKS):
            data, along, flags, _ = sock.recvmsg(LOOK_BYTES, _CREDENTIALS, socket.MSG_PEEK)
            if flags & socket.MSG_CTRUNC:
                return False
            if not data and (isStream or not along):
                return True
            sock.recv(len(data) or 1)
    except OSError:
        pass
    return False
