"""
One line a record, for peers that take a record of TLS for a line.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from tlstunnel.net.wire import IWire
from tlstunnel.tls.records import RECORD_BYTES


@implementer(IWire)
class LineWire:
    """
    What another wire is, but that no record has more than one line in it.

    A line that is longer than a record is several; one whose end is still to come is sent without.
    """

    __slots__ = ("_wire",)

    def __init__(self, wire: IWire) -> None:
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def write(self, data: bytes | memoryview) -> int:
        """
        See L{IWire.write}.  What a record was to be made of, and was not taken, is the beginning of
        the next call's, so that the same is made of it again.
        """
        text, view = bytes(data), memoryview(data)
        done = 0
        while done < len(view):
            most = done + RECORD_BYTES
            line = view[done : text.find(b"\n", done, most) + 1 or most]
            count = self._wire.write(line)
            done += count
            if count < len(line):
                break
        return done
