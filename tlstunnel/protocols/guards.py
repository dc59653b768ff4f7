"""
Filters that hold in every dialect: who may speak first inside TLS (rule 10), and that an app does
not start TLS itself (rule 13).
"""

from __future__ import annotations

from collections.abc import Callable

from tlstunnel.errors import Farewell, ForeignProtocol, ServerSpokeFirst, TunnelError
from tlstunnel.net.deadlines import Deadline
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.foreign import startsTLS

#: The longest farewell, in bytes.
MAX_FAREWELL_BYTES = 4096

# A line or a tag has so many bytes or more, as a rule: all of them are looked at whenever something
# is added to a farewell.
_MESSAGE_BYTES = 8


def spokeFirst(said: bytes) -> ServerSpokeFirst:
    """
    What it is that a server says C{said} before it was asked anything (rule 10).
    """
    return ServerSpokeFirst("inside TLS the server spoke before the app", said)


def tookLeave(said: bytes) -> Farewell:
    """
    What it is that a server says C{said}, which is a farewell.
    """
    return Farewell("the server took its leave before the app had spoken", said)


class SilenceBeforeApp(Filter):
    """
    Lets nothing pass from the server before the app has spoken, but a farewell, which ends both
    legs (rule 10).
    """

    def __init__(
        self, isFarewell: Callable[[bytes], bool | None], end: Callable[[TunnelError], object]
    ) -> None:
        """
        @param isFarewell: see L{tlstunnel.protocols.base.ClientRole.isFarewell}.
        @param end: called where it is one; ends the connection in a turn of its own.
        """
        super().__init__()
        self._isFarewell = isFarewell
        self._end = end

    def lift(self) -> None:
        """
        The app has spoken; a farewell that the server has begun before is still to be one.
        """
        self.done = not self._kept

    def feed(self, data: bytes) -> bytes:
        """
        The server spoke: a violation, unless the app did before, or this is a farewell.
        """
        if self.done:
            return data
        self._kept += data
        said = bytes(self._kept)
        self.messages += 1 + len(said) // _MESSAGE_BYTES
        parting = len(said) <= MAX_FAREWELL_BYTES and self._isFarewell(said)
        if parting is False:
            raise spokeFirst(said)
        if parting is None:
            return b""
        self._end(tookLeave(said))
        return super().flush()

    def flush(self) -> bytes:
        """
        The end: a farewell that is not whole is none.
        """
        if self._kept:
            raise spokeFirst(bytes(self._kept))
        return b""


class Greeted(Filter):
    """
    Ends the wait for a server that has to speak first (rule 10): one that does not was asked in
    clear already, by somebody on the way, and waits for a command.
    """

    def __init__(self, due: Deadline) -> None:
        super().__init__()
        self._due = due

    def feed(self, data: bytes) -> bytes:
        """
        The server greets.
        """
        self._due.cancel()
        self.done = True
        return data


class AppSpeaks(Filter):
    """
    The app's first bytes: they must not be TLS (rule 13).

    @ivar silence: what they lift, if the server must be silent before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.silence: SilenceBeforeApp | None = None

    def feed(self, data: bytes) -> bytes:
        """
        The app speaks.
        """
        if self.silence is not None:
            self.silence.lift()
        start = self.flush() + data if self._kept else data
        isTLS = startsTLS(start)
        if isTLS is None:
            self._kept += start
            return b""
        if isTLS:
            raise ForeignProtocol(
                "the peer starts TLS itself: let it leave that to the tunnel",
                start,
            )
        self.done = True
        return start
