"""
Filters that hold in every dialect: who may speak first inside TLS (rule 10), and that an app does
not start TLS itself (rule 13).
"""

from __future__ import annotations

from zope.interface import implementer

from tlstunnel.errors import ForeignProtocol, ServerSpokeFirst
from tlstunnel.interfaces import IFilter
from tlstunnel.net.deadlines import Deadline
from tlstunnel.protocols.foreign import startsTLS


@implementer(IFilter)
class SilenceBeforeApp:
    """
    Lets nothing pass from the server before the app has spoken (rule 10).
    """

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """
        The server spoke: a violation unless the app did before.
        """
        if self.done:
            return data
        raise ServerSpokeFirst("inside TLS the server spoke before the app", data)

    def flush(self) -> bytes:
        """
        Nothing is kept back.
        """
        return b""


@implementer(IFilter)
class Greeted:
    """
    Ends the wait for a server that has to speak first (rule 10): one that does not was asked in
    clear already, by somebody on the way, and waits for a command.
    """

    def __init__(self, due: Deadline) -> None:
        self.done = False
        self._due = due

    def feed(self, data: bytes) -> bytes:
        """
        The server greets.
        """
        self._due.cancel()
        self.done = True
        return data

    def flush(self) -> bytes:
        """
        Nothing is kept back.
        """
        return b""


@implementer(IFilter)
class AppSpeaks:
    """
    The app's first bytes: they lift a L{SilenceBeforeApp}, and must not be TLS (rule 13).
    """

    def __init__(self, silence: SilenceBeforeApp | None = None) -> None:
        self.done = False
        self._silence = silence
        self._start = b""

    def feed(self, data: bytes) -> bytes:
        """
        The app speaks.
        """
        if self._silence is not None:
            self._silence.done = True
        self._start += data
        isTLS = startsTLS(self._start)
        if isTLS is None:
            return b""
        if isTLS:
            raise ForeignProtocol(
                "the app starts TLS itself: let it speak its protocol in clear to the tunnel",
                self._start,
            )
        self.done = True
        return self.flush()

    def flush(self) -> bytes:
        """
        The bytes looked at.
        """
        start, self._start = self._start, b""
        return start
