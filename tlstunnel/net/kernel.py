"""
What we tell the system of a socket, and what Linux tells us.

It is asked now and then, and never for each read or write; where it does not tell, as another
system would not, the answer is 0.
"""

from __future__ import annotations

import ctypes
import fcntl
import resource
import socket
import struct
import sys
import termios
from array import array
from functools import lru_cache

# Of the struct tcp_info (tcp(7), linux/tcp.h): its first byte is the state of the connection, at
# 120 is tcpi_bytes_acked.
_TCP_INFO = struct.Struct("=B119xQ")
_TCP_CLOSE = 7

# States in which closing has nothing to wait for: the peer's system has our end.
_ENDED = {5, 6, _TCP_CLOSE}

_INT = struct.Struct("i")
_unread = array("i", [0])

_family = socket.SocketType.family.__get__
_type = socket.SocketType.type.__get__

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


# What macOS calls otherwise, and what a system may not have.
_IDLE = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
_INTERVAL = getattr(socket, "TCP_KEEPINTVL", None)
_COUNT = getattr(socket, "TCP_KEEPCNT", None)

#: How often a peer that says nothing is asked whether it is there; with all answers missing, the
#: last question ends as long after the first as that came after the peer's last word.
KEEPALIVE_PROBES = 4

#: The most seconds of silence that Linux takes (MAX_TCP_KEEPIDLE).
LONGEST_KEEPALIVE = 32767


# What connect(2) is called by, on Linux alone: others give it another meaning, or none.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_ADDRESS_BYTES = 16


def tune(sock: socket.socket, keepAlive: float = 0) -> None:
    """
    Let TCP send what is written at once, as handshakes stall for 40 ms else, and leave an urgent
    byte where it was in the stream, as telnet and ftp mean it.

    @param keepAlive: seconds of silence after which the system asks whether the peer is still
        there; 0 to ask never.
    """
    setOption = sock.setsockopt
    for option in _tuning(keepAlive):
        setOption(*option)


@lru_cache
def _tuning(keepAlive: float) -> tuple[tuple[int, int, int], ...]:
    """
    The options of a socket, each with its level and value.
    """
    options = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1),
    ]
    if keepAlive:
        options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        seconds = max(1, int(keepAlive))
        for name, value in (
            (_IDLE, seconds),
            (_INTERVAL, max(1, seconds // KEEPALIVE_PROBES)),
            (_COUNT, KEEPALIVE_PROBES),
        ):
            if name is not None:
                options.append((socket.IPPROTO_TCP, name, value))
    return tuple(options)


def familyOf(sock: socket.socket) -> int:
    """
    Of which family C{sock} is, as a plain number: C{socket} makes an Enum of it, which costs.
    """
    return int(_family(sock))


def typeOf(sock: socket.socket) -> int:
    """
    Likewise of which type.
    """
    return int(_type(sock))


def descriptorLimit() -> int:
    """
    How many descriptors this process may have.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def resetOnClose(sock: socket.socket) -> None:
    """
    Let the peer see a reset when C{sock} is closed.

    A UNIX socket knows no such option; see L{tlstunnel.net.unixwire}.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError:
        # It is gone already.
        pass


def reset(sock: socket.socket) -> bool:
    """
    End a connection of TCP with a reset, whoever else has its socket: closing says nothing then.
    This is connect(2) to no address at all (AF_UNSPEC), for which C{socket} has no words.

    @return: whether it has ended so; the socket is still to be closed.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not _LIBC:
        return False
    return not _LIBC.connect(sock.fileno(), bytes(_ADDRESS_BYTES), _ADDRESS_BYTES)


def acknowledged(sock: socket.socket) -> int:
    """
    A number that changes as the peer of C{sock} takes what was sent to it.
    """
    info = _tcpInfo(sock)
    return info[1] if info is not None else _queued(sock)


def unacknowledged(sock: socket.socket) -> int:
    """
    Bytes of what the system has taken for C{sock} that the peer's has not, and still may.

    Of a UNIX socket that is the same system: what was sent can be read there also after the end of
    the connection, however that comes about.
    """
    if sock.family == socket.AF_UNIX:
        return 0
    info = _tcpInfo(sock)
    return 0 if info is not None and info[0] == _TCP_CLOSE else _queued(sock)


def hasGone(sock: socket.socket) -> bool:
    """
    Whether closing C{sock}, both directions of which have ended, never waits, whatever SO_LINGER
    says (C{sk_stream_wait_close} in C{net/core/stream.c}).
    """
    info = _tcpInfo(sock)
    return sock.family == socket.AF_UNIX if info is None else info[0] in _ENDED


def _tcpInfo(sock: socket.socket) -> tuple[int, int] | None:
    """
    The state of a TCP connection, and how many bytes its peer has acknowledged.
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return None
    if len(info) < _TCP_INFO.size:
        return None
    state, taken = _TCP_INFO.unpack(info)
    return state, taken


def _queued(sock: socket.socket) -> int:
    """
    Bytes that wait to be acknowledged or, on a UNIX socket, to be read (SIOCOUTQ, which is
    TIOCOUTQ).
    """
    return _asked(sock, termios.TIOCOUTQ)


def unread(sock: socket.socket) -> int:
    """
    Bytes that have arrived on C{sock}, and are not read.
    """
    # Put there, as that is asked in each handshake: what ioctl returns has to be unpacked.
    try:
        fcntl.ioctl(sock.fileno(), termios.FIONREAD, _unread)
    except (OSError, ValueError):
        return 0
    return _unread[0]


def _asked(sock: socket.socket, what: int) -> int:
    try:
        packed = fcntl.ioctl(sock.fileno(), what, b"\0\0\0\0")
    except (OSError, ValueError):
        return 0
    return int(_INT.unpack(packed)[0])
