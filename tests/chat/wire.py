"""
A wire without a network: what a peer says, and when, on a test clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tlstunnel.errors import TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.conversation import Conversation

#: The peer ends its direction.
END = object()


class Wire:
    """
    The transport of a conversation.  Bytes that arrive while nobody reads stay in its C{kernel}.

    @ivar sent: all writes, each with the time at which it was made.
    """

    #: As of a leg: a script is all in clear.
    isTLS = False
    who = "the peer"

    def __init__(self, clock: Clock, conversation: Conversation) -> None:
        self.clock = clock
        self.conversation = conversation
        self.kernel = bytearray()
        self.sent: list[tuple[float, bytes]] = []
        self.answers: Callable[[bytes], None] = lambda data: None
        self._producing = False
        conversation.makeConnection(self)

    @property
    def written(self) -> bytes:
        """All that was sent."""
        return b"".join(data for _, data in self.sent)

    def write(self, data: bytes) -> None:
        """As of a transport."""
        self.sent.append((self.clock.seconds(), data))
        self.answers(data)

    def pauseProducing(self) -> None:
        """As of a transport."""
        self._producing = False

    def resumeProducing(self) -> None:
        """As of a transport; what waited comes in a later turn."""
        self._producing = True
        if self.kernel:
            self.clock.callLater(0, self._read)

    def pendingInput(self, count: int) -> bytes:
        """As of a leg: what lies in the socket."""
        return bytes(self.kernel[:count])

    def deliver(self, data: bytes | object) -> None:
        """The peer's bytes arrive, or its end."""
        if isinstance(data, bytes):
            self.kernel += data
            self._read()
        elif data is END:
            self.conversation.readConnectionLost()

    def _read(self) -> None:
        if self._producing and self.kernel:
            data = bytes(self.kernel)
            self.kernel.clear()
            self.conversation.dataReceived(data)

    def later(self, segments: Sequence[tuple[float, bytes | object]]) -> None:
        """Deliver C{segments}, each after its delay in seconds, counted from the one before."""
        at = 0.0
        for delay, data in segments:
            at += delay
            self.clock.callLater(at, self.deliver, data)


def makeConversation() -> tuple[Conversation, Wire, Clock]:
    """A conversation on a wire, with the clock of both."""
    clock = Clock()
    conversation = Conversation(Deadlines(clock))
    return conversation, Wire(clock, conversation), clock


def drive(clock: Clock, running: Deferred[Any], limit: float = 1000.0) -> TunnelError | None:
    """
    Let time pass, from one delayed call to the next, until C{running} has a result.

    @return: its error, if it failed with one of ours.
    @raise AssertionError: if it waits for something that never comes, or beyond C{limit} seconds.
    """
    outcome: list[Any] = []
    running.addBoth(outcome.append)
    while not outcome:
        calls = clock.getDelayedCalls()
        assert calls, "nothing will ever happen"
        now = min(call.getTime() for call in calls)
        assert now <= limit, f"still waiting after {limit} s"
        clock.advance(max(0.0, now - clock.seconds()))
    if isinstance(outcome[0], Failure):
        outcome[0].trap(TunnelError)
        error = outcome[0].value
        assert isinstance(error, TunnelError)
        return error
    return None
