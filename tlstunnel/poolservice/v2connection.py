"""
A control connection of the TLS Pool's protocol V2: frames and descriptors in, frames out.

It knows a socket and where frames begin, and nothing of what they say.  A frame may arrive in any
pieces; a descriptor belongs to the frame whose bytes it came with.  Each frame leaves in one piece,
as the library of the TLS Pool takes for a frame whatever one C{recvmsg} gives it.

What must never happen:

    - A descriptor stays open that nobody has taken.
    - A read goes beyond the end of a frame: Linux does not tell with which of its bytes a
      descriptor came.
    - A program that does not read makes us keep more than what it has asked for already: while it
      does not read, it is not read from.
    - Closing what nobody wants takes more than one thread at a time, or goes on when the connection
      counts for nobody any more.
    - C{lost} is called within C{send}: whoever sends is in the middle of something.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.python.failure import Failure

from tlstunnel.local.closing import Closings, drop
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.unixsocket import aside
from tlstunnel.net.wire import RETRIED
from tlstunnel.poolservice.descriptors import receive
from tlstunnel.poolservice.v2frames import FRAME_BYTES, Frame

#: Frames that are read in one turn of the reactor.
FRAMES_PER_TURN = 16

#: Frames that wait until the program reads; it would have to ask in a stranger way than any does
#: for more.
MOST_WAITING_FRAMES = 1024


class Enclosed:
    """
    The descriptors that came with one frame: one at most is kept, the number of all is known.

    @ivar count: how many there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[int] = []

    def add(self, descriptors: list[int], isCut: bool) -> list[int]:
        """
        Some more have arrived.

        @param isCut: whether the system had to drop some, as we have no room for them.
        @return: those that are to be closed.
        """
        self.count += len(descriptors) + isCut
        self._kept += descriptors
        return [] if self.count == 1 else self.rest()

    def take(self) -> int | None:
        """
        The descriptor, if there was just one; it is the caller's from now on.
        """
        return self._kept.pop() if self._kept else None

    def rest(self) -> list[int]:
        """
        What nobody has taken; it is the caller's from now on.
        """
        left, self._kept = self._kept, []
        return left


class V2Connection(Descriptor):
    """
    One of them.

    @ivar isOpen: whether it is not over yet.
    """

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        received: Callable[[Frame, Enclosed], object],
        lost: Callable[[], object],
        closings: Closings,
    ) -> None:
        """
        @param sock: non-blocking; ours from now on.
        @param received: called with each frame; what it does not take of the descriptors that came
            with it is closed when it returns.
        @param lost: called once, when the connection is over, unless we have closed it.
        @param closings: what is being closed for its user.
        """
        super().__init__(reactor, sock)
        self._received = received
        self._lost = lost
        self._closings = closings
        self._partial = b""
        self._enclosed = Enclosed()
        self._waiting: deque[bytes] = deque()
        self._isLast = False
        self._isLost = False
        self._dropping = 0
        self.isOpen = True

    def send(self, frame: Frame) -> None:
        """
        Send it, now or when the program takes it; nothing happens once the connection is over.
        """
        if not self.isOpen:
            return
        self._waiting.append(frame.pack())
        if len(self._waiting) > MOST_WAITING_FRAMES:
            self._giveUp()
        else:
            self._flush()

    def end(self) -> None:
        """
        Close, once all that was sent is taken.
        """
        self._isLast = True
        if self.isOpen:
            self._flush()

    def close(self) -> None:
        """
        Close now.
        """
        self._close(isDry=False)

    def _close(self, isDry: bool) -> None:
        """
        Close, if it is open.

        @param isDry: whether nothing is unread, with which descriptors could have come.
        """
        if not self.isOpen:
            return
        self.isOpen = False
        self.stopReading()
        self.stopWriting()
        self.drop(self._enclosed.rest())
        self._waiting.clear()
        if isDry:
            self.sock.close()
        else:
            self._dropping += 1
            aside(self._closeSocket)

    def _closeSocket(self) -> None:
        """
        Close it, and what is unread in it, in a thread.
        """
        self.sock.close()
        self._reactor.callFromThread(self._dropped)

    def drop(self, descriptors: list[int]) -> None:
        """
        Close C{descriptors}; as that may take as long as the program likes, nothing more is read
        from it before it is done.
        """
        if descriptors:
            count = len(descriptors)
            self._dropping += 1
            self._closings.begin(count)
            self.stopReading()

            def dropped() -> None:
                self._dropped()
                self._closings.end(count)

            drop(descriptors, self._reactor, dropped)

    def _dropped(self) -> None:
        self._dropping -= 1
        if self._dropping:
            return
        self._readOn()
        if not self.isOpen and self._isLost:
            self._lost()

    def _readOn(self) -> None:
        """
        Read, unless there is something that the program has to wait for.
        """
        if self.isOpen and not (self._dropping or self._waiting):
            self.startReading()

    def doRead(self) -> None:
        """
        There are frames, or parts of one.
        """
        for _ in range(FRAMES_PER_TURN):
            if not (self._reading and self._read()):
                return

    def _read(self) -> bool:
        """
        Read up to the end of a frame.

        @return: whether there may be more.
        """
        if self._closings.isMuch:
            self.stopReading()
            self._closings.wait(self._readOn)
            return False
        try:
            got = receive(self.sock, FRAME_BYTES - len(self._partial))
        except OSError as error:
            if error.errno not in RETRIED:
                self._end(isDry=True)
            return False
        if got.descriptors or got.isShort:
            self.drop(self._enclosed.add(got.descriptors, got.isShort))
        if not got.data:
            self._end(isDry=True)
            return False
        self._partial += got.data
        if len(self._partial) == FRAME_BYTES:
            frame, enclosed = Frame.unpack(self._partial), self._enclosed
            self._partial, self._enclosed = b"", Enclosed()
            try:
                self._received(frame, enclosed)
            finally:
                self.drop(enclosed.rest())
        return self.isOpen

    def doWrite(self) -> None:
        """
        The program takes more.
        """
        self._flush()

    def _flush(self) -> None:
        while self._waiting:
            try:
                taken = self.sock.send(self._waiting[0], socket.MSG_NOSIGNAL)
            except OSError as error:
                if error.errno in RETRIED:
                    self.stopReading()
                    self.startWriting()
                else:
                    self._giveUp()
                return
            if taken != FRAME_BYTES:
                # The rest would be a frame of its own for the library.
                self._giveUp()
                return
            self._waiting.popleft()
        self.stopWriting()
        if self._isLast:
            self._giveUp()
        else:
            self._readOn()

    def _giveUp(self) -> None:
        """
        Nothing more can be said: let the end come to us as the program's would.
        """
        self._waiting.clear()
        self.stopWriting()
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self._readOn()

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        super().connectionLost(reason)
        self._end()

    def _end(self, isDry: bool = False) -> None:
        if self.isOpen:
            self._close(isDry)
            self._isLost = True
            if not self._dropping:
                self._lost()
