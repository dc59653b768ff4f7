"""
What may be handed over: one connection, and nothing that only looks like it.

Programs send descriptors, of which nothing is known but their number here.  What is no connection
would be found out later by errors of the system in places where nobody expects them, so it is
looked at first.  It is asked what sort of socket it is, and never what sort of file: a file system
that a program serves need not answer that (L{tlstunnel.local.closing}).

A handed socket is shared with the program, which may keep its own copy, by mistake or with intent.
So it is made non-blocking for both, which does not keep the program from making it block again
(L{tlstunnel.net.sharedwire}).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from tlstunnel.address import Address, UNIXAddress, addressOf
from tlstunnel.local.closing import drop
from tlstunnel.net.kernel import familyOf, typeOf
from tlstunnel.net.unixsocket import ROOM, UNIXSocket, closeEach, descriptorsIn
from tlstunnel.poolservice.refusals import NotConnected

# As plain numbers, as Python has no name for families that it does not know.
# As plain numbers: an Enum costs each time that it is looked at.
_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)
_TRUNCATED, _DROPPED = int(socket.MSG_TRUNC), int(socket.MSG_CTRUNC)

_STREAM, _UNIX = int(socket.SOCK_STREAM), int(socket.AF_UNIX)

_FAMILIES = {int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNIX)}

# Of streams of Internet sockets: TCP, and that over several paths (IPPROTO_MPTCP of linux/in.h).
_PROTOCOLS = {int(socket.IPPROTO_TCP), 262}

_NO_LINGER = struct.pack("ii", 0, 0)

# More than a message may have.
_PIECE_BYTES = 1 << 16

_HAND_OVER = "hand over a connected socket"


class Received(NamedTuple):
    """
    What came with one look at a UNIX socket.

    @ivar data: bytes.
    @ivar descriptors: what came along; ours, so they have to be closed.
    @ivar isCut: whether the message is longer than what there was room for.
    @ivar isShort: whether there were more descriptors than this process may have.
    @ivar isEnd: whether there is nothing, and will not be; where SO_PASSCRED is set, an empty
        message is none.
    """

    data: bytes
    descriptors: list[int]
    isCut: bool
    isShort: bool
    isEnd: bool


def receive(sock: socket.socket, most: int) -> Received:
    """
    Take what has come to C{sock}, C{most} bytes of it.

    @raise OSError: as of C{recvmsg}.
    """
    data, along, flags, _ = sock.recvmsg(most, ROOM, _CLOSE_ON_EXEC)
    return Received(
        data,
        descriptorsIn(along),
        flags & _TRUNCATED != 0,
        flags & _DROPPED != 0,
        not (data or along),
    )


def closeUnheard(sock: socket.socket) -> None:
    """
    Close a UNIX socket that has been accepted, and what has come to it before; that may wait.
    """
    # The system would wait for whatever is set to wait.
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
        got = receive(sock, _PIECE_BYTES)
        # At the end a stream says again and again that nobody has sent nothing (SO_PASSCRED).
        while got.data or got.descriptors:
            closeEach(got.descriptors)
            got = receive(sock, _PIECE_BYTES)
    sock.close()


def connected(
    descriptors: list[int], refuse: Callable[[list[int]], object] = drop
) -> tuple[socket.socket, Address]:
    """
    The connection that was handed over, non-blocking, and its peer.

    @param descriptors: all that came with the message; ours, and empty from now on.
    @param refuse: closes them where they are something else.
    @raise NotConnected: that is so.
    """
    taken = descriptors[:]
    descriptors.clear()
    sock = None
    try:
        if len(taken) != 1:
            count = len(taken) or "none"
            raise NotConnected(f"one descriptor has to come with the message, and not {count}")
        try:
            sock = socket.socket(fileno=taken[0])
        except OSError:
            # Such as a file, or the path of a socket that was opened with O_PATH.
            raise NotConnected(f"the descriptor is not of a socket; {_HAND_OVER}") from None
        peer = _peerOf(sock)
        return (UNIXSocket.of(sock) if isinstance(peer, UNIXAddress) else sock), peer
    except BaseException:
        if sock is not None:
            sock.detach()
        refuse(taken)
        raise


def _peerOf(sock: socket.socket) -> Address:
    """
    Who is at the other end of C{sock}, which will not block.

    @raise NotConnected: nobody, or it is no such socket.
    """
    family = familyOf(sock)
    if family not in _FAMILIES:
        raise NotConnected(f"the socket is neither of TCP nor a UNIX socket; {_HAND_OVER}")
    isStream = typeOf(sock) == _STREAM
    if not isStream or (family != _UNIX and sock.proto not in _PROTOCOLS):
        raise NotConnected(
            "the socket is not one of streams, and there is no DTLS; hand over one of TCP"
        )
    try:
        peer = sock.getpeername()
    except OSError:
        if _listens(sock):
            raise NotConnected("the socket listens; hand over what it has accepted") from None
        raise NotConnected("the socket is not connected, or not any more") from None
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    except OSError as error:
        raise NotConnected(f"the socket cannot be used: {error.strerror}; {_HAND_OVER}") from None
    return addressOf(peer)


def _listens(sock: socket.socket) -> bool:
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False
