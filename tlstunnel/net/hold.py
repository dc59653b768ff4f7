"""
Sockets that are kept open, so that nobody takes for whole what was cut.

Where the peer of a UNIX socket has said nothing of which a byte could be left unread
(L{tlstunnel.net.unixwire}), closing looks like an end, and no end at all is better.  So the socket
stays open until its peer says something, which is left unread, so that closing resets it; or until
its peer closes.  As a peer may do neither, there is a limit to how many there are, and to how long
where the tunnel has one for silence.  What is closed by such a limit is told, since it is the end
that should not be seen.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.edges import GONE, Edges
from tlstunnel.net.kernel import descriptorLimit, unread

#: Sockets that may be held at the same time, and the part of all descriptors that they may be: who
#: cuts connections must not take all of them.
HELD_SOCKETS = 1000
HELD_PART = 8

_CLOSED = (
    "closed {what} whose data was cut on the network, {why}: the program at the other end takes "
    "what it has got for whole; where it only reads, and the protocol does not say itself where "
    "data ends, use a loopback address instead"
)


class Hold:
    """
    Such sockets of one service.

    @ivar name: what the log calls its tunnel, if it has a name.
    """

    _log = Logger()

    def __init__(
        self,
        edges: Edges,
        deadlines: Deadlines,
        sockets: int = HELD_SOCKETS,
    ) -> None:
        """
        @param sockets: how many there may be at the same time; for one more the oldest is closed.
            There are fewer where this process may have few descriptors.
        """
        self.edges = edges
        self._deadlines = deadlines
        self.name = ""
        self._sockets = sockets
        # The oldest first.
        self._held: dict[_Held, None] = {}

    def __len__(self) -> int:
        """
        How many there are.
        """
        return len(self._held)

    def hold(self, sock: socket.socket, close: Callable[[], object], seconds: float) -> None:
        """
        Keep C{sock} open.

        @param close: closes it, with whatever is unread in it.
        @param seconds: for how long at most; 0 for no limit.
        """
        most = max(1, min(self._sockets, descriptorLimit() // HELD_PART))
        if len(self._held) >= most:
            why = f"as {most} more of them are open"
            self._closeUnder(next(iter(self._held)), why)
        held = _Held(self, sock, close)
        self._held[held] = None
        if seconds:
            why = f"as nothing moved for {seconds:g} s"
            held.deadline = self._deadlines.after(seconds, lambda: self._closeUnder(held, why))

    def _closeUnder(self, held: _Held, why: str) -> None:
        held.close()
        self._notice("a UNIX socket", why)

    def _notice(self, what: str, why: str) -> None:
        sentence = _CLOSED.format(what=what, why=why)
        self._log.warn("{notice}", event="notice", tunnel=self.name or None, notice=sentence)

    def closed(self, held: _Held) -> None:
        """
        One of them is closed.
        """
        self._held.pop(held, None)

    def closeAll(self) -> None:
        """
        Close all of them now: the service has ended.
        """
        count = len(self._held)
        for each in tuple(self._held):
            each.close()
        if count:
            self._notice(f"{count} of the UNIX sockets", "as the tunnel stops")


class _Held:
    """
    One such socket.
    """

    __slots__ = ("_close", "_hold", "deadline", "sock")

    def __init__(self, hold: Hold, sock: socket.socket, close: Callable[[], object]) -> None:
        self.sock = sock
        self.deadline: Deadline | None = None
        self._hold = hold
        self._close = close
        hold.edges.watch(sock.fileno(), self)

    def changed(self, event: int) -> None:
        """
        The peer has said something, has ended its direction, or is gone.
        """
        if event & GONE or unread(self.sock):
            self.close()

    def close(self) -> None:
        """
        Hold it no longer.
        """
        self._hold.edges.forget(self.sock.fileno())
        self.connectionLost()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        Nobody tells us more.
        """
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        self._hold.closed(self)
        self._close()
