"""
The plain leg that is a program.

It is a UNIX socket, of a pair, and all that L{tlstunnel.net.unixleg} says of those holds.  Two
things are different, since we know the process at its other end:

    - When the program has closed its end, its exit status decides how: one that ended by itself has
      said all that it wanted, also if it has not read all that it was told; one that was ended by a
      signal, or never was, has not, and then the leg fails.  The system closes the sockets of a
      process a moment before it tells how that ended, so the end is kept back until then.
    - Where a connection was cut, the program gets SIGHUP before its socket is closed.  Who does not
      take that signal is gone before it can see an end of file; who does is told by it.  One that
      has said something before gets a reset as well (L{tlstunnel.net.unixwire}), and the socket of
      one that has not is held (L{tlstunnel.net.hold}) until the program is gone.
"""

from __future__ import annotations

import socket
from typing import ClassVar

from tlstunnel.address import ExecAddress, UNIXAddress
from tlstunnel.errors import Reset, TunnelError
from tlstunnel.net.child import LEAVE_SECONDS, LET_GO_SECONDS, TERMINATE_SECONDS, Child
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.edges import GONE
from tlstunnel.net.unixleg import UNIXLeg, UNIXLegs
from tlstunnel.net.unixwire import Kept
from tlstunnel.net.wire import END, Event, PeerGone, describe

#: Seconds that a program has to end when it has closed its standard input and output.
EXIT_SECONDS = 1.0


class Judged(Kept):
    """
    Clear text from a program, whose end depends on how that ended.

    @ivar child: the program.
    @ivar isGone: whether it has closed its end.
    @ivar isOverdue: whether it has not ended since, so that nobody waits for that any more.
    """

    __slots__ = ("_end", "child", "isGone", "isOverdue")

    child: Child

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.isGone = False
        self.isOverdue = False
        self._end: Event | TunnelError | None = None

    def hungUp(self, code: int) -> Reset:
        """
        What it said before can be read, however much of what it was told lies unread.
        """
        return PeerGone(describe(code))

    def _nothing(self) -> Event | TunnelError | None:
        """
        There is nothing new: the program ended its direction, or is gone, or neither.
        """
        self._end = super()._nothing() or self._end
        if self._end is None or not self.isGone:
            return self._end
        if self.child.exit is None:
            return END if self.isOverdue else None
        return self.child.exit.failure or END


class ExecLeg(UNIXLeg):
    """
    A leg to a program.
    """

    __slots__ = ("_child", "_deadlines")

    _kind: ClassVar[type[Kept]] = Judged

    # By then it has been ended, if it can be.
    _longest: ClassVar[float] = LEAVE_SECONDS + TERMINATE_SECONDS + LET_GO_SECONDS

    _wire: Judged

    def __init__(
        self,
        legs: UNIXLegs,
        deadlines: Deadlines,
        sock: socket.socket,
        address: ExecAddress,
        child: Child,
    ) -> None:
        super().__init__(legs, sock, UNIXAddress(""), None)
        # Only whoever was accepted, or speaks TLS, has to have an address.
        self.peer = address  # type: ignore[assignment]
        self._child = self._wire.child = child
        self._deadlines = deadlines

    def changed(self, event: int) -> None:
        """
        See L{UNIXLeg.changed}; once the program is gone, look again when it is known how.
        """
        wire = self._wire
        if event & GONE and not wire.isGone:
            wire.isGone = True
            if self._child.exit is None:
                self._deadlines.after(EXIT_SECONDS, self._overdue)
                self._child.tell(self._judge)
        super().changed(event)

    def _overdue(self) -> None:
        self._wire.isOverdue = True
        self._judge()

    def _judge(self) -> None:
        """
        Look again.
        """
        if self._reading and not self.isClosed:
            self.changed(GONE)

    def _abort(self, isGood: bool) -> None:
        if not self.isClosed:
            self._child.hangUp()
        super()._abort(isGood)

    def _close(self, isAborted: bool = False, isGood: bool = True) -> None:
        super()._close(isAborted, isGood)
        self._child.leave()
