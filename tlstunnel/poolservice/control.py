"""
One control connection: a UNIX socket of SOCK_SEQPACKET, on which a program asks, and is answered.

Messages come and go whole, with a descriptor if one belongs to them.  This module knows them and
the reactor, and nothing of what they are about.

How it works
============

One message is taken in one turn of the reactor, and the next only when that is answered: until
then what a program sends stays in the kernel, which makes it wait.  So answers come in the order of
the questions, a program that does not read its answers gets no more of them, and nobody's memory
grows.  While an answer takes its time (C{expect}), it is looked whether the program is still there:
as long as it has said nothing more, for then that lies before its end.

Time is limited: to take an answer always, and to ask until the owner says otherwise.

What must never happen:

    - A descriptor stays open that nobody has taken; or the reactor waits for one to be closed
      (L{tlstunnel.local.closing}).
    - A message is taken for whole that was cut.
    - C{closed} of the owner is called before everything is closed, or twice.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from typing import Any, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.errors import TunnelError
from tlstunnel.local.closing import Closings, drop
from tlstunnel.local.refusals import TooMany
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.unixsocket import aside
from tlstunnel.poolservice.descriptors import receive
from tlstunnel.poolservice.messages import MESSAGE_BYTES, Message, prose, read
from tlstunnel.poolservice.refusals import BadRequest

#: Seconds that a program has to ask for something, before it has handed anything over.
SILENT_SECONDS = 15.0

#: Seconds that it has to read an answer.
ANSWER_SECONDS = 15.0

#: Messages that are dropped before a socket is closed.
MOST_DROPPED = 1000

# Room for who has sent a message, and for nothing else that comes with it.
_CREDENTIALS = socket.CMSG_SPACE(12)


class Owner(Protocol):
    """
    Who answers.
    """

    def received(self, message: Message, descriptors: list[int]) -> None:
        """
        A message came.

        @param descriptors: what came along; what is still in there afterwards is closed.
        @raise TunnelError: that is the answer.
        """

    def refused(self, error: TunnelError) -> None:
        """
        A message had C{error} for an answer.
        """

    def gone(self) -> None:
        """
        Nothing more comes, and nothing that is sent arrives.
        """

    def closed(self) -> None:
        """
        All that belongs to this connection is closed; called once, after C{gone}.
        """


def errorMessage(error: TunnelError, hint: str = "") -> Message:
    """
    What a program is told of C{error}.

    @param hint: what can be done about it, if anything.
    """
    return Message("error", {"reason": error.reason, "detail": detailOf(error, hint)})


def detailOf(error: TunnelError, hint: str = "") -> str:
    """
    What there is to be said of C{error} besides its reason, as it may stand in a message.
    """
    text = str(error)
    detail = "" if text == error.reason else text.removeprefix(f"{error.reason}: ")
    return prose("; ".join(filter(None, (detail, hint))))


class Control(Descriptor):
    """
    One of them.

    @ivar isOpen: whether what is sent may arrive.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        sock: socket.socket,
        owner: Owner,
        closings: Closings,
    ) -> None:
        """
        @param sock: accepted and non-blocking; ours from now on.
        @param closings: what is being closed for its user.
        """
        super().__init__(reactor, sock)
        # An empty message is no end: who has sent it comes along.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._deadlines = deadlines
        self._owner = owner
        self._closings = closings
        self._tail: deque[tuple[bytes, socket.socket | None]] = deque()
        self._asking: Deadline | None = None
        self._answering: Deadline | None = None
        self._isLimited = self.isOpen = True
        self._isPaused = False
        # Descriptors, or the socket, that a thread is closing.
        self._dropping = 0

    def start(self) -> None:
        """
        Take what is asked, which most programs have done by now.
        """
        self.startReading()
        self.doRead()
        if self._asking is None:
            self._limitAsking()

    def expect(self, isPaused: bool, isLimited: bool) -> None:
        """
        Say what is to come.

        @param isPaused: take no more, as the answer to the last message takes its time.
        @param isLimited: the program has to ask for something within L{SILENT_SECONDS}.
        """
        self._isPaused, self._isLimited = isPaused, isLimited
        if isPaused:
            self._limitAsking()
        else:
            self._goOn()

    def _limitAsking(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        if self._isLimited and not self._isPaused and self.isOpen:
            self._asking = self._deadlines.after(SILENT_SECONDS, self.close)

    def _goOn(self) -> None:
        if self.isOpen and not (self._tail or self._dropping):
            self._limitAsking()
            self.startReading()

    # Receiving

    def doRead(self) -> None:
        """
        There is a message, or the end.
        """
        if self._isPaused or self._dropping:
            self._peek()
            return
        if self._closings.isMuch:
            self.stopReading()
            self._closings.wait(self._goOn)
            return
        try:
            try:
                got = receive(self.sock, MESSAGE_BYTES)
            except ConnectionResetError:
                # The program has closed, and not read all answers; this is said once, and what it
                # said before is still there.
                got = receive(self.sock, MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._lose()
            return
        if got.isEnd:
            self._lose(isDry=True)
            return
        descriptors = got.descriptors
        try:
            if got.isShort:
                raise TooMany("the pool has no descriptors left")
            if got.isCut:
                raise BadRequest(f"the message has more than {MESSAGE_BYTES} bytes")
            self._owner.received(read(got.data), descriptors)
        except TunnelError as error:
            self.send(errorMessage(error.bare()))
            self._owner.refused(error)
        except Exception:  # noqa: BLE001 - a bug of ours must not spread
            self._log.failure("a message to the pool service failed")
            self.send(errorMessage(TunnelError("see the log of the pool service")))
        finally:
            if descriptors:
                self.drop(descriptors)
        self._limitAsking()

    def _peek(self) -> None:
        """
        See whether the program is still there.
        """
        try:
            data, along, _, _ = self.sock.recvmsg(1, _CREDENTIALS, socket.MSG_PEEK)
        except (BlockingIOError, ConnectionResetError):
            return
        except OSError:
            self._lose()
            return
        if data or along:
            self.stopReading()
        else:
            self._lose(isDry=True)

    def drop(self, descriptors: list[int]) -> None:
        """
        Close what nobody has taken, and take no message until that is done.
        """
        count = len(descriptors)
        self._dropping += 1
        self._closings.begin(count)

        def dropped() -> None:
            self._dropped()
            self._closings.end(count)

        drop(descriptors, self._reactor, dropped)

    def _dropped(self) -> None:
        self._dropping -= 1
        if self.isOpen:
            self._goOn()
        elif not self._dropping:
            self._owner.closed()
            # What refers to each other in a circle would wait for the garbage collector.
            del self._owner

    # Sending

    def send(self, message: Message, sock: socket.socket | None = None) -> None:
        """
        Send C{message}; nothing happens where nobody would get it.

        @param sock: goes along; closed once it is sent, or will not be.
        @raise TooMany: there are too many sockets on their way to programs already.
        """
        if not self.isOpen:
            if sock is not None:
                sock.close()
            return
        self._tail.append((message.data, sock))
        if len(self._tail) == 1:
            self._flush()

    def doWrite(self) -> None:
        """
        There is room for an answer.
        """
        try:
            self._flush()
        except TooMany:
            self._lose()

    def _flush(self) -> None:
        while self._tail:
            data, sock = self._tail[0]
            try:
                if sock is None:
                    self.sock.send(data)
                else:
                    socket.send_fds(self.sock, [data], [sock.fileno()])
            except BlockingIOError:
                if self._answering is None:
                    self._answering = self._deadlines.after(ANSWER_SECONDS, self.close)
                self.stopReading()
                self.startWriting()
                return
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS:
                    self._tail.popleft()
                    if sock is not None:
                        sock.close()
                    raise TooMany("too many sockets are on their way to programs") from None
                self._lose()
                return
            self._tail.popleft()
            if sock is not None:
                sock.close()
        if self._answering is not None:
            self._answering.cancel()
            self._answering = None
            self.stopWriting()
            self._goOn()

    # The end

    def close(self) -> None:
        """
        Neither send nor receive any more; what was sent can still be read.
        """
        self._lose()

    def _lose(self, isDry: bool = False) -> None:
        """
        It is over.

        @param isDry: whether there is nothing unread in the socket, and cannot be.
        """
        if not self.isOpen:
            return
        self.stopReading()
        self.stopWriting()
        self.isOpen = False
        for deadline in (self._asking, self._answering):
            if deadline is not None:
                deadline.cancel()
        self._asking = self._answering = None
        for _, sock in self._tail:
            if sock is not None:
                sock.close()
        self._tail.clear()
        self._dropping += 1
        if isDry:
            self.sock.close()
        else:
            aside(self._closeSocket)
        self._owner.gone()
        if isDry:
            self._dropped()

    def _closeSocket(self) -> None:
        """
        Close it with nothing unread, as our last answer would be lost else.
        """
        sock = self.sock
        try:
            sock.shutdown(socket.SHUT_RDWR)
            for _ in range(MOST_DROPPED):
                if not sock.recvmsg(1, _CREDENTIALS)[1]:
                    break
        except OSError:
            pass
        finally:
            sock.close()
            self._reactor.callFromThread(self._dropped)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        super().connectionLost(reason)
        self._lose()
