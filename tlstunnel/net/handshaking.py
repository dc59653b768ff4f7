"""
The beginning of TLS on a connection: its handshake, step by step.

One step is one call of OpenSSL, which reads whatever the peer has sent, also what arrives in the
meantime, and parses it at one go.  Of a peer whose certificates are asked for, or that says much,
it is given a piece at a time, from memory: so it stops reading when others have their turn, and
when it is enough; and what lies behind the handshake, as a client's first request may, counts for
nothing.  Where a peer has no more to say than a hello, OpenSSL reads the socket itself.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, ClassVar

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import TLSFailed, TunnelError
from tlstunnel.net.kernel import unread
from tlstunnel.net.wire import AT_ONCE, NOTHING, PEEKING, RETRIED, WANTS_READ, WANTS_WRITE, Event
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.faces import VERSIONS
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.membio import detour, drainer, layer, pending
from tlstunnel.tls.records import SSLError, SysCallError, WantWrite, handshaker

#: The most bytes before a handshake that are skipped, in all.
MOST_SKIPPED_BYTES = 1024

#: What a peer may say in a handshake, in bytes with those of its records: a server's certificates
#: with thousands of names, a list of all public authorities, or a post-quantum chain with its
#: response of OCSP; and less of a client, who has none of these.  OpenSSL parses whatever it is
#: given at one go, and 64 KiB of the dearest certificates that it accepts take it some 45 ms.
MOST_OF_SERVER = 65536
MOST_OF_CLIENT = 32768

#: So much is a piece, and up to so much is not much.
LIGHT_BYTES = 16384

shakeHands = handshaker()
_detour = detour()
_PIECE = bytearray(LIGHT_BYTES)
_lay = layer(_PIECE)
_drain = drainer(_PIECE)
_left = pending()


class Handshaking:
    """
    TLS up to the end of its handshake.

    @cvar isQuiet: whether what a server says behind its handshake, its tickets, is left to be sent
        with what it says next.
    """

    isQuiet: ClassVar[bool] = False

    __slots__ = (
        "_before",
        "_connection",
        "_creator",
        "_heard",
        "_hears",
        "_isDetoured",
        "_isUp",
        "_skippable",
        "_skips",
        "_sock",
        "session",
    )

    _connection: Any

    def __init__(
        self,
        sock: socket.socket,
        creator: Creator,
        before: memoryview = NOTHING,
        skippable: bytes = b"",
        peer: TCPAddress | UNIXAddress | None = None,
    ) -> None:
        """
        @param before: what the socket has still to take in clear, before the handshake begins.
        @param skippable: bytes that may come in clear before it, and mean nothing.
        @param peer: the address at the other end of C{sock}.
        """
        self._sock = sock
        self._creator = creator
        self._before = before
        self._skippable = skippable
        self._skips = MOST_SKIPPED_BYTES
        self._isUp = False
        # What the peer has said in the handshake, whether it may have said anything, and whether
        # OpenSSL hears it from us.
        self._heard = 0
        self._hears = not creator.isClient
        self._isDetoured = False
        self.session = creator.session(peer)
        self._connection = self._connect()

    def _connect(self) -> Any:
        """
        The connection of OpenSSL.
        """
        isByPieces = self.isQuiet or self._creator.asksForCertificates
        if _detour is None or not isByPieces:
            return self._creator.connection(self._sock, self.session)
        self._isDetoured = True
        return self._creator.connection(None, self.session)

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
        return self._shakeHands()

    def _shakeHands(self) -> Event | None:
        """
        The same, once nothing is to be said or heard before it.
        """
        if _detour is not None and (self._isDetoured or self._isMuch()):
            return self._shakeHandsByPieces()
        try:
            if not shakeHands(self._connection):
                return WANTS_READ
        except WantWrite:
            return WANTS_WRITE
        except Exception as error:  # noqa: BLE001
            # Not SSL.Error alone: what a callback of ours raised comes this way too.
            raise self._failure(error) from None
        self._complete()
        return None

    def _isMuch(self) -> bool:
        """
        Whether so much has come that OpenSSL shall not read on by itself.
        """
        waiting = unread(self._sock)
        if self._heard + waiting > LIGHT_BYTES:
            return True
        self._heard += waiting
        return False

    def _shakeHandsByPieces(self) -> Event | None:
        """
        The same, with one piece of what has come, as much of it as OpenSSL takes: what lies behind
        the handshake stays in the socket.
        """
        connection = self._connection
        assert _detour is not None
        leave, comeBack = _detour
        if not self._isDetoured:
            self._isDetoured = True
            leave(connection)
        count = self._layPiece() if self._hears else 0
        self._hears = True
        try:
            isDone = shakeHands(connection)
        except Exception as error:  # noqa: BLE001 - as above
            # Nobody reads what is left of it, and something else lies there soon.
            _lay(connection, 0, True)
            self._sayLast()
            raise self._failure(error) from None
        if count:
            self._drop(count - _left(connection))
        if not isDone:
            # Something else lies there soon.
            _lay(connection, 0, self._isTooLong)
            if self._isTooLong:
                raise self._refuseLength()
        self._before = self._drained()
        if isDone:
            comeBack(connection, self._sock.fileno())
            self._isDetoured = False
        if self._before and not (isDone and self._mayWait) and not self._sendBefore():
            return WANTS_WRITE
        if not isDone:
            return WANTS_READ
        self._complete()
        return None

    def _layPiece(self) -> int:
        """
        Let OpenSSL have the next piece of what has come.

        @return: its length, in bytes.
        """
        try:
            count = self._sock.recv_into(_PIECE, self._piece(), PEEKING)
            isEnd = not count
        except OSError as error:
            if error.errno not in RETRIED:
                raise self._gone(error) from None
            count, isEnd = 0, False
        _lay(self._connection, count, isEnd)
        return count

    def _gone(self, error: OSError) -> TunnelError:
        """
        What it means that the socket is no more: as where OpenSSL has found that.
        """
        return self._failure(SysCallError(error.errno or 0, error.strerror))

    def _failure(self, error: Exception) -> TunnelError:
        """
        Why the handshake has failed.
        """
        if not isinstance(error, SysCallError):
            # TLS, and not the connection alone.
            self._creator.failed(self.session)
        return handshakeFailure(error, self.session)

    @property
    def _mayWait(self) -> bool:
        """
        Whether what OpenSSL has to say at the end of the handshake can be sent later: until TLS 1.3
        the handshake itself ends with it.
        """
        return self.isQuiet and self._connection.get_protocol_version() >= VERSIONS["1.3"]

    def _drop(self, count: int) -> None:
        """
        Take from the socket what OpenSSL has taken of what lies there.
        """
        self._heard += count
        if count:
            # Where it is gone, so is the connection, as OpenSSL will see.
            with suppress(OSError):
                self._sock.recv(count, AT_ONCE)

    def _drained(self) -> memoryview:
        """
        What OpenSSL has to say.
        """
        said = b""
        while count := _drain(self._connection):
            said += _PIECE[:count]
            if count < LIGHT_BYTES:
                break
        return memoryview(said)

    @property
    def _most(self) -> int:
        """
        What the peer may say.
        """
        return MOST_OF_SERVER if self._creator.isClient else MOST_OF_CLIENT

    def _piece(self) -> int:
        """
        How much is heard at once: no more than it takes to find that it is too much.
        """
        return min(LIGHT_BYTES, self._most + 1 - self._heard)

    @property
    def _isTooLong(self) -> bool:
        """
        Whether that is more than it may say.
        """
        return self._heard > self._most

    def _refuseLength(self) -> TLSFailed:
        """
        End a handshake that is too long and goes on.

        @return: why.
        """
        # To OpenSSL its input has ended, of which it tells the peer by an alert.
        with suppress(SSLError):
            shakeHands(self._connection)
        self._sayLast()
        return TLSFailed(
            f"the peer's handshake has more than {self._most} bytes", cause="long handshake"
        )

    def _sayLast(self) -> None:
        """
        Send what OpenSSL has to say at the end, as far as the peer takes it.
        """
        self._before = self._drained()
        with suppress(TunnelError):
            self._sendBefore()

    def _complete(self) -> None:
        """
        @raise TunnelError: the peer is not the one that is expected.
        """
        refused = self.session.completed(self._connection)
        if refused is not None:
            raise refused
        self._isUp = True

    def _sendBefore(self) -> bool:
        """
        Send what has to go out in clear.

        @return: whether that is all sent.
        """
        try:
            self._before = self._before[self._sock.send(self._before, AT_ONCE) :]
        except OSError as error:
            if error.errno not in RETRIED:
                raise self._gone(error) from None
        return not self._before

    def _skip(self) -> bool:
        """
        Drop what may be skipped, until something else comes.

        @return: whether that was all there is, or more of it may be.
        """
        try:
            start = self._sock.recv(self._skips, PEEKING)
            rest = start.lstrip(self._skippable)
            if len(rest) < len(start):
                self._skips -= len(self._sock.recv(len(start) - len(rest), AT_ONCE))
        except OSError:
            # OpenSSL will see it too.
            return False
        if rest or not self._skips:
            # What follows, if only more of the same, is for OpenSSL to refuse.
            self._skippable = b""
        return bool(start) and not rest
