"""
The lines of FTP's control connection, which are looked at one after the other: filters that give
them to whoever knows what to make of them, and know nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable

from tlstunnel.errors import Oversize
from tlstunnel.protocols.filters import PIECE_BYTES
from tlstunnel.protocols.hiding import LineFilter


class Lines(LineFilter):
    """
    Gives each whole line, without its end, to whoever knows what to make of it; what is too long or
    has no end never passes.
    """

    def __init__(self, pass_: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._pass = pass_

    @property
    def pieceBytes(self) -> int:  # type: ignore[override]
        """
        See L{IFilter}.
        """
        return 0 if self.isResting else PIECE_BYTES

    def rest(self, messages: int) -> None:
        """
        Let lie what is behind the line that is looked at, which takes as long as so many others.
        """
        self.messages += messages
        self.isResting = True

    def line(self, line: bytes) -> bytes:
        """
        What is to be passed on for C{line}.
        """
        return self._pass(line[:-2] if line.endswith(b"\r\n") else line[:-1])

    def stop(self) -> None:
        """
        A line is longer than any that is understood.
        """
        raise Oversize("a line of FTP that is too long")

    def flush(self) -> bytes:
        """
        A line without its end is none: who knows what it was to become.
        """
        return b""


class Commands(Lines):
    """
    Of the client's lines: what they are answered at once is sent at once, and not line by line.
    """

    def __init__(self, pass_: Callable[[bytes], bytes], answer: Callable[[], None]) -> None:
        super().__init__(pass_)
        self._sendAnswers = answer

    def feed(self, data: bytes) -> bytes:
        """
        Pass what is for the server, and send the answers to the rest.
        """
        try:
            return super().feed(data)
        finally:
            self._sendAnswers()
