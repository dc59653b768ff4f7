"""
Ends of a direction, filters and turns of a reactor, for tests.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tlstunnel.protocols.hiding import LineFilter
from tlstunnel.testing.legs import MemoryLeg


class Turns(Clock):
    """
    A clock on which one turn of the reactor after the other can be done.
    """

    def turn(self) -> None:
        """
        Do what is due now, and nothing of what that leaves for the next turn.
        """
        due, self.calls = self.calls, []
        for call in due:
            call.func(*call.args, **call.kw)


class Direction:
    """
    Stands for a direction of a relay.

    @ivar told: what it was told.
    """

    def __init__(self) -> None:
        self.source = MemoryLeg()
        self.sink = MemoryLeg()
        self.ended = False
        self.told: list[str] = []

    def dataReceived(self, data: bytes | memoryview) -> None:
        """
        Pass C{data} on.
        """
        self.sink.write(data)

    def readConnectionLost(self) -> None:
        """
        The clean end.
        """
        self.told.append("end")

    def writeConnectionLost(self) -> None:
        """
        The source's output.
        """
        self.told.append("output")

    def connectionLost(self, reason: Failure) -> None:
        """
        The loss.
        """
        self.told.append(type(reason.value).__name__)


class Upper(LineFilter):
    """
    Changes each line, until one that is empty.
    """

    def line(self, line: bytes) -> bytes:
        """
        A line.
        """
        if line == b"\n":
            self.stop()
        return line.upper()
