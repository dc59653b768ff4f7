"""
The pairs of sockets on which programs get plaintext: one end is for the program, the other is ours.

A UNIX pair is what is cheapest, and nobody else can ever reach it.  It cannot be reset for a
program that has said nothing yet; a pair of TCP on the loopback interface can, and so there is the
choice.  To a socket that listens there others can connect as well, so both ends are compared, and
nobody is listening any more when the pair is there.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tlstunnel.errors import ConnectFailed
from tlstunnel.local.refusals import TooMany
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.kernel import tune
from tlstunnel.poolservice.request import Plain

#: Seconds to make a pair: it takes microseconds, but where somebody connects as fast as he can.
PAIR_SECONDS = 5.0

#: Strangers that may wait to be accepted, and that are sent away in one turn of the reactor.
STRANGERS = 64

#: What a UNIX pair is asked to hold in each direction, as far as the system lets anybody: with
#: less, who carries much has to come back for it many times.
ROOM_BYTES = 524288

# Where the pairs of TCP are.
_LOOPBACK = ("127.0.0.1", 0)


async def pairOf(
    kind: Plain, reactor: Any, deadlines: Deadlines
) -> tuple[socket.socket, socket.socket]:
    """
    Two sockets that are connected to each other: ours, which is non-blocking, and one for a
    program, which is as a socket usually is.

    @raise TunnelError: there can be none.
    """
    try:
        if kind is Plain.UNIX:
            ours, theirs = socket.socketpair()
            for each in (ours, theirs):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM_BYTES)
        else:
            ours, theirs = await _overTCP(reactor, deadlines)
    except OSError as error:
        isMany = error.errno in (errno.EMFILE, errno.ENFILE)
        refused = TooMany if isMany else ConnectFailed
        what = f"there can be no plaintext socket: {error.strerror or error}"
        raise refused(what) from None
    ours.setblocking(False)
    return ours, theirs


async def _overTCP(reactor: Any, deadlines: Deadlines) -> tuple[socket.socket, socket.socket]:
    opened: list[socket.socket] = []
    listening = socket.socket()
    try:
        listening.bind(_LOOPBACK)
        listening.setblocking(False)
        listening.listen(STRANGERS)
        ours = socket.socket()
        opened.append(ours)
        ours.setblocking(False)
        code = ours.connect_ex(listening.getsockname())
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "nothing can be connected on the loopback interface")
        # Before, an address that says nothing was what it had.
        wanted = ours.getsockname()
        theirs = _accept(listening, wanted)
        if theirs is None:
            arrival = _Arrival(reactor, listening, wanted)
            try:
                with deadlines.within(PAIR_SECONDS, "making a pair of TCP", arrival.came.cancel):
                    theirs = await arrival.came
            finally:
                arrival.stopReading()
        opened.append(theirs)
        for each in (ours, theirs):
            tune(each)
        # Where it has that from the socket that listens, as on BSD.
        theirs.setblocking(True)
    except BaseException:
        for each in opened:
            each.close()
        raise
    finally:
        listening.close()
    return ours, theirs


def _accept(listening: socket.socket, wanted: Any) -> socket.socket | None:
    """
    Whoever connects from C{wanted}, if he is there; strangers are sent away.
    """
    for _ in range(STRANGERS):
        try:
            sock, peer = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        if peer == wanted:
            return sock
        sock.close()
    return None


class _Arrival(Descriptor):
    """
    Waits for our own connection to come in.

    @ivar came: fires with it.
    """

    __slots__ = ("_wanted", "came")

    def __init__(self, reactor: Any, listening: socket.socket, wanted: Any) -> None:
        super().__init__(reactor, listening)
        self._wanted = wanted
        self.came: Deferred[socket.socket] = Deferred()
        self.startReading()

    def doRead(self) -> None:
        """
        Somebody is there.
        """
        try:
            sock = _accept(self.sock, self._wanted)
        except OSError:
            self.stopReading()
            self.came.errback(Failure())
            return
        if sock is not None:
            self.stopReading()
            self.came.callback(sock)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor is stopping.
        """
        super().connectionLost(reason)
        if not self.came.called:
            self.came.errback(OSError(errno.ESHUTDOWN, "the service is stopping"))
