"""
TLS whose server is silent behind the handshake, until it has something to say.

In TLS 1.3 a server gives its tickets behind the handshake.  A client that has nothing but to send,
as one that uploads a file by FTP, may close its socket without having read them, and its system
then resets the connection: with what the client had sent, and we had not read yet (RFC 1122,
section 4.2.2.13).  So the tickets wait here, encrypted, and are sent with what comes first behind
them, be it the end.
"""

from __future__ import annotations

from contextlib import suppress

from zope.interface import implementer

from tlstunnel.errors import TunnelError
from tlstunnel.net.tlswire import TLS
from tlstunnel.net.wire import AT_ONCE, RETRIED, Event, IWire

#: Received bytes behind which the tickets wait no longer.  Some clients ask for new keys after some
#: gigabytes, to which OpenSSL has to answer behind them.
MOST_RECEIVED = 1 << 30


@implementer(IWire)
class QuietTLS(TLS):
    """
    TLS, where what the server says behind the handshake is sent with what it says next.
    """

    __slots__ = ()

    isQuiet = True

    def read(self, size: int, isPeeking: bool) -> tuple[memoryview, Event | TunnelError | None]:
        """
        See L{IWire.read}.
        """
        if self._before and self.received > MOST_RECEIVED:
            with suppress(TunnelError):
                # What it means will show.
                self._speak()
        return super().read(size, isPeeking)

    def write(self, data: bytes | memoryview) -> int:
        """
        See L{IWire.write}.
        """
        return super().write(data) if self._speak() else 0

    def end(self) -> bool:
        """
        See L{IWire.end}.
        """
        return self._speak() and super().end()

    def _speak(self) -> bool:
        """
        Send what has waited.

        @return: whether nothing is left of it.
        @raise PeerGone: if the peer takes no more.
        """
        if not self._before:
            return True
        try:
            self._before = self._before[self._sock.send(self._before, AT_ONCE) :]
        except OSError as error:
            if error.errno not in RETRIED:
                raise self.hungUp(error.errno or 0) from None
        return not self._before
