"""
A look at the name that a client asks for, which leaves its hello where it was: it is for OpenSSL.

Half a hello would keep the socket ready to be read, and what lies behind it can only be seen by
looking again: so the socket is not watched any more once something has arrived, and is looked at
after pauses that grow.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tlstunnel.errors import Closed, ForeignProtocol, Reset, TunnelError
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.tls.clienthello import MOST_HELLO_BYTES, Incomplete, NoHello, serverName

#: Seconds from one look to the next, at first and at most.
FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.64


class Peek(Descriptor):
    """
    Waits for the hello of a client.

    @ivar found: fires with the name; or fails with a L{TunnelError}.
    """

    def __init__(self, reactor: Any, deadlines: Deadlines, sock: socket.socket) -> None:
        """
        @param sock: non-blocking; it stays the caller's.
        """
        super().__init__(reactor, sock)
        self._deadlines = deadlines
        self._pause = FIRST_PAUSE_SECONDS
        self._next: Deadline | None = None
        self.found: Deferred[bytes] = Deferred(lambda _: self._stop())

    def start(self) -> None:
        """
        Look when there is something to see; cancel C{found} to stop that.
        """
        self.startReading()

    def doRead(self) -> None:
        """
        There is something, or the end.
        """
        try:
            data = self._look()
            self._finish(serverName(data))
        except (BlockingIOError, InterruptedError):
            return
        except Incomplete:
            if len(data) < MOST_HELLO_BYTES:
                self._lookAgain()
            else:
                self._finish(ForeignProtocol("the hello of the client has no end"))
        except NoHello:
            self._finish(ForeignProtocol("the client does not begin with TLS"))
        except OSError as error:
            self._finish(Reset(error.strerror or ""))
        except TunnelError as error:
            self._finish(error)

    def _look(self) -> bytes:
        # The program can let the socket block, as it may have a copy.
        data = self.sock.recv(MOST_HELLO_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        if not data:
            raise Closed("the client closed the connection before TLS")
        return data

    def _lookAgain(self) -> None:
        self.stopReading()
        self._next = self._deadlines.after(self._pause, self.doRead)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        super().connectionLost(reason)
        self._finish(Closed("the client closed the connection before TLS"))

    def _finish(self, result: bytes | TunnelError) -> None:
        self._stop()
        if self.found.called:
            return
        if isinstance(result, bytes):
            self.found.callback(result)
        else:
            self.found.errback(result)

    def _stop(self) -> None:
        self.stopReading()
        if self._next is not None:
            self._next.cancel()
            self._next = None
