"""
What a connection speaks: clear text, or TLS, behind one interface.

An L{IWire} reads, writes and ends on a socket that its leg owns.  It is told when to do so, and
knows neither the reactor nor who speaks.  Another implementation of TLS is one more class here.
"""

from __future__ import annotations

import os
import socket
from enum import Enum
from errno import EAGAIN, EINTR, EPIPE, EWOULDBLOCK
from typing import Any

from cryptography.x509 import Certificate
from zope.interface import Attribute, Interface, implementer

from tlstunnel.errors import Closed, Reset, TunnelError
from tlstunnel.net.linger import discard
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.failures import handshakeFailure, recordFailure
from tlstunnel.tls.records import (
    RECORD_BYTES,
    SENT_SHUTDOWN,
    CleanEnd,
    SSLError,
    WantRead,
    WantWrite,
    recordReader,
)
from tlstunnel.tls.session import Session

#: The most bytes that are read from one connection in one turn of the reactor.
MOST_READ_BYTES = 1048576

# A record shorter than this is the last one waiting more often than not, and asking OpenSSL for
# another that is not there costs more than a turn of the reactor.
_SHORT_RECORD_BYTES = 1024

# The most bytes before a handshake that are skipped in one turn of the reactor.
_SKIPPED_BYTES = 1024

# Where all connections of the process are read to: what is in it is passed on before the next read.
_store = bytearray(MOST_READ_BYTES)
_buffer = memoryview(_store)

_readRecord = recordReader(_store)

# What may be in it when one more record is read.
_MOST_BEFORE_LAST_RECORD = MOST_READ_BYTES - RECORD_BYTES

NOTHING = memoryview(b"")

# Errors of a socket after which it is tried again when the reactor says so.
_RETRIED = frozenset((EAGAIN, EWOULDBLOCK, EINTR))


class Event(Enum):
    """
    What a wire comes upon beside bytes.
    """

    #: The peer ended its direction cleanly.
    END = "end"

    #: It goes on when the socket has something to read.
    WANTS_READ = "wants read"

    #: It goes on when the socket takes more.
    WANTS_WRITE = "wants write"


# As names of the module: to look one up in an Enum costs as much as to call a function.
END, WANTS_READ, WANTS_WRITE = Event


class PeerGone(Reset):
    """
    A reset that leaves what the peer said before to be read, and how it ended: perhaps cleanly.
    """


class IWire(Interface):
    """
    One way to carry bytes over a socket.
    """

    isTLS: bool = Attribute("whether it is TLS.")
    session: Session | None = Attribute("what is known of its TLS, if it is.")
    received: int = Attribute("bytes read so far, of what is carried.")
    sent: int = Attribute("the same, written.")

    def read(size: int, isPeeking: bool) -> tuple[memoryview, Event | TunnelError | None]:
        """
        Read what has arrived: C{size} bytes at most, but one whole record of TLS at least.

        @param isPeeking: leave it there nevertheless, in clear.
        @return: the bytes, which are valid until any wire reads again, and what came behind them.
        """

    def write(data: bytes | memoryview) -> int:
        """
        Send what the socket takes of C{data}.  What it does not take must be the beginning of the
        next call's.

        @return: how many bytes it took.
        @raise PeerGone: if the peer takes no more.
        @raise TunnelError: if the connection is over.
        """

    def end() -> bool:
        """
        Tell the peer that nothing more follows.

        @return: whether that is done; if not, once more when the socket takes more.
        @raise PeerGone: if the peer takes no more.
        """

    def hungUp(code: int) -> Reset:
        """
        What it means that the system reports a hang-up.

        @param code: the error of the socket, or 0.
        """

    def hasMore() -> bool:
        """
        Whether the peer has sent anything behind its clean end; that is dropped.
        """

    def peerCertificate() -> Certificate | None:
        """
        What the peer has shown, if this is TLS and not closed.
        """

    def creatorBeside() -> Creator:
        """
        What makes more TLS with the same peer.

        @raise Closed: if this is none, or is closed.
        """

    def close() -> None:
        """
        The socket is about to be closed.
        """


@implementer(IWire)
class Clear:
    """
    No TLS.
    """

    __slots__ = ("_sock", "received", "sent")

    isTLS = False
    session: Session | None = None

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.received = 0
        self.sent = 0

    def read(self, size: int, isPeeking: bool) -> tuple[memoryview, Event | TunnelError | None]:
        """
        See L{IWire.read}.
        """
        try:
            count = self._sock.recv_into(_buffer, size, socket.MSG_PEEK if isPeeking else 0)
        except OSError as error:
            return NOTHING, None if error.errno in _RETRIED else Reset(error.strerror or "")
        if not count:
            return NOTHING, END
        if not isPeeking:
            self.received += count
        return _buffer[:count], None

    def write(self, data: bytes | memoryview) -> int:
        """
        See L{IWire.write}.
        """
        try:
            count = self._sock.send(data)
        except OSError as error:
            if error.errno in _RETRIED:
                return 0
            raise self.hungUp(error.errno or 0) from None
        self.sent += count
        return count

    def end(self) -> bool:
        """
        Send FIN.
        """
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            # The peer is gone: what it is to be told, it knows.
            pass
        return True

    def hungUp(self, code: int) -> Reset:
        """
        The kernel says by EPIPE that a FIN came before the reset.  On a UNIX socket no error means
        that the peer has closed, and what it said before that can be read.
        """
        isUnread = code == EPIPE or (not code and self._sock.family == socket.AF_UNIX)
        return (PeerGone if isUnread else Reset)(_describe(code))

    def hasMore(self) -> bool:
        """
        Nothing comes behind a FIN.
        """
        return False

    def peerCertificate(self) -> None:
        """
        Nobody shows any.
        """

    def creatorBeside(self) -> Creator:
        """
        There is none.
        """
        raise Closed("this connection speaks no TLS")

    def close(self) -> None:
        """
        Nothing is kept.
        """


@implementer(IWire)
class TLS:
    """
    TLS of OpenSSL, on the socket itself: no byte is copied between them.
    """

    __slots__ = (
        "_before",
        "_connection",
        "_creator",
        "_isUp",
        "_skippable",
        "_sock",
        "received",
        "sent",
        "session",
    )

    isTLS = True
    _connection: Any

    def __init__(
        self,
        sock: socket.socket,
        creator: Creator,
        before: memoryview = NOTHING,
        skippable: bytes = b"",
    ) -> None:
        """
        @param before: what the socket has still to take in clear, before the handshake begins.
        @param skippable: bytes that may come in clear before it, and mean nothing.
        """
        self._sock = sock
        self._creator = creator
        self._before = before
        self._skippable = skippable
        self._isUp = False
        self.received = 0
        self.sent = 0
        self.session = creator.session()
        self._connection = creator.connection(sock, self.session)

    def handshake(self) -> Event | None:
        """
        Go on with the handshake.

        @return: what it waits for; C{None} once it is complete.
        @raise TunnelError: if it fails, or its peer is not the one that is expected.
        """
        if self._before and not self._sendBefore():
            return WANTS_WRITE
        if self._skippable and self._skip():
            return WANTS_READ
        try:
            self._connection.do_handshake()
        except WantRead:
            return WANTS_READ
        except WantWrite:
            return WANTS_WRITE
        except Exception as error:  # noqa: BLE001
            # Not SSL.Error alone: what a callback of ours raised comes this way too.
            raise handshakeFailure(error, self.session) from None
        refused = self.session.completed(self._connection)
        if refused is not None:
            raise refused
        self._isUp = True
        return None

    def _sendBefore(self) -> bool:
        """
        Send what has to go out in clear.

        @return: whether that is all sent.
        """
        try:
            self._before = self._before[self._sock.send(self._before) :]
        except OSError as error:
            if error.errno not in _RETRIED:
                raise Reset(error.strerror or "") from None
        return not self._before

    def _skip(self) -> bool:
        """
        Drop what may be skipped, until something else comes.

        @return: whether that was all there is, or more of it may be.
        """
        try:
            start = self._sock.recv(_SKIPPED_BYTES, socket.MSG_PEEK)
            rest = start.lstrip(self._skippable)
            if len(rest) < len(start):
                self._sock.recv(len(start) - len(rest))
        except OSError:
            # OpenSSL will see it too.
            return False
        if rest:
            self._skippable = b""
        return bool(start) and not rest

    def read(self, size: int, isPeeking: bool) -> tuple[memoryview, Event | TunnelError | None]:
        """
        Decrypt until the socket is dry or C{size} reached, whole records only, so that nothing
        stays behind in OpenSSL that the reactor could not tell of.
        """
        connection = self._connection
        count = 0
        most = size - RECORD_BYTES if size < MOST_READ_BYTES else _MOST_BEFORE_LAST_RECORD
        event: Event | TunnelError | None = None
        try:
            while True:
                got = _readRecord(connection, count)
                count += got
                if got < _SHORT_RECORD_BYTES or count > most:
                    break
        except WantRead:
            pass
        except WantWrite:
            event = WANTS_WRITE
        except CleanEnd:
            event = END
        except SSLError as error:
            event = recordFailure(error, self.session, first=not self.received and not count)
        self.received += count
        return _buffer[:count], event

    def write(self, data: bytes | memoryview) -> int:
        """
        All of C{data} or nothing: where the socket does not take all of it, OpenSSL knows how much
        it has sent, wants the same bytes again, and takes more behind them.
        """
        if not self._isUp:
            return 0
        self._findPeer()
        try:
            count = self._connection.send(data) if data else 0
        except (WantWrite, WantRead):
            return 0
        except SSLError as error:
            failure = recordFailure(error, self.session)
            raise (PeerGone(failure.detail) if isinstance(failure, Reset) else failure) from None
        self.sent += count
        return count

    def _findPeer(self) -> None:
        """
        Ask the system whether the peer is still there, before OpenSSL finds out: after a failure to
        write it does not read any more what had arrived.
        """
        try:
            self._sock.send(b"")
        except OSError as error:
            if error.errno not in _RETRIED:
                raise self.hungUp(error.errno or 0) from None

    def end(self) -> bool:
        """
        Send close_notify, which must wait for a handshake that is under way.
        """
        if not self._isUp:
            return False
        self._findPeer()
        try:
            self._connection.shutdown()
        except WantWrite:
            return False
        except SSLError:
            # After a failure of OpenSSL there is none.
            pass
        return True

    def hungUp(self, code: int) -> Reset:
        """
        A close_notify may have come before it; if none has, that shows.
        """
        return PeerGone(_describe(code))

    def hasMore(self) -> bool:
        """
        What comes behind close_notify means nothing (RFC 8446, section 6.1).
        """
        return discard(self._sock) is False

    def peerCertificate(self) -> Certificate | None:
        """
        See L{IWire.peerCertificate}.
        """
        if self._connection is None:
            return None
        shown: Certificate | None = self._connection.get_peer_certificate(as_cryptography=True)
        return shown

    def creatorBeside(self) -> Creator:
        """
        See L{IWire.creatorBeside}.
        """
        if self._connection is None:
            raise Closed("the connection is closed")
        return self._creator.beside(self._connection, self.session)

    def close(self) -> None:
        """
        Let go of what OpenSSL keeps.
        """
        # Else OpenSSL would regard the session as spoilt, which others may want to resume.
        self._connection.set_shutdown(SENT_SHUTDOWN)
        self._connection = None


def _describe(code: int) -> str:
    return os.strerror(code) if code else "hung up"
