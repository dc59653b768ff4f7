"""
What is said in clear up to the switch, line by line, for observers that want to know.

There is a L{Transcript} only where one of them does.  It sees what a conversation has read, and
not what still lies in the socket, so that nothing from behind the switch can get into it.
"""

from __future__ import annotations

import re

from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel.errors import QUOTED, quote
from tlstunnel.interfaces import ITranscript
from tlstunnel.tunnel.observers import Observer
from tlstunnel.tunnel.record import Record

#: Lines of one connection that are told; a negotiation has a dozen.
MAX_LINES = 200


# The pieces of what is said: as much of a line, or of a binary message, as a line of the log has.
_PIECES = re.compile(rb"[^\n]{0,%d}\n|[^\n]{%d}" % (QUOTED - 1, QUOTED))


@implementer(ITranscript)
class Transcript:
    """
    The negotiation of one connection.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._lines = 0
        # What has no end yet.
        self._heard = b""

    def received(self, data: bytes) -> None:
        """
        The peer said C{data}; the last line may go on.
        """
        self._heard = self._tell(False, self._heard + data)

    def sent(self, data: bytes) -> None:
        """
        We said C{data}, so that the peer has said what it wanted.
        """
        self.end()
        self._tell(True, data, isWhole=True)

    def end(self, unread: bytes = b"") -> None:
        """
        That was all of the peer's, or all in all.

        @param unread: what has arrived, and nobody has read.
        """
        self._tell(False, self._heard + unread, isWhole=True)
        self._heard = b""

    def _tell(self, isOurs: bool, words: bytes, isWhole: bool = False) -> bytes:
        """
        Tell C{words}, in pieces.

        @return: what is left of them, if they are not the whole.
        """
        at = 0
        for piece in _PIECES.finditer(words):
            if self._lines >= MAX_LINES:
                return b""
            self._lines += 1
            self._record.say(isOurs, piece[0])
            at = piece.end()
        rest = words[at:]
        if not isWhole:
            return rest
        if rest and self._lines < MAX_LINES:
            self._lines += 1
            self._record.say(isOurs, rest)
        return b""


class NegotiationLog(Observer):
    """
    Logs, for those in search of a fault, what is said in clear on the network up to the switch.
    """

    def __init__(self, log: Logger | None = None) -> None:
        """
        @param log: where to; by default a log of our own.
        """
        self._log = Logger(f"{__name__}.{type(self).__name__}") if log is None else log

    def said(self, record: Record, isOurs: bool, words: bytes) -> None:
        """
        One line, or a part of one.
        """
        self._log.debug(
            "{peer}: {dialect}, {direction} {said}",
            event="negotiation",
            log_system=record.tunnel or None,
            tunnel=record.tunnel or None,
            peer=str(record.peer),
            backend=str(record.backend) if record.backend is not None else None,
            dialect=record.dialect,
            direction="sent" if isOurs else "received",
            said=quote(words),
        )
