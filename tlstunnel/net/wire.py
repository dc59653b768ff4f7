"""
What a connection speaks, behind one interface; and the simplest, clear text.

An L{IWire} reads, writes and ends on a socket that its leg owns.  It is told when to do so, and
knows neither the reactor nor who speaks.  L{tlstunnel.net.tlswire} has
another one, and one more way to do TLS would be a third.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from enum import Enum
from errno import EAGAIN, EINTR, EPIPE, EWOULDBLOCK

from cryptography.x509 import Certificate
from zope.interface import Attribute, Interface, implementer

from tlstunnel.errors import Closed, Reset, TunnelError
from tlstunnel.tls.channelbinding import ChannelBinding
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.session import Session

#: The most bytes that are read from one connection in one turn of the reactor.
MOST_READ_BYTES = 1048576

# Where all connections of the process are read to: what is in it is passed on before the next read.
STORE = bytearray(MOST_READ_BYTES)
BUFFER = memoryview(STORE)

NOTHING = memoryview(b"")

# Errors of a socket after which it is tried again when the reactor says so.
RETRIED = frozenset((EAGAIN, EWOULDBLOCK, EINTR))

#: Whether a socket blocks belongs to all who have it: another program may say that it does.
AT_ONCE = int(socket.MSG_DONTWAIT)
PEEKING = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


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
    isLate: bool = Attribute("whether a read has something to tell of which the socket does not.")
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

    def peerChain() -> Sequence[Certificate]:
        """
        What stands between that and the anchor by which OpenSSL has verified it, likewise.
        """

    def channelBinding() -> ChannelBinding | None:
        """
        What both ends of it know alone, if this is TLS that is up, and not closed.
        """

    def creatorBeside() -> Creator:
        """
        What makes more TLS with the same peer.

        @raise Closed: if this is none, or is closed.
        """

    def close(isGood: bool = False) -> None:
        """
        The socket is about to be closed.

        @param isGood: whether nothing has failed on it.
        """


@implementer(IWire)
class Clear:
    """
    No TLS.
    """

    __slots__ = ("_sock", "received", "sent")

    isTLS = False
    isLate: bool = False
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
            count = self._sock.recv_into(BUFFER, size, PEEKING if isPeeking else AT_ONCE)
        except OSError as error:
            return NOTHING, None if error.errno in RETRIED else Reset(error.strerror or "")
        if not count:
            return NOTHING, END
        if not isPeeking:
            self.received += count
        return BUFFER[:count], None

    def write(self, data: bytes | memoryview) -> int:
        """
        See L{IWire.write}.
        """
        try:
            count = self._sock.send(data, AT_ONCE)
        except OSError as error:
            if error.errno in RETRIED:
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
        return (PeerGone if isUnread else Reset)(describe(code))

    def hasMore(self) -> bool:
        """
        Nothing comes behind a FIN.
        """
        return False

    def peerCertificate(self) -> None:
        """
        Nobody shows any.
        """

    def peerChain(self) -> Sequence[Certificate]:
        """
        There is none.
        """
        return ()

    def channelBinding(self) -> ChannelBinding | None:
        """
        See L{IWire.channelBinding}: everybody on the way knows all of this.
        """
        return None

    def creatorBeside(self) -> Creator:
        """
        There is none.
        """
        raise Closed("this connection speaks no TLS")

    def close(self, isGood: bool = False) -> None:
        """
        Nothing is kept.
        """


def describe(code: int) -> str:
    """
    What the system says of the error C{code}; 0 is a hang-up without any.
    """
    return os.strerror(code) if code else "hung up"
