"""
Requests and responses in step: what was asked and is not answered yet, and how the tunnel says no.

A request that the backend must not see is answered by the tunnel, in its place: once all that was
asked before is answered, and if the backend has said nothing yet to the request itself.  From then
on nothing is taken from either side, and the connection ends when the client has read that, which
it shows by ending it, or has had the time.

A backend may answer before it has heard all of a request.  Whether it will then skip the rest is
not known: it may take it for a request.  So it is taken from the client, and not passed on, and the
connection ends behind it.  It ends as well behind a body that the backend may not have looked for.

What must never happen: that the tunnel speaks within a response, that the backend hears anything
behind what was refused, or that a response passes that nobody has asked for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from twisted.python.failure import Failure

from tlstunnel.errors import Closed, Oversize, TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.net.deadlines import Deadline, Deadlines

#: The most requests that wait for their response.
MAX_DUE = 64

#: Seconds in which a client may read what it was answered, and the most bytes that it may send
#: meanwhile (RFC 9112, section 9.6).
LINGER_SECONDS = 2.0
MAX_DROPPED_BYTES = 1048576


@dataclass(slots=True)
class Exchange:
    """
    A request and its response.

    @ivar method: that of the request.
    @ivar upgrades: whether it asks for another protocol.
    @ivar isLast: whether nothing passes behind it.
    @ivar isWhole: whether all of it has passed.
    @ivar isWaiting: whether the client may wait for a word of the backend before it sends the body,
        which it does not send if it dislikes that (RFC 9110, section 10.1.1).
    @ivar isAnswered: whether the response has begun.
    @ivar isOver: whether that was the whole response.
    """

    method: bytes
    upgrades: bool
    isLast: bool = False
    isWhole: bool = False
    isWaiting: bool = False
    isAnswered: bool = False
    isOver: bool = False


class Dialogue:
    """
    What both directions of a connection know of each other.

    @ivar due: what is not answered yet, in order.
    @ivar isOver: whether nothing passes any more.
    @ivar isCertain: whether every response so far has said itself where it ends.  One that has no
        body by a rule may have one nevertheless, of a backend that does not know the rule.
    @ivar hasSwitched: whether they speak another protocol, which is not ours to read.
    """

    def __init__(self, client: ILeg, deadlines: Deadlines) -> None:
        self.due: deque[Exchange] = deque()
        self.isOver = False
        self.isCertain = True
        self.hasSwitched = False
        self._client = client
        self._deadlines = deadlines
        # What the client is answered that is refused, and how the connection then ends.
        self._status = b""
        self._error: TunnelError | None = None
        self._linger: Deadline | None = None
        self._hasSpoken = False
        self._dropped = 0

    @property
    def now(self) -> float:
        """
        In seconds.
        """
        return self._deadlines.clock.seconds()

    @property
    def isRefused(self) -> bool:
        """
        Whether nothing more is taken from the client.
        """
        last = self.due[-1] if self.due else None
        isBehind = last is not None and last.isLast and last.isWhole
        return self.isOver or isBehind or self._error is not None

    @property
    def isSwitching(self) -> bool:
        """
        Whether it is for the response to say which protocol the client's next byte belongs to.
        """
        return bool(self.due) and self.due[-1].upgrades

    def begin(self, exchange: Exchange) -> None:
        """
        The head of a request passes.
        """
        self.due.append(exchange)

    def finish(self) -> None:
        """
        The backend has answered all of the first request.
        """
        exchange = self.due.popleft()
        exchange.isOver = True
        isLast = exchange.isLast and exchange.isWhole
        if exchange.isWaiting or isLast or (self._error is not None and not self.due):
            self.part()

    def reject(self, status: bytes, error: TunnelError) -> None:
        """
        What the client says now is not for the backend.

        @param status: what it is answered.
        @param error: how the connection ends.
        """
        self._status, self._error = status, error
        if self.due and not self.due[-1].isWhole:
            # It is about the body of a request that the backend knows of.
            self.due.pop()
        if not self.due:
            self.part()

    def drop(self, count: int) -> None:
        """
        The client has said something more.

        @raise Oversize: it does not stop.
        """
        self._dropped += count
        if self._dropped > MAX_DROPPED_BYTES:
            raise Oversize("the client goes on after it was refused")

    def ended(self) -> None:
        """
        The client has ended its direction.

        @raise TunnelError: how that is to be told, where it was refused.
        """
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._hasSpoken and self._error is not None:
            raise self._error

    # The end

    def part(self) -> None:
        """
        Nothing passes from here on, and what is to be said is said.
        """
        self.isOver = True
        # What was passed on within this turn has to be written first.
        self._deadlines.after(0, self._say)

    def _say(self) -> None:
        """
        Answer, and end our direction; the client may be speaking still.
        """
        client = self._client
        if client.isClosed:
            return
        if self._status:
            client.write(
                b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self._status
            )
        client.loseWriteConnection()
        self._hasSpoken = True
        self._linger = self._deadlines.after(LINGER_SECONDS, self._end)

    def _end(self) -> None:
        """
        The client has had its time.
        """
        self._linger = None
        error = self._error or Closed("the client keeps a connection that is over")
        if not self._client.isClosed:
            self._client.speaker.connectionLost(Failure(error.by(self._client.who)))
