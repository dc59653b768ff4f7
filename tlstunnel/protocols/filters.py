"""
What the filters of the dialects have in common.

A filter sees what flows in one direction of the relay, in pieces of any size, until it is done.
How much of it is looked at in one turn of the reactor is decided in L{tlstunnel.tunnel.filtering};
a filter only counts its messages, and knows nothing of legs and turns.
"""

from __future__ import annotations

from zope.interface import implementer

from tlstunnel.interfaces import IFilter

#: Bytes that a filter takes at once where each of them may be a message: by so many a turn of the
#: reactor may exceed its budget.
PIECE_BYTES = 128


@implementer(IFilter)
class Filter:
    """
    A filter that passes everything; subclasses have another C{feed}.

    It must be linear in its input: a message is taken from what arrived by its place, so that what
    follows it is not copied or searched again.

    @ivar done: see L{IFilter}.
    @ivar messages: see L{IFilter}.
    @ivar pieceBytes: see L{IFilter}.
    """

    pieceBytes = PIECE_BYTES

    def __init__(self) -> None:
        self.done = False
        self.messages = 0
        #: What arrived, and cannot be judged yet.
        self._kept = bytearray()

    def feed(self, data: bytes) -> bytes:
        """
        Take what arrived; see L{IFilter.feed}.
        """
        return data

    def _takeKept(self, most: int) -> bytearray:
        """
        What was kept back first, so many bytes at most.
        """
        taken = self._kept[:most]
        del self._kept[:most]
        return taken

    def flush(self) -> bytes:
        """
        What was kept back, once.
        """
        kept = bytes(self._kept)
        self._kept.clear()
        return kept
