"""
Records of TLS: what reading and writing them raises, and the fastest way to read one.

This module knows an C{SSL.Connection}, and nothing of who is at its other end.
"""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL

try:
    from OpenSSL.SSL import _ffi, _lib  # type: ignore[attr-defined]
except ImportError:  # These are not public: see recordReader.
    _ffi = _lib = None

WantRead = SSL.WantReadError
WantWrite = SSL.WantWriteError
CleanEnd = SSL.ZeroReturnError
SSLError = SSL.Error
SENT_SHUTDOWN = SSL.SENT_SHUTDOWN

#: The most plaintext of one TLS record (RFC 8446, section 5.1).
RECORD_BYTES = 16384


def recordReader(buffer: bytearray) -> Callable[[SSL.Connection, int], int]:
    """
    What decrypts the next record of a connection to an offset of C{buffer}, and gives its size; it
    raises what C{SSL.Connection.recv_into} raises.

    That method allocates a buffer for each record and copies from it, at the price of deciphering
    it once more.  So OpenSSL is called directly where pyOpenSSL's binding is what we know it to be.
    """
    if not (hasattr(_lib, "SSL_read") and hasattr(SSL.Connection, "_raise_ssl_error")):
        view = memoryview(buffer)
        return lambda connection, at: connection.recv_into(view[at : at + RECORD_BYTES])
    start = _ffi.from_buffer(buffer)
    read = _lib.SSL_read

    def direct(connection: SSL.Connection, at: int) -> int:
        ssl = connection._ssl
        count: int = read(ssl, start + at, RECORD_BYTES)
        if count <= 0:
            connection._raise_ssl_error(ssl, count)
        return count

    return direct
