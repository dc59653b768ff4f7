"""
TLS of OpenSSL, as what a connection speaks; its handshake is in L{tlstunnel.net.handshaking}.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from cryptography.x509 import Certificate
from zope.interface import implementer

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import Closed, Reset, TLSFailed, TunnelError
from tlstunnel.net.handshaking import Handshaking
from tlstunnel.net.linger import discard
from tlstunnel.net.wire import (
    BUFFER,
    END,
    MOST_READ_BYTES,
    NOTHING,
    RETRIED,
    STORE,
    WANTS_WRITE,
    Event,
    IWire,
    PeerGone,
    describe,
)
from tlstunnel.tls.channelbinding import ChannelBinding
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.failures import recordFailure
from tlstunnel.tls.records import (
    RECORD_BYTES,
    SENT_SHUTDOWN,
    CleanEnd,
    SSLError,
    WantRead,
    WantWrite,
    recordReader,
    recordWriter,
)

# A record shorter than this is the last one waiting more often than not, and asking OpenSSL for
# another that is not there costs more than a turn of the reactor.
_SHORT_RECORD_BYTES = 1024

#: Records without data, such as those that ask for new keys, that a peer may send in a row, if it
#: does not wait until we have read them; and how many of them one turn of the reactor reads.
MOST_EMPTY = 48
MOST_EMPTY_PER_READ = 4

# In how many parts one record may come: each a byte of it, its header and what protects it.
MOST_WASTE = RECORD_BYTES + 256 + 5

readRecord = recordReader(STORE)
writeRecords = recordWriter()


@implementer(IWire)
class TLS(Handshaking):
    """
    TLS of OpenSSL, on the socket itself: no byte is copied between them.
    """

    __slots__ = ("_waste", "received", "sent")

    isTLS = True
    isLate: bool = False

    def __init__(
        self,
        sock: socket.socket,
        creator: Creator,
        before: memoryview = NOTHING,
        skippable: bytes = b"",
        peer: TCPAddress | UNIXAddress | None = None,
    ) -> None:
        """
        See L{Handshaking}.
        """
        self._waste = 0
        self.received = 0
        self.sent = 0
        super().__init__(sock, creator, before, skippable, peer)

    def read(self, size: int, isPeeking: bool) -> tuple[memoryview, Event | TunnelError | None]:
        """
        Decrypt until the socket is dry or C{size} reached, whole records only, so that nothing
        stays behind in OpenSSL that the reactor could not tell of.
        """
        connection = self._connection
        count = empty = 0
        most = min(size, MOST_READ_BYTES) - RECORD_BYTES
        event: Event | TunnelError | None = None
        try:
            while True:
                got = readRecord(connection, count)
                if got:
                    count += got
                    if got < _SHORT_RECORD_BYTES or count > most:
                        break
                elif count or empty == MOST_EMPTY_PER_READ or not self._isEmpty():
                    break
                else:
                    empty += 1
        except WantWrite:
            event = WANTS_WRITE
        except TunnelError as error:
            event = error
        except CleanEnd:
            event = END
        except SSLError as error:
            event = recordFailure(error, self.session, first=not self.received and not count)
        if count:
            self.received += count
            self._waste = 0
        return BUFFER[:count], event

    def _isEmpty(self) -> bool:
        """
        Nothing came of what has arrived: part of a record, or one without data.

        @return: whether it was the latter, as there is more behind it.
        @raise TLSFailed: if the peer sends nothing but such.
        """
        try:
            more = self._sock.recv(1, socket.MSG_PEEK)
        except OSError:
            more = b""
        # A part may be as small as a byte.
        self._waste += MOST_WASTE // MOST_EMPTY if more else 1
        if self._waste > MOST_WASTE:
            raise TLSFailed("the peer sends records without data, and nothing else")
        return bool(more)

    def write(self, data: bytes | memoryview) -> int:
        """
        All of C{data} or nothing: where the socket does not take all of it, OpenSSL knows how much
        it has sent, wants the same bytes again, and takes more behind them.
        """
        if not self._isUp:
            return 0
        try:
            # As in L{_findPeer}, one call less.
            self._sock.send(b"")
            count = writeRecords(self._connection, data) if data else 0
        except (WantWrite, WantRead):
            return 0
        except OSError as error:
            if error.errno in RETRIED:
                return 0
            raise self.hungUp(error.errno or 0) from None
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
            if error.errno not in RETRIED:
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
        return PeerGone(describe(code))

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

    def peerChain(self) -> Sequence[Certificate]:
        """
        See L{IWire.peerChain}.
        """
        if self._connection is None:
            return ()
        verified: Sequence[Certificate] | None
        verified = self._connection.get_verified_chain(as_cryptography=True)
        # Of a session that was resumed nothing is left of it.
        return [] if verified is None else verified[1:-1]

    def channelBinding(self) -> ChannelBinding | None:
        """
        See L{IWire.channelBinding}.
        """
        if self._connection is None or not self._isUp:
            return None
        return ChannelBinding(self._connection, self._creator.isClient, self.session.isResumed)

    def creatorBeside(self) -> Creator:
        """
        See L{IWire.creatorBeside}.
        """
        if self._connection is None:
            raise Closed("the connection is closed")
        return self._creator.beside(self._connection, self.session)

    def close(self, isGood: bool = False) -> None:
        """
        Let go of what OpenSSL keeps.
        """
        # Else OpenSSL would regard the session as spoilt, which others may want to resume.
        self._connection.set_shutdown(0 if self.session.isOver else SENT_SHUTDOWN)
        if isGood:
            self._creator.keep(self._connection, self.session)
        self._connection = None
