"""
One listening socket: from it to accepted connections.

It accepts until the queue is dry, and stops for a while when the process has no descriptor left, or
as long as whoever it accepts for wants no more.  It knows the socket and the reactor, and nothing
of what becomes of a connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from errno import EAGAIN, ECONNABORTED, EINTR
from typing import Any

from twisted.logger import Logger

from tlstunnel.address import TCPAddress, UNIXAddress, addressOf
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.kernel import tune
from tlstunnel.net.listen import Bound

#: Connections accepted in one turn of the reactor, so that those there are get their turn too.
ACCEPTS_PER_TURN = 32

#: Seconds to the next try when accepting fails, as it does without descriptors.
ACCEPT_RETRY_SECONDS = 1.0


class ListeningPort(Descriptor):
    """
    One listening socket.

    @ivar bound: the socket.
    @ivar address: where it listens, as it came out.
    @ivar name: the same, for the log.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        bound: Bound,
        accepted: Callable[[socket.socket, TCPAddress | UNIXAddress], None],
        keepAlive: float = 0,
        tunnel: str = "",
    ) -> None:
        """
        @param bound: the socket, non-blocking; ours from now on.
        @param accepted: called with each connection, which is non-blocking, and its peer.
        @param keepAlive: see L{tune}.
        @param tunnel: what the log calls the tunnel that it is for, if that has a name.
        """
        super().__init__(reactor, bound.sock)
        self._deadlines = deadlines
        self.bound = bound
        self._accepted = accepted
        self._tunnel = tunnel
        # Plain numbers: an Enum costs each time that it is looked at.
        self._family, self._kind = int(bound.sock.family), int(bound.sock.type)
        if bound.sock.family != socket.AF_UNIX:
            # What is accepted inherits it; the socket may have been another tunnel's.
            bound.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
            tune(bound.sock, keepAlive)
        self._paused = False
        # Connections to accept in the next turn.
        self._accepts = 1
        self._retry: Deadline | None = None
        self.address = addressOf(bound.sock.getsockname())
        self.name = str(self.address)

    def startListening(self) -> None:
        """
        Accept connections from now on.
        """
        self._paused = False
        if self._retry is None:
            self._watch()

    def _watch(self) -> None:
        try:
            self.startReading()
        except OSError as error:
            # The system has no room for one more that is watched.
            self._wait(error)

    def pauseListening(self) -> None:
        """
        Leave connections in the kernel's queue until C{startListening} is called again.
        """
        self._paused = True
        self.stopReading()

    def stopListening(self) -> None:
        """
        Close the socket.
        """
        self.letGo()
        self.bound.close()

    def letGo(self) -> None:
        """
        Leave the socket to somebody else, with the connections that wait in its queue.
        """
        self.pauseListening()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def acceptWaiting(self) -> None:
        """
        Accept now what waits in the queue, as that is reset when the socket is closed; no more than
        in any other turn.
        """
        if not self._paused:
            self._accepts = ACCEPTS_PER_TURN
            self.doRead()

    def doRead(self) -> None:
        """
        Accept what is waiting.
        """
        for _ in range(self._accepts):
            try:
                sock, address = self._accept()
            except OSError as error:
                if error.errno == ECONNABORTED or error.errno == EINTR:
                    continue
                if error.errno != EAGAIN:
                    self._wait(error)
                self._accepts = 1
                return
            sock.setblocking(False)
            try:
                self._accepted(sock, addressOf(address))
            except Exception:  # noqa: BLE001 - else the reactor would give up the port
                self._log.failure(
                    "a connection accepted at {name} failed",
                    tunnel=self._tunnel or None,
                    name=self.name,
                )
            if self._paused:
                return
        # There may be more: asking costs, unless they come faster than one a turn.
        if self._accepts < ACCEPTS_PER_TURN:
            self._accepts *= 2

    def _accept(self) -> tuple[socket.socket, Any]:
        """
        As C{socket.accept} does it, which makes Enums of two numbers for every connection.
        """
        descriptor, address = self.sock._accept()  # type: ignore[attr-defined]
        return socket.socket(self._family, self._kind, 0, descriptor), address

    def _wait(self, error: OSError) -> None:
        """
        Accepting failed: try again later, so that we neither spin nor give up.
        """
        self._log.warn(
            "accepting at {name} failed, trying again in {seconds} s: {error}",
            tunnel=self._tunnel or None,
            name=self.name,
            seconds=ACCEPT_RETRY_SECONDS,
            error=error.strerror,
        )
        self.stopReading()
        self._retry = self._deadlines.after(ACCEPT_RETRY_SECONDS, self._acceptAgain)

    def _acceptAgain(self) -> None:
        self._retry = None
        if not self._paused:
            self._watch()
