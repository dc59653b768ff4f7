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

#: Seconds between two notices: what is closed meanwhile is counted, as whoever cuts connections
#: must not fill the log either.
NOTICE_SECONDS = 60.0

#: Sockets that may be held at the same time, and the part of all descriptors that they may be: who
#: cuts connections must not take all of them.
HELD_SOCKETS = 1000
HELD_PART = 8

_CLOSED = (
    "closed {what} whose data was cut on the network, {why}: the program at the other end takes "
    "what it has got for whole; where it only reads, and the protocol does not say itself where "
    "data ends, use a loopback address instead"
)


# Why those were closed that are told of together.
_LIMITS = "as their number and time are limited"


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
        # What was closed by a limit and is not told yet, and when it will be.
        self._untold = 0
        self._telling: Deadline | None = None
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
            self._closeUnder(next(iter(self._held)), f"as there may be {most} of them")
        held = _Held(self, sock, close)
        self._held[held] = None
        if seconds:
            why = f"as nothing moved for {seconds:g} s"
            held.deadline = self._deadlines.after(seconds, lambda: self._closeUnder(held, why))

    def _closeUnder(self, held: _Held, why: str) -> None:
        held.close()
        self._untold += 1
        if self._telling is None:
            self._tell(why)

    def _tell(self, why: str) -> None:
        """
        Say what was closed since the last time, if anything, and no more for a while.
        """
        count, self._untold = self._untold, 0
        self._tellNothing()
        if not count:
            return
        what = f"{count} UNIX sockets" if count > 1 else "a UNIX socket"
        sentence = _CLOSED.format(what=what, why=why)
        self._telling = self._deadlines.after(NOTICE_SECONDS, lambda: self._tell(_LIMITS))
        self._log.warn("{notice}", event="notice", tunnel=self.name or None, notice=sentence)

    def _tellNothing(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    def closed(self, held: _Held) -> None:
        """
        One of them is closed.
        """
        self._held.pop(held, None)

    def closeAll(self) -> None:
        """
        Close all of them now: the service has ended.
        """
        self._tell(_LIMITS)
        self._untold = len(self._held)
        for each in tuple(self._held):
            each.close()
        self._tell("as the tunnel stops")
        self._tellNothing()


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
