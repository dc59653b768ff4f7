"""
Handshakes and records of TLS: what they raise, and the fastest way to do them.

This module knows an C{SSL.Connection}, and nothing of who is at its other end.
"""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL

try:
    from OpenSSL.SSL import _ffi, _lib  # type: ignore[attr-defined]
except ImportError:  # These are not public: see _isKnown.
    _ffi = _lib = None

WantRead = SSL.WantReadError
WantWrite = SSL.WantWriteError
CleanEnd = SSL.ZeroReturnError
SSLError = SSL.Error
SysCallError = SSL.SysCallError
SENT_SHUTDOWN = SSL.SENT_SHUTDOWN

#: The most plaintext of one TLS record (RFC 8446, section 5.1).
RECORD_BYTES = 16384


# What OpenSSL is called by directly, where that is what we know it to be.
_CALLED = (
    "SSL_do_handshake",
    "SSL_get_error",
    "SSL_read",
    "SSL_write",
    "SSL_ERROR_WANT_READ",
    "SSL_ERROR_ZERO_RETURN",
)


def _isKnown() -> bool:
    """
    Whether pyOpenSSL's binding, which is not public, has what is used here.
    """
    return hasattr(SSL.Connection, "_raise_ssl_error") and all(
        hasattr(_lib, name) for name in _CALLED
    )


def recordReader(buffer: bytearray) -> Callable[[SSL.Connection, int], int]:
    """
    What decrypts the next record of a connection to an offset of C{buffer}, and gives its size, or
    0 where no whole record is there; it raises what else C{SSL.Connection.recv_into} raises.

    That method allocates a buffer for each record and copies from it, at the price of deciphering
    it once more, and raises an exception wherever there is no more to read.
    """
    if not _isKnown():
        view = memoryview(buffer)

        def public(connection: SSL.Connection, at: int) -> int:
            try:
                return connection.recv_into(view[at : at + RECORD_BYTES])
            except WantRead:
                return 0

        return public
    start = _ffi.from_buffer(buffer)
    read, getError = _lib.SSL_read, _lib.SSL_get_error
    wantRead, zeroReturn = _lib.SSL_ERROR_WANT_READ, _lib.SSL_ERROR_ZERO_RETURN

    def direct(connection: SSL.Connection, at: int) -> int:
        ssl = connection._ssl
        count: int = read(ssl, start + at, RECORD_BYTES)
        if count > 0:
            return count
        error = getError(ssl, count)
        if error == zeroReturn:
            raise CleanEnd
        if error != wantRead:
            connection._raise_ssl_error(ssl, count)
        return 0

    return direct


def recordWriter() -> Callable[[SSL.Connection, bytes | memoryview], int]:
    """
    What encrypts and sends bytes, as C{SSL.Connection.send} does, without looking for an error
    where there is none.
    """
    if not _isKnown():
        return SSL.Connection.send
    write, fromBuffer = _lib.SSL_write, _ffi.from_buffer

    def direct(connection: SSL.Connection, data: bytes | memoryview) -> int:
        ssl = connection._ssl
        count: int = write(ssl, fromBuffer(data), len(data))
        if count <= 0:
            connection._raise_ssl_error(ssl, count)
        return count

    return direct


def handshaker() -> Callable[[SSL.Connection], bool]:
    """
    What goes on with the handshake of a connection, and tells whether it is complete; if not, the
    peer has to say more.  It raises what else C{SSL.Connection.do_handshake} raises.
    """
    if not _isKnown():

        def public(connection: SSL.Connection) -> bool:
            try:
                connection.do_handshake()
            except WantRead:
                return False
            return True

        return public
    shake, getError, wantRead = _lib.SSL_do_handshake, _lib.SSL_get_error, _lib.SSL_ERROR_WANT_READ

    def direct(connection: SSL.Connection) -> bool:
        ssl = connection._ssl
        result: int = shake(ssl)
        if result == 1:
            return True
        if getError(ssl, result) != wantRead:
            connection._raise_ssl_error(ssl, result)
        return False

    return direct
