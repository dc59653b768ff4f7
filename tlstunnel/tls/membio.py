"""
TLS without a socket: OpenSSL takes what arrived from a buffer, and puts what is to be sent into
another one.

As in L{tlstunnel.tls.records}, pyOpenSSL's own methods copy once more, and raise where there is
nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL

try:
    from OpenSSL.SSL import _ffi, _lib  # type: ignore[attr-defined]
except ImportError:  # These are not public.
    _ffi = _lib = None


def _isKnown() -> bool:
    return hasattr(_lib, "BIO_read") and hasattr(_lib, "BIO_write")


def feeder(buffer: bytearray) -> Callable[[SSL.Connection, int], None]:
    """
    What gives a connection the first bytes of C{buffer}, so many of them.
    """
    view = memoryview(buffer)
    if not _isKnown():

        def public(connection: SSL.Connection, count: int) -> None:
            if count:
                connection.bio_write(view[:count])

        return public
    start, write = _ffi.from_buffer(buffer), _lib.BIO_write

    def direct(connection: SSL.Connection, count: int) -> None:
        if count and write(connection._into_ssl, start, count) != count:
            raise MemoryError("OpenSSL has no room for what arrived")

    return direct


def layer(buffer: bytearray) -> Callable[[SSL.Connection, int, bool], None]:
    """
    What lets a connection read the first bytes of C{buffer} where they lie, so many of them, and
    whether that is the end.  What it has not read when they change has to be taken away from it.
    """
    if not (_isKnown() and hasattr(_lib, "SSL_set_bio") and hasattr(_lib, "BIO_new_mem_buf")):
        give = feeder(buffer)

        def copied(connection: SSL.Connection, count: int, isEnd: bool) -> None:
            give(connection, count)
            if isEnd:
                connection.bio_shutdown()

        return copied
    start = _ffi.from_buffer(buffer)
    make, setEnd, give = _lib.BIO_new_mem_buf, _lib.BIO_set_mem_eof_return, _lib.SSL_set_bio

    def direct(connection: SSL.Connection, count: int, isEnd: bool) -> None:
        source = make(start, count)
        if not source:
            raise MemoryError("OpenSSL has no room for what arrived")
        setEnd(source, 0 if isEnd else -1)
        # OpenSSL frees the one before (SSL_set_bio(3)).
        give(connection._ssl, source, connection._from_ssl)
        connection._into_ssl = source

    return direct


def drainer(buffer: bytearray) -> Callable[[SSL.Connection], int]:
    """
    What puts into C{buffer} what a connection has to send, as far as there is room, and gives how
    much that is.
    """
    view, size = memoryview(buffer), len(buffer)
    if not _isKnown():

        def public(connection: SSL.Connection) -> int:
            try:
                found = connection.bio_read(size)
            except SSL.WantReadError:
                return 0
            view[: len(found)] = found
            return len(found)

        return public
    start, read = _ffi.from_buffer(buffer), _lib.BIO_read

    def direct(connection: SSL.Connection) -> int:
        return max(0, int(read(connection._from_ssl, start, size)))

    return direct


def detour() -> (
    tuple[Callable[[SSL.Connection], None], Callable[[SSL.Connection, int], None]] | None
):
    """
    What lets a connection on a socket read and write memory from now on, as one without a socket,
    and what brings it back to the socket's descriptor, once it has neither anything to read nor to
    send there; C{None} where that cannot be done.  What OpenSSL has of a record that is not whole
    it keeps.
    """
    if not (_isKnown() and all(hasattr(_lib, name) for name in _DETOURING)):
        return None

    def leave(connection: SSL.Connection) -> None:
        source, sink = (_lib.BIO_new(_lib.BIO_s_mem()) for _ in range(2))
        if not (source and sink):
            raise MemoryError("OpenSSL has no room for what arrives")
        # OpenSSL takes both, and frees what it had (SSL_set_bio(3)).
        _lib.SSL_set_bio(connection._ssl, source, sink)
        connection._into_ssl, connection._from_ssl = source, sink

    def comeBack(connection: SSL.Connection, descriptor: int) -> None:
        connection._into_ssl = connection._from_ssl = None
        if _lib.SSL_set_fd(connection._ssl, descriptor) != 1:
            raise MemoryError("OpenSSL has no room for a socket")

    return leave, comeBack


_DETOURING = (
    "BIO_get_mem_data",
    "BIO_new",
    "BIO_new_mem_buf",
    "BIO_s_mem",
    "SSL_set_bio",
    "SSL_set_fd",
)


def pending() -> Callable[[SSL.Connection], int]:
    """
    What tells how many bytes a connection was given that it has not read; -1 where it cannot.
    """
    if not (_isKnown() and hasattr(_lib, "BIO_get_mem_data")):
        return lambda connection: -1
    data, find = _ffi.new("char **"), _lib.BIO_get_mem_data

    def direct(connection: SSL.Connection) -> int:
        return int(find(connection._into_ssl, data))

    return direct
