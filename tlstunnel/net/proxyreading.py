"""
Reading a header of the PROXY protocol from a socket, and not a byte more: what comes behind it is
for others to read, as TLS is for OpenSSL.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from tlstunnel.errors import Closed, Reset, TunnelError
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.proxyheader import FIXED, LONGEST_TEXT, Header, lengthOf, parse
from tlstunnel.net.wire import RETRIED, describe


class HeaderReader(Descriptor):
    """
    Reads one header.

    All that a look finds of it is taken out of the socket at once, so that the next look finds
    something new, or is not called.
    """

    __slots__ = ("_data", "_done")

    def __init__(
        self, reactor: Any, sock: socket.socket, done: Callable[[Header | TunnelError], object]
    ) -> None:
        """
        @param sock: connected and non-blocking; it stays the caller's.
        @param done: called once, with the header, or with why there is none.
        """
        super().__init__(reactor, sock)
        self._data = b""
        self._done: Callable[[Header | TunnelError], object] | None = done

    def start(self) -> None:
        """
        Begin; it may be there already.
        """
        self.doRead()
        if self._done is not None:
            self.startReading()

    def end(self, result: Header | TunnelError) -> None:
        """
        That is what came of it, unless something has before.
        """
        done, self._done = self._done, None
        self.stopReading()
        if done is not None:
            done(result)

    def doRead(self) -> None:
        """
        Take what has arrived of the header.
        """
        try:
            while self._done is not None and self._look():
                pass
        except TunnelError as error:
            self.end(error)
        except OSError as error:
            if error.errno not in RETRIED:
                self.end(Reset(error.strerror or ""))

    def _look(self) -> bool:
        """
        Take some of it.

        @return: whether there may be more.
        """
        data = self._data
        wanted = lengthOf(data) or (LONGEST_TEXT if data[:1] == b"P" else FIXED.size)
        seen = self.sock.recv(wanted - len(data), socket.MSG_PEEK)
        if not seen:
            what = "within" if data else "before"
            raise Closed(f"the peer ended the connection {what} a header of the PROXY protocol")
        length = lengthOf(data + seen)
        taken = min(len(seen), length - len(data)) if length else len(seen)
        self._data = data + self.sock.recv(taken)
        if length == len(self._data):
            self.end(parse(self._data))
        return True

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        super().connectionLost(reason)
        # On a UNIX socket, what was said before it is still there.
        self.doRead()
        if self._done is None:
            return
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.end(Reset(describe(code)))
