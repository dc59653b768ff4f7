"""
One connection: plaintext on a socket, and TLS on the same socket once C{startTLS} was called.

A L{Leg} is the transport of everything that speaks on a connection, from its first byte to its
last: of a dialect before the switch and of the relay after it.  It works on the raw socket, so
that nothing has to be handed over at the switch, and it keeps what Twisted's own TLS transport does
not have: each direction ends on its own, with TLS as without, and an end without close_notify is
not mistaken for a clean one.  It knows sockets, the reactor and an C{SSL.Connection}, and nothing
of protocols, tunnels or limits.
"""

from __future__ import annotations

import os
import socket
import struct
from errno import EAGAIN, EINTR, EPIPE, EWOULDBLOCK
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer, IReactorFDSet, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import UNIXAddress
from tlstunnel.errors import Reset, Truncated, TunnelError
from tlstunnel.net.linger import closeGently, discard
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.failures import handshakeFailure, recordFailure
from tlstunnel.tls.records import (
    RECORD,
    SENT_SHUTDOWN,
    CleanEnd,
    SSLError,
    WantRead,
    WantWrite,
    recordReader,
)
from tlstunnel.tls.session import Session

#: A record shorter than this is the last one waiting more often than not, and asking OpenSSL for
#: another that is not there costs more than a turn of the reactor.
SHORT = 1024

#: What a leg reads at most in one turn of the reactor once it is relaying; see L{Leg.readSize}.
BULK = 1048576

#: Where every leg of the process reads to: what is in it is passed on before the next read.
_buffer = memoryview(bytearray(BULK))

_readRecord = recordReader(_buffer)
_NOTHING = memoryview(b"")
_UNKNOWN = UNIXAddress("")

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_RETRY = frozenset((EAGAIN, EWOULDBLOCK, EINTR))


def tune(sock: socket.socket) -> None:
    """
    Let TCP send what is written at once, as handshakes stall for 40 ms else, and leave an urgent
    byte where it was in the stream, as telnet and ftp mean it.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


class Speaker(Protocol):
    """
    What speaks on a leg: a dialect, or one end of the relay.
    """

    def dataReceived(self, data: memoryview) -> None:
        """
        Bytes arrived; C{data} is valid until this returns.
        """

    def readConnectionLost(self) -> None:
        """
        The peer ended its direction cleanly: FIN, or under TLS close_notify.
        """

    def writeConnectionLost(self) -> None:
        """
        The peer takes no more; what it said before is still delivered, and how it ended.
        """

    def handshakeCompleted(self) -> None:
        """
        TLS is up; whether its peer is the expected one was decided within the handshake.
        """

    def connectionLost(self, reason: Failure) -> None:
        """
        The peer or an error ended the connection; C{reason} wraps a L{TunnelError}.
        """


@implementer(IReadWriteDescriptor, IPushProducer)
class Leg:
    """
    One connection, as a Twisted transport: C{write}, C{startTLS}, C{loseWriteConnection},
    C{loseConnection}, C{abortConnection}, and a push producer that starts out paused.

    @ivar speaker: who is told what happens on this leg.
    @ivar producer: the producer to pause while our peer is slower than it is.
    @ivar readSize: bytes to read in one turn at most.
    @ivar isPeeking: in clear, look at what arrived and leave it in the socket.
    @ivar skipped: bytes that may come in clear between the last message and TLS, and mean nothing.
    @ivar received: bytes of plaintext, or of what TLS protects, read so far.
    @ivar sent: the same, taken by the socket so far.
    @ivar inputEnded: whether the peer ended its direction cleanly.
    @ivar isClosed: whether this leg is closed.
    """

    __slots__ = (
        "_below",
        "_broken",
        "_creator",
        "_endDue",
        "_handshaking",
        "_outputEnded",
        "_paused",
        "_reactor",
        "_readBlocked",
        "_reading",
        "_tail",
        "_writing",
        "inputEnded",
        "isClosed",
        "isPeeking",
        "peer",
        "producer",
        "readSize",
        "received",
        "sent",
        "session",
        "skipped",
        "sock",
        "speaker",
        "tls",
    )

    speaker: Speaker

    def __init__(
        self,
        reactor: IReactorFDSet,
        sock: socket.socket,
        peer: Any = _UNKNOWN,
        below: Any = None,
    ) -> None:
        """
        @param sock: connected and non-blocking; ours from now on.
        @param peer: the other end.
        @param below: the stock transport that owns C{sock}, if one does: closing is left to it.
        """
        self._reactor = reactor
        self.sock = sock
        self.peer = peer
        self._below = below
        self.tls: Any = None
        self.session: Session | None = None
        self._creator: Creator | None = None
        self._tail = _NOTHING
        self._paused = True
        self._reading = False
        self._writing = False
        self._handshaking = False
        self._outputEnded = False
        self._broken: TunnelError | None = None
        self._endDue = False
        self._readBlocked = False
        self.inputEnded = False
        self.isClosed = False
        self.readSize = RECORD
        self.isPeeking = False
        self.skipped = b""
        self.received = 0
        self.sent = 0
        self.producer: Leg | None = None

    # Reading

    def pauseProducing(self) -> None:
        """
        Deliver nothing until told otherwise; a handshake goes on nevertheless.
        """
        # We stop to read when something arrives: most pauses are over by then.
        self._paused = True

    def resumeProducing(self) -> None:
        """
        Deliver what arrives.
        """
        self._paused = False
        if not (self._reading or self.inputEnded or self.isClosed):
            self._reading = True
            self._reactor.addReader(self)

    def stopProducing(self) -> None:
        """
        The consumer is gone for good.
        """
        self.abortConnection()

    def _stopReading(self) -> None:
        self._reading = False
        self._reactor.removeReader(self)

    def doRead(self) -> None:
        """
        The socket has something for us.
        """
        if self._handshaking:
            self._handshake()
        elif self._paused or self._creator is not None:
            self._stopReading()
        elif self.tls is None:
            self._readPlain()
        else:
            self._readRecords()

    def _readPlain(self) -> None:
        try:
            count = self.sock.recv_into(
                _buffer, self.readSize, socket.MSG_PEEK if self.isPeeking else 0
            )
        except OSError as error:
            if error.errno not in _RETRY:
                self._fail(Reset(error.strerror or ""))
            return
        if count:
            self.received += count
            self.speaker.dataReceived(_buffer[:count])
        else:
            self._endInput()

    def _readRecords(self) -> None:
        """
        Decrypt until the socket is dry or the buffer full, whole records only, so that nothing
        stays behind in OpenSSL that the reactor could not tell us of.
        """
        connection = self.tls
        count = 0
        last: TunnelError | None = None
        ended = False
        stop = self.readSize - RECORD
        while count <= stop:
            try:
                size = _readRecord(connection, count)
                count += size
                if size < SHORT:
                    break
            except WantRead:
                break
            except WantWrite:
                self._readBlocked = True
                self._stopReading()
                self._startWriting()
                break
            except CleanEnd:
                ended = True
                break
            except SSLError as error:
                last = recordFailure(error, self.session, first=not self.received and not count)
                if self._broken is not None and isinstance(last, Truncated):
                    last = self._broken
                break
        if count:
            self.received += count
            self.speaker.dataReceived(_buffer[:count])
        if last is not None:
            self._fail(last)
        elif ended:
            self._endInput()

    def _endInput(self) -> None:
        self.inputEnded = True
        if self._reading:
            self._stopReading()
        if not self.isClosed:
            self.speaker.readConnectionLost()

    def pendingInput(self, count: int = 1) -> bytes:
        """
        The first bytes, C{count} at most, that lie unread in the socket; they stay there.
        """
        try:
            return self.sock.recv(count, socket.MSG_PEEK)
        except OSError:
            return b""

    # Writing

    def write(self, data: bytes | memoryview) -> None:
        """
        Send C{data}, now as far as the socket takes it, the rest when it is ready; meanwhile the
        producer that L{producer} names is paused.
        """
        if self.isClosed or self._outputEnded:
            return
        if self._tail:
            self._tail = memoryview(bytes(self._tail) + data)
            return
        count = self._send(data)
        if count < len(data) and not (self.isClosed or self._outputEnded):
            self._tail = memoryview(bytes(data[count:]))
            if not self._handshaking:
                self._startWriting()
            if self.producer is not None:
                self.producer.pauseProducing()

    def writeSequence(self, chunks: list[bytes]) -> None:
        """
        Send C{chunks}, one after the other.
        """
        self.write(b"".join(chunks))

    def _send(self, data: bytes | memoryview) -> int:
        """
        Send what the socket takes of C{data}.

        @return: how much that was.
        """
        view = memoryview(data)
        count = 0
        if self.tls is None:
            try:
                count = self.sock.send(view)
            except OSError as error:
                if error.errno == EPIPE:
                    self._loseOutput(Reset(error.strerror or ""))
                elif error.errno not in _RETRY:
                    self._fail(Reset(error.strerror or ""))
        elif not (self._handshaking or self._isBroken()):
            try:
                # All or nothing: after WantWrite OpenSSL wants the same bytes again, and knows how
                # much of them it has sent; more behind them are welcome.
                count = self.tls.send(view) if view else 0
            except (WantWrite, WantRead):
                pass
            except SSLError as error:
                failure = recordFailure(error, self.session)
                if isinstance(failure, Reset):
                    self._loseOutput(failure)
                else:
                    self._fail(failure)
        self.sent += count
        return count

    def _isBroken(self) -> bool:
        """
        Whether TLS cannot be written, as the peer is gone.  To be asked before: after a failure to
        write, OpenSSL does not read any more what had arrived.
        """
        try:
            self.sock.send(b"")
        except OSError as error:
            if error.errno not in _RETRY:
                self._loseOutput(Reset(error.strerror or ""))
                return True
        return False

    def _loseOutput(self, error: TunnelError) -> None:
        """
        The peer takes no more.  It may have ended cleanly before, and that lies unread still: in
        clear the kernel tells that by EPIPE, under TLS it takes a close_notify.
        """
        self._broken = error
        self._outputEnded = True
        self._endDue = False
        self._tail = _NOTHING
        self._stopWriting()
        self.speaker.writeConnectionLost()

    def _startWriting(self) -> None:
        if not self._writing and not self.isClosed:
            self._writing = True
            self._reactor.addWriter(self)

    def _stopWriting(self) -> None:
        if self._writing:
            self._writing = False
            self._reactor.removeWriter(self)

    def doWrite(self) -> None:
        """
        The socket takes more.
        """
        if self._handshaking:
            self._handshake()
            return
        if self._tail:
            count = self._send(self._tail)
            if self.isClosed:
                return
            if count < len(self._tail):
                self._tail = self._tail[count:]
                return
            # No empty slice, which would keep all of it alive.
            self._tail = _NOTHING
        self._stopWriting()
        if self._creator is not None:
            self._beginTLS()
            return
        if self._endDue:
            self._sendEnd()
        if self.producer is not None and not self._writing:
            self.producer.resumeProducing()
        if self._readBlocked:
            self._readBlocked = False
            if not self._paused:
                self.resumeProducing()
                self._readRecords()

    @property
    def isFlushed(self) -> bool:
        """
        Whether the socket has taken all that was written.
        """
        return not self._tail and not self._writing

    # TLS

    def startTLS(self, creator: Creator) -> None:
        """
        Speak TLS from here on, after what was written so far; C{handshakeCompleted} or
        C{connectionLost} of the speaker tells the outcome.

        @raise RuntimeError: if this leg speaks TLS already: one TLS per connection (rule 14).
        """
        if self.tls is not None or self._creator is not None:
            raise RuntimeError("startTLS was called twice on one connection")
        self._creator = creator
        if not self._tail:
            self._beginTLS()

    def _beginTLS(self) -> None:
        creator, self._creator = self._creator, None
        assert creator is not None
        # What was said in clear is not what TLS protects.
        self.received = self.sent = 0
        self.readSize = RECORD
        self.session = creator.session()
        self.tls = creator.connection(self.sock, self.session)
        self._handshaking = True
        if creator.isClient:
            self._handshake()
        elif not self._reading:
            self._reading = True
            self._reactor.addReader(self)

    def _skip(self) -> None:
        """
        Drop what L{skipped} says, until something else comes.
        """
        start = self.pendingInput(64)
        rest = start.lstrip(self.skipped)
        if len(rest) < len(start):
            try:
                self.sock.recv(len(start) - len(rest))
            except OSError:
                # OpenSSL will see it too.
                pass
        if rest:
            self.skipped = b""

    def _handshake(self) -> None:
        if self.skipped:
            self._skip()
        try:
            self.tls.do_handshake()
        except WantRead:
            self._stopWriting()
            if not self._reading:
                self._reading = True
                self._reactor.addReader(self)
            return
        except WantWrite:
            self._startWriting()
            return
        except Exception as error:  # noqa: BLE001
            # Not SSL.Error alone: what a callback of ours raised comes this way too (T5, T10).
            self._fail(handshakeFailure(error, self.session))
            return
        self._handshaking = False
        assert self.session is not None
        refused = self.session.completed(self.tls)
        if refused is not None:
            self._fail(refused)
            return
        if self._tail:
            self._startWriting()
        else:
            self._stopWriting()
        self.speaker.handshakeCompleted()

    # Ending

    def loseWriteConnection(self) -> None:
        """
        End our direction once all is sent: FIN, or under TLS close_notify; the other goes on.
        """
        if self._outputEnded or self.isClosed:
            return
        self._outputEnded = True
        if self._tail:
            self._endDue = True
        else:
            self._sendEnd()

    def _sendEnd(self) -> None:
        self._endDue = False
        try:
            if self.tls is None:
                self.sock.shutdown(socket.SHUT_WR)
            elif not self._isBroken():
                self.tls.shutdown()
        except WantWrite:
            self._endDue = True
            self._startWriting()
        except (OSError, SSLError):
            # The peer is gone: what it is to be told, it knows.
            pass

    def loseConnection(self) -> None:
        """
        Close this leg: with an orderly end of our direction if there was none yet, unless the
        peer does not even take what comes before it.
        """
        if self.isClosed:
            return
        if self.tls is not None:
            # In clear, closing is all it takes.
            self.loseWriteConnection()
        if self._tail or self._endDue:
            self.abortConnection()
        else:
            self._close()

    def abortConnection(self) -> None:
        """
        Close this leg with a reset, and under TLS without close_notify.
        """
        if self.isClosed:
            return
        if self._below is None:
            try:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                pass
        self._close(aborted=True)

    def _close(self, aborted: bool = False) -> None:
        if self._reading:
            self._stopReading()
        self._stopWriting()
        # Not before: our descriptor is what the reactor knows us by.
        self.isClosed = True
        self._tail = _NOTHING
        # Under TLS there may be more behind a clean end, which means nothing (RFC 8446, 6.1).
        ended = self.inputEnded and (self.tls is None or discard(self.sock) is not False)
        if self.tls is not None:
            # Else OpenSSL would regard the session as spoilt, which others may want to resume.
            self.tls.set_shutdown(SENT_SHUTDOWN)
            self.tls = None
        self.producer = None
        if self._below is not None:
            if aborted:
                self._below.abortConnection()
            else:
                self._below.loseConnection()
        elif aborted or ended:
            self.sock.close()
        else:
            closeGently(self._reactor, self.sock)

    def _fail(self, error: TunnelError) -> None:
        """
        The peer or an error ended this leg.
        """
        if self.isClosed:
            return
        if isinstance(error, (Reset, Truncated)) or self.tls is None:
            self.abortConnection()
        else:
            # A fatal alert of ours may be on its way, which a reset would overtake.
            self._close()
        self.speaker.connectionLost(Failure(error))

    # What the reactor wants of a descriptor

    def fileno(self) -> int:
        """
        The socket's descriptor, or -1 once it is closed.
        """
        return -1 if self.isClosed else self.sock.fileno()

    def logPrefix(self) -> str:
        """
        What the reactor calls us in its own messages.
        """
        return "leg"

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        self._reading = self._writing = False
        if self.isClosed:
            return
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        error = Reset(os.strerror(code) if code else "hung up")
        if code == EPIPE or (code and self.tls is not None and not self._handshaking):
            self._loseOutput(error)
            if not self._paused:
                self.resumeProducing()
        else:
            self._fail(error)
