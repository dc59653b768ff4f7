"""
TLS on a socket that another program has as well.

Whether a socket blocks, and all of its options, belong to everybody who has it (open(2)), and
OpenSSL, when it reads and writes a socket itself, relies on them.  So a program could stop us for
as long as it likes: it lets its copy block, and its peer send half a record.  Here every byte is
carried by us, by calls that do not wait whatever the socket says, and OpenSSL sees memory alone.

What the reactor must know of
=============================

The reactor tells of the socket alone, and nothing that could be delivered may stay behind in
memory.  So OpenSSL is given whole records, by their headers (RFC 8446, section 5.1), and all of
them are read before we come back.  Where something is left nevertheless, as what came with the last
message of a handshake, or an end behind the last bytes, the leg is told (C{isLate}), and reads once
more.
"""

from __future__ import annotations

from contextlib import suppress
from errno import EPIPE, errorcode
from struct import Struct
from typing import Any

from tlstunnel.errors import TLSFailed, TunnelError
from tlstunnel.net.handshaking import shakeHands
from tlstunnel.net.tlswire import MOST_EMPTY, MOST_WASTE, TLS, readRecord, writeRecords
from tlstunnel.net.wire import (
    AT_ONCE,
    BUFFER,
    END,
    MOST_READ_BYTES,
    NOTHING,
    RETRIED,
    WANTS_READ,
    WANTS_WRITE,
    Event,
    PeerGone,
)
from tlstunnel.tls.failures import recordFailure
from tlstunnel.tls.membio import drainer, feeder, layer, pending
from tlstunnel.tls.records import CleanEnd, SSLError, SysCallError

# Of a record: its header, and the most that it may have behind that (RFC 5246, section 6.2.3).
_HEADER = 5
_MOST_BEHIND = 16384 + 2048
_MOST_RECORD = _HEADER + _MOST_BEHIND
_readHeader = Struct(">HxH").unpack_from

# How one begins: its type, and the first number of its version.
_BEGINNINGS = frozenset((kind << 8) + 3 for kind in range(20, 25))

#: The most bytes that are read at once; with a part of a record before them they fit into the
#: buffer that all share.
CHUNK_BYTES = MOST_READ_BYTES - 2 * _MOST_RECORD

#: The most bytes that are encrypted at once: few enough to be still near when they are sent.
PIECE_BYTES = 131072

# Where all such connections of the process read to; a part of a record comes before that.
_ARRIVED = bytearray(_MOST_RECORD + CHUNK_BYTES)
_arrived = memoryview(_ARRIVED)
_feed = feeder(_ARRIVED)
_lay = layer(_ARRIVED)

# Where they send from.
_LEAVING = bytearray(CHUNK_BYTES)
_leaving = memoryview(_LEAVING)
_drain = drainer(_LEAVING)

_left = pending()

# How often OpenSSL is asked in vain before nothing is left, where it cannot tell.
_LOOKS = 16


def _wholeIn(end: int) -> int:
    """
    Where the last record ends that has arrived as a whole.

    @param end: the number of bytes that have arrived.
    """
    at, behind = 0, _HEADER
    while behind <= end:
        beginning, size = _readHeader(_ARRIVED, at)
        # What is no record of TLS is as long as its header: OpenSSL refuses it by that.
        if beginning in _BEGINNINGS and size <= _MOST_BEHIND:
            behind += size
            if behind > end:
                break
        at, behind = behind, behind + _HEADER
    return at


class SharedTLS(TLS):
    """
    TLS of OpenSSL in memory.
    """

    __slots__ = (
        "_encrypted",
        "_hasEnded",
        "_hasSpoken",
        "_isBehind",
        "_late",
        "_part",
        "_unsent",
        "isLate",
    )

    def _connect(self) -> Any:
        # The beginning of a record that has arrived.
        self._part = b""
        # What the socket has not taken, and how much of what is to be written that is.
        self._unsent = NOTHING
        self._encrypted = 0
        self._hasEnded = False
        # Whether there was anything to send since that was asked for last.
        self._hasSpoken = False
        # What came behind the bytes that were read last, if that is the end or a failure.
        self._late: Event | TunnelError | None = None
        # Whether OpenSSL has something that it was not asked for.
        self._isBehind = False
        self.isLate = False
        return self._creator.connection(None, self.session)

    # Carrying

    def _receive(self, at: int, most: int) -> int | None:
        """
        Read what has arrived behind the first C{at} bytes.

        @return: how much that is; C{None} for nothing, 0 for the end.
        @raise SSLError: the connection is over.
        """
        try:
            return self._sock.recv_into(_arrived[at:], most, AT_ONCE)
        except OSError as error:
            if error.errno in RETRIED:
                return None
            number = error.errno or 0
            raise SysCallError(number, errorcode.get(number, "")) from None

    def _fill(self, most: int) -> bool | None:
        """
        Give OpenSSL the whole records of what has arrived, or the end.

        @return: whether there is anything for it; C{None} if nothing has arrived.
        @raise SSLError: the connection is over.
        """
        part, have = self._part, 0
        if part:
            have = len(part)
            _arrived[:have] = part
        got = self._receive(have, most)
        if got is None:
            return None
        if not self._isUp:
            self._heard += got
        end = have + got
        whole = _wholeIn(end) if got else have
        self._part = bytes(_arrived[whole:end]) if whole < end else b""
        if self._isUp:
            _lay(self._connection, whole, not got)
        else:
            # What comes behind the handshake is left there.
            _feed(self._connection, whole)
            if not got:
                self._connection.bio_shutdown()
        return bool(whole) or not got

    def _flush(self) -> bool:
        """
        Send what OpenSSL has to say, after whatever it was asked to do.

        @return: whether that is all sent; if not, it is asked for nothing more before it is.
        @raise PeerGone: the peer takes no more.
        """
        while True:
            if self._unsent:
                self._unsent = self._unsent[self._send(self._unsent) :]
                if self._unsent:
                    return False
                # No empty slice, which would keep all of it alive.
                self._unsent = NOTHING
            count = _drain(self._connection)
            if not count:
                return True
            self._hasSpoken = True
            sent = self._send(_leaving[:count])
            if sent < count:
                self._unsent = memoryview(bytes(_leaving[sent:count]))
            elif count < CHUNK_BYTES:
                return True

    def _send(self, data: memoryview) -> int:
        try:
            return self._sock.send(data, AT_ONCE)
        except OSError as error:
            if error.errno in RETRIED:
                return 0
            raise self.hungUp(error.errno or 0) from None

    # The handshake

    def _shakeHands(self) -> Event | None:
        try:
            if self._unsent and not self._flush():
                return WANTS_WRITE
            isHeard = False
            while not self._isUp:
                isDone = self._goOn()
                if isDone:
                    self._complete()
                    # What came with the peer's last message, if anything did.
                    self._isBehind = self.isLate = _left(self._connection) != 0
                elif self._isTooLong:
                    self._connection.bio_shutdown()
                    raise self._refuseLength()
                self._hasSpoken = False
                if not self._flush():
                    return WANTS_WRITE
                if isDone:
                    break
                # An answer to what was just sent has not come yet; and others have their turn.
                if self._hasSpoken or isHeard or not self._take():
                    return WANTS_READ
                isHeard = True
        except PeerGone as error:
            raise self._failure(SysCallError(EPIPE, error.detail)) from None
        return None

    def _sayLast(self) -> None:
        with suppress(PeerGone):
            self._flush()

    def _goOn(self) -> bool:
        """
        @return: whether the handshake is complete.
        """
        try:
            return shakeHands(self._connection)
        except Exception as error:  # noqa: BLE001
            # As TLS has it; and the alert has to go out.
            self._sayLast()
            raise self._failure(error) from None

    def _take(self) -> bool:
        """
        Give OpenSSL what has arrived, or the end.

        @return: whether anything has.
        """
        try:
            return bool(self._fill(self._piece()))
        except SSLError as error:
            raise self._failure(error) from None

    # Reading

    def read(self, size: int, isPeeking: bool) -> tuple[memoryview, Event | TunnelError | None]:
        """
        Decrypt all whole records of what has arrived, C{size} bytes of it at most.
        """
        if self._late is not None:
            event, self._late = self._late, None
            self.isLate = False
            return NOTHING, event
        try:
            if self._unsent and not self._flush():
                # An answer to the peer's TLS, which OpenSSL must not be asked for more before.
                return NOTHING, WANTS_WRITE
        except PeerGone:
            # What it has said before can be read.
            self._unsent = NOTHING
        if self._isBehind:
            self._isBehind = self.isLate = False
            return self._decrypt(isAwaited=True)
        try:
            arrived = self._fill(min(size, CHUNK_BYTES))
        except SSLError as error:
            return NOTHING, recordFailure(error, self.session, first=not self.received)
        return (NOTHING, None) if arrived is None else self._decrypt(isAwaited=arrived)

    def _decrypt(self, isAwaited: bool) -> tuple[memoryview, Event | TunnelError | None]:
        """
        Read what OpenSSL was given, and send its answers.

        @param isAwaited: whether there is anything to be read.
        """
        before = self.received
        event: Event | TunnelError | None = None
        try:
            if isAwaited:
                self._readAll()
            if self.received == before:
                self._spend(1)
            if not self._flush():
                event = WANTS_WRITE
        except PeerGone:
            # Who does not hear our answer may have said enough.
            self._unsent = NOTHING
        except TunnelError as error:
            event = error
        except CleanEnd:
            event = END
        except SSLError as error:
            event = recordFailure(error, self.session, first=not self.received)
        if event is not None and event is not WANTS_WRITE:
            # Nobody reads what may be left of it, and something else lies there soon.
            _lay(self._connection, 0, True)
        count = self.received - before
        if not count:
            return NOTHING, event
        self._waste = 0
        if event is not WANTS_WRITE:
            self.isLate = event is not None
            self._late, event = event, None
        return BUFFER[:count], event

    def _readAll(self) -> None:
        """
        Decrypt record by record, until OpenSSL has nothing more.
        """
        connection = self._connection
        count = empty = 0
        while True:
            got = readRecord(connection, count)
            if got:
                count += got
                self.received += got
                empty = 0
                continue
            left = _left(connection)
            if not left or (left < 0 and empty == _LOOKS):
                return
            empty += 1
            self._spend(MOST_WASTE // MOST_EMPTY)

    def _spend(self, waste: int) -> None:
        """
        Nothing came of a record, or of a part of one.

        @raise TLSFailed: if the peer sends nothing but such.
        """
        self._waste += waste
        if self._waste > MOST_WASTE:
            raise TLSFailed("the peer sends records without data, and nothing else")

    # Writing

    def write(self, data: bytes | memoryview) -> int:
        """
        See L{tlstunnel.net.wire.IWire.write}: what is encrypted and not sent comes again, and is
        taken when it is.
        """
        if not self._isUp or (self._unsent and not self._flush()):
            return 0
        done, self._encrypted = self._encrypted, 0
        view = memoryview(data)
        while done < len(view):
            piece = view[done : done + PIECE_BYTES]
            try:
                writeRecords(self._connection, piece)
            except SSLError as error:
                raise recordFailure(error, self.session) from None
            if not self._flush():
                self._encrypted = len(piece)
                break
            done += len(piece)
        self.sent += done
        return done

    def end(self) -> bool:
        """
        Send close_notify, once.
        """
        if not self._isUp or (self._unsent and not self._flush()):
            return False
        if not self._hasEnded:
            self._hasEnded = True
            # After a failure of OpenSSL there is none.
            with suppress(SSLError):
                self._connection.shutdown()
        return self._flush()
