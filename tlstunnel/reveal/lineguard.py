"""
A filter of what a client says, line by line, before which nothing passes that was not looked at.

The literals of imap and of sieve pass between the lines, as bytes that are nobody's command.  Where
it is not certain whether the backend takes something for a command or for a literal, the connection
ends: whoever makes the two of us disagree could say what only we may say.  What a client says has
passwords in it, so that no error has its words.
"""

from __future__ import annotations

from tlstunnel.errors import Malformed, Oversize
from tlstunnel.protocols.conversation import isBroken
from tlstunnel.protocols.filters import Filter

#: The longest line, and the longest literal, of somebody who is not logged in.
MAX_LINE_BYTES = 16384
MAX_LITERAL_BYTES = 4096

#: What no server knows, in the place of what only we say: it refuses it, in order.
REFUSED = b"XREFUSED\r\n"


class LineGuard(Filter):
    """
    Sees one whole line after the other, until it is done.

    @ivar isHeld: whether nothing may come before the backend has answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.isHeld = False
        self._literal = 0

    def feed(self, data: bytes) -> bytes:
        """
        Pass what L{line} makes of the lines that C{data} completes, and literals.
        """
        kept = self._kept
        start, searched = 0, len(kept)
        kept += data
        passed: list[bytes] = []
        while not self.done and start < len(kept):
            if self.isHeld:
                raise Malformed("the peer goes on before it is told to")
            if self._literal:
                content = bytes(kept[start : start + self._literal])
                self._literal -= len(content)
                start += len(content)
                passed.append(self.content(content))
                continue
            end = kept.find(b"\n", max(searched, start)) + 1
            if (end or len(kept)) - start > MAX_LINE_BYTES:
                raise Oversize(f"a line of more than {MAX_LINE_BYTES} bytes before a login")
            if not end:
                break
            line = bytes(kept[start:end])
            start = end
            self.messages += 1
            if isBroken(line):
                raise Malformed("a bare CR or a NUL in a line before a login")
            passed.append(self.line(line))
        del kept[:start]
        return b"".join(passed)

    def line(self, line: bytes) -> bytes:
        """
        What is to be passed on for C{line}, which has its end.

        @raise TunnelError: it must not be said.
        """
        raise NotImplementedError

    def content(self, content: bytes) -> bytes:
        """
        The same of a part of a literal.
        """
        return content

    def expectLiteral(self, size: int) -> None:
        """
        So many bytes come next that are no line.

        @raise Oversize: these are too many.
        """
        if size > MAX_LITERAL_BYTES:
            raise Oversize(f"a literal of {size} bytes before a login")
        self._literal = size

    def flush(self) -> bytes:
        """
        What was kept back, once this is done; a line without an end was never looked at.
        """
        return super().flush() if self.done else b""


class LineWatch(LineGuard):
    """
    Looks in the same way at what the backend says meanwhile.
    """

    def flush(self) -> bytes:
        """
        The last words need no end.
        """
        return Filter.flush(self)
