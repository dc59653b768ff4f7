"""
Clear text on a UNIX socket whose peer must be able to tell a cut from an end.

How it works
============

Over TCP whoever is at the other end sees a reset where data was cut.  A UNIX socket has one way to
show that: Linux gives the peer ECONNRESET when we close while something that it has said lies
unread in our queue (unix(7) does not say so, C{unix_release_sock} in C{net/unix/af_unix.c} does).
SO_LINGER means nothing there, and only the peer can put something into that queue.

So L{Kept} passes on all that the peer says, and leaves the last byte of it in the queue.  From then
on closing is a reset, however it comes about, also if this process is killed; who wants to close in
an orderly way reads the byte first.  Two things follow:

    - Such a socket is always ready to be read: who waits for news waits for an edge
      (L{tlstunnel.net.edges}).
    - The end of the peer's direction cannot be read, as the byte comes before it.  It shows by
      EPOLLRDHUP, and whether it was a reset by SO_ERROR.

What the byte costs the peer
============================

Linux keeps what was sent in pieces of up to 36 KiB (more, where pages are larger).  A piece counts
against the sender's buffer until its last byte is read, and a sender that waits for room is woken
only when no more than a quarter of its buffer is taken: a byte of a large piece, left in the queue,
would hold up a peer with a small buffer for ever.  So a byte is left only of what arrived as
C{MOST_KEPT_BYTES} or less, a piece for which a buffer of 20 KB has room enough; or, once
C{ROOMY_BYTES} lay in the queue at the same time, of anything, since then the peer's buffer has room
for four of the largest pieces.  Linux gives 208 KB to who does not say otherwise.

Where no byte could be left, the peer has to be kept from taking a cut for an end in another way
(L{tlstunnel.net.hold}).

What must never happen:

    - A byte is passed on twice, or is taken for read that was not passed on.
    - The socket is believed dry while something new is in it, of which no edge will tell.
"""

from __future__ import annotations

import socket
from mmap import PAGESIZE

from zope.interface import implementer

from tlstunnel.errors import Reset, TunnelError
from tlstunnel.net.kernel import unread
from tlstunnel.net.wire import (
    AT_ONCE,
    BUFFER,
    END,
    MOST_READ_BYTES,
    NOTHING,
    PEEKING,
    RETRIED,
    Clear,
    Event,
    IWire,
    describe,
)

#: What arrived in more bytes than this may be a piece that its sender cannot spare.
MOST_KEPT_BYTES = 4096

#: The most that a piece takes of its sender's buffer: a page, 32 KiB or another one, and what the
#: system notes of it (C{unix_stream_sendmsg}).
LARGEST_PIECE_BYTES = PAGESIZE + max(32768, PAGESIZE) + 1024

#: Of so many bytes in the queue at the same time, the sender's buffer holds all but the last piece.
ROOMY_BYTES = 5 * LARGEST_PIECE_BYTES


@implementer(IWire)
class Kept(Clear):
    """
    Leaves the last byte that was passed on in the queue, where the peer can spare it.

    @ivar isDry: whether the last look found all that there was, so that only news matter.
    @ivar isEnding: whether the system has said that nothing comes behind what is in the queue.
    @ivar hasEnded: whether our direction has ended.
    @ivar kept: how many bytes were left: 1 or 0.
    """

    __slots__ = ("_arrived", "_isRoomy", "hasEnded", "isDry", "isEnding", "kept")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        # An urgent byte stays where it was in the stream, as over TCP.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.isDry = True
        self.isEnding = False
        self.hasEnded = False
        self.kept = 0
        # Bytes since the queue was last dry: no piece among them is longer.
        self._arrived = 0
        self._isRoomy = False

    def read(self, size: int, isPeeking: bool) -> tuple[memoryview, Event | TunnelError | None]:
        """
        See L{IWire.read}.
        """
        old = self.kept
        there = unread(self._sock)
        if there <= old:
            return NOTHING, self._nothing()
        self.isDry = False
        most = min(there, size + old, MOST_READ_BYTES)
        try:
            if isPeeking:
                count = self._sock.recv_into(BUFFER, most, PEEKING)
                if old and count <= old:
                    # It hides the rest, as below.
                    self._sock.recv_into(BUFFER, old, AT_ONCE)
                    self.kept = 0
                    return self.read(size, isPeeking)
                return BUFFER[old:count], None
            self._arrived += most - old
            if there >= ROOMY_BYTES:
                self._isRoomy = True
            count = self._take(most, self._isRoomy or self._arrived <= MOST_KEPT_BYTES)
        except OSError as error:
            if error.errno in RETRIED:
                return NOTHING, self._nothing()
            return NOTHING, Reset(error.strerror or "")
        if count <= old:
            # A read ends behind a byte that came with descriptors of files, and before one that is
            # urgent (MSG_OOB); the rest is for the next look.
            return NOTHING, None if count else self._nothing()
        self.received += count - old
        if count == there:
            self._arrived = 0
            # The end behind it is for the next look.
            self.isDry = not self.isEnding
        return BUFFER[old:count], None

    def _take(self, most: int, isKept: bool) -> int:
        """
        Read C{most} bytes, the first of which may be the one that was left; or fewer.
        """
        sock = self._sock
        if not isKept:
            count = sock.recv_into(BUFFER, most, AT_ONCE)
            self.kept = 0
            return count
        count = sock.recv_into(BUFFER, most - 1, AT_ONCE) if most > 1 else 0
        try:
            self.kept = sock.recv_into(BUFFER[count:], 1, PEEKING)
        except BlockingIOError:
            # There are fewer than the system says.
            self.kept = 0
        return count + self.kept

    def _nothing(self) -> Event | TunnelError | None:
        """
        There is nothing new; if the peer's direction has ended, that is how.
        """
        self.isDry = True
        self._arrived = 0
        if not self.isEnding:
            return None
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return Reset(describe(code)) if code else END

    def end(self) -> bool:
        """
        See L{IWire.end}.
        """
        self.hasEnded = True
        return super().end()
