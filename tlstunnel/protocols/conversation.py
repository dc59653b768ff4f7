"""
Bounded, awaitable reading and writing on a leg before the relay.

A L{Conversation} is the protocol of a leg while somebody talks on it: whoever negotiates awaits a
line, an exact number of bytes, or all up to a delimiter, and the conversation reads no more than
its limits allow.  It is told of deadlines by L{Conversation.within}, which no traffic extends.  It
knows a leg and a clock, and nothing of TLS or of any dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.errors import Closed, Malformed, Oversize, TunnelError
from tlstunnel.interfaces import ISpeaker, ITranscript
from tlstunnel.net.deadlines import Deadlines, TimeLimit
from tlstunnel.net.waiting import Waiting
from tlstunnel.tls.creators import Creator

_T = TypeVar("_T")

#: What stands for a secret in a transcript.
HIDDEN = b"??????"

#: Bytes that a plain leg may send before the relay takes them (rule 2).
MAX_HELD_BYTES = 65536

#: Pieces that are read in one turn of the reactor: each may be a byte of what has arrived at once,
#: and what is made of it may take its time.
MAX_PIECES_PER_TURN = 128


def isBroken(line: bytes) -> bool:
    """
    Whether a NUL, or a CR that ends no line, is in C{line}, whose end may be still to come (rule
    16).
    """
    text = line.removesuffix(b"\n").removesuffix(b"\r")
    return b"\r" in text or b"\0" in text


@implementer(ISpeaker)
class Conversation(Protocol):
    """
    Reading and writing on one leg, one awaited piece after the other.

    @cvar lineEnd: what ends the lines that are sent; those that are read end in LF or CRLF.
    @cvar maxLine: bytes of one line at most, its end included.
    @cvar maxLines: lines in all at most.
    @cvar maxBytes: bytes in all at most.
    @cvar exact: read never more from the socket than was asked for, for protocols in which TLS may
        begin right behind a message, in the same segment.
    @ivar transcript: is told of all that is read and written here, if anything is.
    @ivar isSecret: whether a transcript has only that something is written, and not what.
    @ivar deadlines: where deadlines are set.
    @ivar whenLost: called with the L{TunnelError} when the connection is lost while nobody reads.
    @ivar inputEnded: whether the peer has ended its direction.
    """

    lineEnd = b"\r\n"
    maxLine = 2048
    maxLines = 128
    maxBytes = 65536
    exact = False

    transport: Any
    transcript: ITranscript | None = None
    isSecret = False
    whenLost: Callable[[TunnelError], None] | None = None
    _told = 0
    _lines = 0
    _isUp = False
    # Pieces that were read without a turn for anybody else.
    _pieces = 0

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self.inputEnded = False
        self._buffer = bytearray()
        self._taken = 0
        self._waiting: Waiting[None] | None = None
        self._error: TunnelError | None = None

    # What the leg tells

    def connectionMade(self) -> None:
        """
        Begin to read, so that also the end of the connection shows.
        """
        if not self.exact:
            self.transport.resumeProducing()

    def dataReceived(self, data: bytes | memoryview) -> None:
        """
        Keep C{data} for whoever asks for it.
        """
        self._buffer += data
        if self.exact or len(self._buffer) >= MAX_HELD_BYTES:
            self.transport.pauseProducing()
        self._wake()

    def readConnectionLost(self) -> None:
        """
        The peer ended its direction: what it sent before can still be read.
        """
        self.inputEnded = True
        self._wake()

    def writeConnectionLost(self) -> None:
        """
        The peer takes no more: what it said before, and how it ended, is there to be read.
        """

    def handshakeCompleted(self) -> None:
        """
        TLS is up on this leg: wake who waits for it.
        """
        self._isUp = True
        self._wake()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """
        The connection is gone.
        """
        error = reason.value
        self.fail(error if isinstance(error, TunnelError) else Closed(str(error)))

    def fail(self, error: TunnelError) -> None:
        """
        Let the pending read, and every later one, raise C{error}.
        """
        if self._error is None:
            self._error = error
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(error)
        elif self.whenLost is not None:
            self.whenLost(error)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    # Waiting

    async def wait(self, attempt: Callable[[], _T | None], reading: bool = True) -> _T:
        """
        Call C{attempt} whenever something happened on this leg, until it gives something; now and
        then, where much has arrived, in a later turn of the reactor.

        @param reading: whether the attempt waits for bytes; if so the end of input is an error.
        @raise TunnelError: as the connection, a deadline or C{attempt} has it.
        """
        if self._pieces >= MAX_PIECES_PER_TURN:
            self.deadlines.clock.callLater(0, self._wake)
            await self._wakened()
        while True:
            if self._error is not None:
                raise self._error
            result = attempt()
            if result is not None:
                self._pieces += 1
                return result
            if reading:
                if self.inputEnded:
                    raise self._by(Closed("the peer ended the connection", bytes(self._buffer)))
                if self._taken + len(self._buffer) > self.maxBytes:
                    raise self._by(Oversize(f"more than {self.maxBytes} bytes"))
                self.transport.resumeProducing()
            await self._wakened()

    def _wakened(self) -> Waiting[None]:
        """
        Fires when something has happened.
        """
        self._pieces = 0
        waiting = self._waiting = Waiting(self._cancelled)
        return waiting

    def _cancelled(self, waiting: Deferred[None]) -> None:
        if self._waiting is waiting:
            self._waiting = None

    def within(self, seconds: float, what: str) -> TimeLimit:
        """
        A block in which waiting on this leg ends once C{seconds} have passed since its start,
        whatever arrived meanwhile.
        """
        return self.deadlines.within(seconds, what, self._stopWaiting)

    def _stopWaiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def _by(self, error: TunnelError) -> TunnelError:
        return error.by(self.transport.who)

    # TLS

    def startTLS(self, creator: Creator) -> Coroutine[Any, Any, object]:
        """
        Speak TLS from here on.

        @return: fires when the peer is verified, or with the L{TunnelError} of the handshake.
        """
        self._isUp = False
        self.transport.startTLS(creator)
        return self.wait(lambda: self._isUp or None, reading=False)

    # Reading

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._taken += count
        if self.transcript is not None and self._taken > self._told:
            # What was put back has been told.
            self.transcript.received(taken[self._told - self._taken :])
            self._told = self._taken
        return taken

    async def readExactly(self, count: int) -> bytes:
        """
        The next C{count} bytes.

        @raise Oversize: if that is more than may be read in all; nothing is allocated for it.
        """
        if self._taken + count > self.maxBytes:
            raise self._by(Oversize(f"a message of {count} bytes exceeds {self.maxBytes} in all"))

        def attempt() -> bytes | None:
            missing = count - len(self._buffer)
            if missing <= 0:
                return self._take(count)
            if self.exact:
                self.transport.readSize = missing
            return None

        return await self.wait(attempt)

    async def peek(self) -> bytes:
        """
        The next byte, which stays in the socket: for L{exact} conversations only, in which nothing
        is read ahead.
        """
        self.transport.isPeeking = True
        self.transport.readSize = 1
        try:
            return await self.wait(lambda: bytes(self._buffer) or None)
        finally:
            self.transport.isPeeking = False
            self._buffer.clear()

    def readUntil(self, delimiter: bytes, limit: int) -> Coroutine[Any, Any, bytes]:
        """
        All up to and including C{delimiter}.

        @raise Oversize: if it does not end within C{limit} bytes.
        """

        def attempt() -> bytes | None:
            end = self._buffer.find(delimiter, 0, limit)
            if end >= 0:
                return self._take(end + len(delimiter))
            if len(self._buffer) >= limit:
                said = bytes(self._buffer)
                raise self._by(Oversize(f"more than {limit} bytes without an end", said))
            return None

        return self.wait(attempt)

    def readSome(self) -> Coroutine[Any, Any, bytes]:
        """
        What has arrived, at least one byte.
        """
        return self.wait(lambda: self._take(len(self._buffer)) if self._buffer else None)

    async def readWithin(self, seconds: float) -> bytes:
        """
        The same, where it arrives within C{seconds}; else nothing.
        """
        with self.deadlines.after(seconds, self._wake) as due:

            def attempt() -> bytes | None:
                return self.takeRest() if self._buffer or not due.isPending else None

            return await self.wait(attempt)

    def readLine(self) -> Coroutine[Any, Any, bytes]:
        """
        The next line without its end: LF, and one CR before it if there is one (rule 16).

        @raise Malformed: if another CR or a NUL is in it; whoever speaks binary may send no end.
        @raise Oversize: if it is longer than C{maxLine}, or one of more than C{maxLines}.
        """
        return self.wait(self._line)

    def _line(self) -> bytes | None:
        buffer = self._buffer
        if not buffer:
            return None
        end = buffer.find(b"\n", 0, self.maxLine) + 1
        if end:
            line = self._take(end)
            text = line[:-2] if line.endswith(b"\r\n") else line[:-1]
            if b"\r" not in text and b"\0" not in text:
                self._lines += 1
                if self._lines > self.maxLines:
                    raise self._by(Oversize(f"more than {self.maxLines} lines before the switch"))
                return text
        else:
            line = bytes(buffer[: self.maxLine])
            if not isBroken(line):
                if len(line) >= self.maxLine:
                    raise self._by(Oversize(f"a line of more than {self.maxLine} bytes", line))
                return None
        raise self._by(Malformed("a bare CR or a NUL in a line", line))

    def putBack(self, data: bytes) -> None:
        """
        Let C{data}, which was read just now, be read again.
        """
        self._buffer[:0] = data
        self._taken -= len(data)

    def takeRest(self) -> bytes:
        """
        All that has arrived and was not read.
        """
        return self._take(len(self._buffer)) if self._buffer else b""

    @property
    def unread(self) -> bytes:
        """
        What was taken from the socket and not read.
        """
        return bytes(self._buffer)

    @property
    def residue(self) -> bytes:
        """
        What has arrived and was not read, also what still lies in the socket; it stays there.
        """
        return self.unread or self.transport.pendingInput(200)

    @property
    def moved(self) -> tuple[int, int]:
        """
        Numbers that change when anything is read here, and not put back, or written.
        """
        return self._taken, self.transport.sent

    # Writing

    def write(self, data: bytes) -> None:
        """
        Send C{data}.
        """
        if self.transcript is not None:
            self.transcript.sent(HIDDEN if self.isSecret else data)
        self.transport.write(data)

    def sendLine(self, line: bytes) -> None:
        """
        Send C{line} and its end.
        """
        self.write(line + self.lineEnd)
