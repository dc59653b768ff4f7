"""
The plaintext sockets of programs that speak the TLS Pool's protocol V2: these make them themselves,
and hand over one end.

That is a stream nearly always.  Programs of the TLS Pool itself use SOCK_SEQPACKET, too: there a
piece is read as a whole or lost, so that it gets a wire of its own.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from zope.interface import implementer

from tlstunnel.address import addressOf
from tlstunnel.errors import Closed, Reset, TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.local.closing import closeHanded
from tlstunnel.net.leg import Leg
from tlstunnel.net.unixsocket import ROOM, UNIXSocket, aside, closeEach, descriptorsIn
from tlstunnel.net.wire import AT_ONCE, BUFFER, END, NOTHING, RETRIED, Clear, Event, IWire
from tlstunnel.poolservice.descriptors import connected
from tlstunnel.poolservice.handed import HandedLeg
from tlstunnel.poolservice.refusals import NotConnected
from tlstunnel.poolservice.v2errors import Code, V2Error

if TYPE_CHECKING:
    from tlstunnel.poolservice.handovers import HandOvers

#: The most bytes of one message that we send: a program that reads less at a time loses the rest.
MESSAGE_BYTES = 4096


def plainSocket(descriptor: int, refuse: Callable[[list[int]], object]) -> socket.socket:
    """
    The socket that a program has handed over for plaintext, non-blocking.

    @param descriptor: ours, and gone from now on.
    @param refuse: closes it where it cannot be used.
    @raise V2Error: it cannot be used.
    """
    with suppress(OSError):
        sock = socket.socket(fileno=descriptor)
        if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_SEQPACKET:
            with suppress(OSError):
                sock.getpeername()
                sock.setblocking(False)
                return UNIXSocket.of(sock)
        sock.detach()
    try:
        return connected([descriptor], refuse)[0]
    except NotConnected as error:
        raise V2Error(Code.NO_PLAINTEXT_SOCKET, f"for plaintext: {error.detail}") from None


def legOn(handOvers: HandOvers, sock: socket.socket) -> ILeg:
    """
    The leg on what L{plainSocket} has given.

    @raise Closed: its other end is gone.
    """
    try:
        peer = addressOf(sock.getpeername())
    except OSError:
        closeHanded(sock)
        raise Closed("the program has closed its plaintext socket") from None
    linger = handOvers.linger
    if sock.family != socket.AF_UNIX:
        return HandedLeg(handOvers.reactor, linger, sock, peer)
    if sock.type == socket.SOCK_SEQPACKET:
        return PacketLeg(handOvers.reactor, linger, sock, peer)
    return handOvers.unixLegs.leg(sock, peer)


@implementer(IWire)
class Packets(Clear):
    """
    Clear text in messages, whose bounds mean nothing.
    """

    __slots__ = ()

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        # An empty message is no end: who has sent it comes along.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def read(self, size: int, isPeeking: bool) -> tuple[memoryview, Event | TunnelError | None]:
        """
        See L{IWire.read}; one message, however long, as what is not read of it is lost.
        """
        if isPeeking:
            return super().read(size, isPeeking)
        try:
            count, along, flags, _ = self._sock.recvmsg_into([BUFFER], ROOM, AT_ONCE)
        except OSError as error:
            return NOTHING, None if error.errno in RETRIED else Reset(error.strerror or "")
        descriptors = descriptorsIn(along)
        if descriptors:
            aside(lambda: closeEach(descriptors))
            return NOTHING, Reset("descriptors came along, which nobody wants")
        if flags & socket.MSG_TRUNC:
            return NOTHING, Reset("a message was longer than what is read at once")
        self.received += count
        return BUFFER[:count], None if count or along else END

    def write(self, data: bytes | memoryview) -> int:
        """
        See L{IWire.write}; one message.
        """
        try:
            count = self._sock.send(data[:MESSAGE_BYTES], socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno in RETRIED:
                return 0
            raise self.hungUp(error.errno or 0) from None
        self.sent += count
        return count


class PacketLeg(Leg):
    """
    A leg whose socket has messages.
    """

    __slots__ = ()

    def __init__(self, *of: object) -> None:
        super().__init__(*of)  # type: ignore[arg-type]
        self._wire = Packets(self.sock)
