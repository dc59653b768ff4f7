"""
Filters that hold in every dialect: who may speak first inside TLS (rule 10), and that an app does
not start TLS itself (rule 13).
"""

from __future__ import annotations

from tlstunnel.errors import ForeignProtocol, ServerSpokeFirst
from tlstunnel.net.deadlines import Deadline
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.foreign import startsTLS


class SilenceBeforeApp(Filter):
    """
    Lets nothing pass from the server before the app has spoken (rule 10).
    """

    def feed(self, data: bytes) -> bytes:
        """
        The server spoke: a violation unless the app did before.
        """
        if self.done:
            return data
        raise ServerSpokeFirst("inside TLS the server spoke before the app", data)


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
            self.silence.done = True
        self._kept += data
        start = bytes(self._kept)
        isTLS = startsTLS(start)
        if isTLS is None:
            return b""
        if isTLS:
            raise ForeignProtocol(
                "the app starts TLS itself: let it speak its protocol in clear to the tunnel",
                start,
            )
        self.done = True
        return self.flush()
