"""
What is said to a proxy before it is a connection to somebody else: bytes in, bytes out, and no
socket.

How a proxy is asked is a L{Story}, a generator that says something and waits for a number of bytes,
or for a line.  An L{Exchange} tells it.  It takes of what has arrived what belongs to the answers,
and not a byte more: behind them the far end may speak already, as servers do that greet.
"""

from __future__ import annotations

from collections.abc import Generator

from tlstunnel.errors import ConnectFailed, quote

#: What to wait for, instead of a number of bytes: all up to an LF, and with it.
LINE = 0

#: Bytes and lines of all answers together at most; none was seen that comes near them.
MOST_BYTES = 16384
MOST_LINES = 1000

#: Gives what to say, and how many bytes to wait for then; is sent those.  It returns once the proxy
#: has connected, and raises L{ConnectFailed} if it has not.
Story = Generator[tuple[bytes, int], bytes, None]


class Exchange:
    """
    One story, told.

    @ivar unsent: what is to be said to the proxy; whoever sends it, takes it away.
    @ivar isOver: whether the proxy has connected; what comes now is from the far end.
    """

    def __init__(self, story: Story) -> None:
        self.unsent = b""
        self.isOver = False
        self._story = story
        self._got = b""
        self._taken = 0
        self._lines = 0
        say, self._wanted = next(story)
        self.unsent += say

    def take(self, data: bytes) -> int:
        """
        Take what belongs to the answers of the proxy.

        @param data: what has arrived, cut anywhere.
        @return: how many bytes of it were taken; the others are for somebody else.
        @raise ConnectFailed: the proxy does not connect, or is no such proxy.
        """
        at = 0
        while at < len(data) and not self.isOver:
            end = self._endOfPiece(data, at)
            self._got += data[at:end]
            self._taken += end - at
            at = end
            if self._isWhole:
                self._goOn()
            if not self.isOver:
                self._checkLength()
        return at

    def _checkLength(self) -> None:
        if self._taken >= MOST_BYTES:
            much = f"{MOST_BYTES} bytes"
        elif self._lines >= MOST_LINES:
            much = f"{MOST_LINES} lines"
        else:
            return
        raise ConnectFailed(
            f"the proxy says more than {much} and does not connect", cause="proxy broken"
        )

    def _endOfPiece(self, data: bytes, at: int) -> int:
        if self._wanted == LINE:
            end = data.find(b"\n", at) + 1 or len(data)
        else:
            end = min(len(data), at + self._wanted - len(self._got))
        return min(end, at + MOST_BYTES - self._taken)

    @property
    def _isWhole(self) -> bool:
        if self._wanted == LINE:
            return self._got.endswith(b"\n")
        return len(self._got) == self._wanted

    def _goOn(self) -> None:
        got, self._got = self._got, b""
        self._lines += self._wanted == LINE
        try:
            say, self._wanted = self._story.send(got)
        except StopIteration:
            self.isOver = True
        else:
            self.unsent += say

    def ended(self) -> ConnectFailed:
        """
        The proxy has ended the connection.

        @return: what that means.
        """
        if self._got:
            detail = f"the proxy ended the connection within an answer, {quote(self._got)}"
        elif self._taken:
            detail = "the proxy ended the connection between two answers"
        else:
            detail = "the proxy ended the connection without an answer"
        return ConnectFailed(detail, cause="proxy mute")


def notThis(said: bytes, expected: str) -> ConnectFailed:
    """
    What it means that the answer of a proxy begins with C{said}.

    @param expected: what it should speak: C{http} or C{socks5}.
    """
    first = said[:1]
    if first == b"H" and expected != "http":
        return ConnectFailed("the proxy speaks HTTP, and not SOCKS", cause="proxy speaks http")
    if first == b"\5" and expected != "socks5":
        return ConnectFailed("the proxy speaks SOCKS, and not HTTP", cause="proxy speaks socks5")
    if first in (b"\x15", b"\x16"):
        return ConnectFailed("the proxy speaks TLS", cause="proxy speaks TLS")
    name = {"http": "HTTP", "socks5": "SOCKS 5"}[expected]
    return ConnectFailed(f"the proxy says {quote(said)}, which is not {name}", cause="proxy broken")
