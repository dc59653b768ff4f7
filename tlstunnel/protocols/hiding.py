"""
Hiding of capabilities that make no sense inside TLS (section 3 of the rules of the dialects).

In server mode the backend knows nothing of TLS and may offer the upgrade a second time.  A filter
of what the backend says removes the offer from its capability lists; it acts on whole lines, waits
for no more than one, and passes everything from the first line on that it does not expect.  A
filter of what the client says tells it what is asked, and changes nothing.

What a reply is depends on what was asked: a L{Replies} is told of it by a L{Commands}.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from tlstunnel.protocols.filters import Filter

#: A line of more bytes than this, its end not counted, is no capability.
MAX_LINE_BYTES = 8192


class LineFilter(Filter):
    """
    A filter that sees one whole line after the other.

    @ivar done: whether it has given up, or has done its work.
    @ivar isStopped: whether all that follows passes.
    @ivar isResting: whether what follows lies until the next call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.isStopped = self.isResting = False

    def feed(self, data: bytes) -> bytes:
        """
        Pass what L{line} makes of each line that C{data} completes.
        """
        passed = self.lines(data)
        if self.isStopped:
            self.done = True
            passed.append(self.flush())
        return b"".join(passed)

    def lines(self, data: bytes) -> list[bytes]:
        """
        What L{line} makes of the lines that C{data} completes, until this is stopped or rests; what
        follows them is kept.
        """
        kept = self._kept
        # What was let lie was not looked at.
        start, searched = 0, 0 if self.isResting else len(kept)
        self.isResting = False
        kept += data
        passed: list[bytes] = []
        while start < len(kept) and not (self.isStopped or self.isResting):
            end = kept.find(b"\n", searched) + 1
            if (end - 1 if end else len(kept)) - start > MAX_LINE_BYTES:
                self.stop()
            elif not end:
                break
            else:
                self.messages += 1
                passed.append(self.line(bytes(kept[start:end])))
                start = searched = end
        del kept[:start]
        return passed

    def line(self, line: bytes) -> bytes:
        """
        What is to be passed on for C{line}, which has its end.
        """
        return line

    def held(self) -> bytes:
        """
        What L{line} has kept back, which is due now.
        """
        return b""

    def stop(self) -> None:
        """
        Pass all that follows.
        """
        self.isStopped = True

    def flush(self) -> bytes:
        """
        What was kept back.
        """
        return self.held() + super().flush()


class LineWatch(LineFilter):
    """
    Sees the client's lines, which pass at once and unchanged, for the sake of a hiding; where one
    of the two gives up, so does the other.
    """

    def __init__(self, hiding: LineFilter) -> None:
        super().__init__()
        self._hiding = hiding

    def feed(self, data: bytes) -> bytes:
        """
        Pass C{data}, and look at the lines it completes.
        """
        if self._hiding.isStopped:
            self.stop()
        self.lines(data)
        if self.isStopped:
            self._hiding.stop()
            self.done = True
            self._kept.clear()
        return data

    def flush(self) -> bytes:
        """
        Nothing is ever kept back.
        """
        return b""


class Replies(LineFilter):
    """
    What the backend says, to be understood with what the client asked.
    """

    def asked(self, words: list[bytes]) -> None:
        """
        The client sent a line.

        @param words: its first two words, and the rest.
        """


class OrderedReplies(Replies):
    """
    Replies that come in the order of their commands.

    @cvar conversing: the command, in upper case, after which the client's lines are no commands
        until the reply has come: that of authentication, if there is one.
    @cvar unasked: the commands whose replies come unasked: that of the greeting.
    """

    #: Commands that may await their replies at the same time; a client that sends more has no use
    #: for lists.
    maxAwaited = 64

    conversing: ClassVar[bytes | None] = None
    unasked: ClassVar[tuple[bytes, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self._awaited = deque(self.unasked)

    @property
    def command(self) -> bytes:
        """
        The command that is answered next, in upper case; empty if there is none.
        """
        return self._awaited[0] if self._awaited else b""

    @property
    def isConversing(self) -> bool:
        """
        Whether what the client says is no command.
        """
        return bool(self._awaited) and self._awaited[-1] == self.conversing

    def answered(self) -> None:
        """
        The reply to L{command} is complete.
        """
        if self._awaited:
            self._awaited.popleft()

    def asked(self, words: list[bytes]) -> None:
        """
        Await a reply.
        """
        awaited = self._awaited
        if awaited and awaited[-1] == self.conversing:
            return
        if len(awaited) < self.maxAwaited:
            awaited.append(words[0].upper() if words else b"")
        else:
            self.stop()


class NumericLists(OrderedReplies):
    """
    Numeric replies, of which some are a list with a line for each item, from which lines that begin
    with a keyword are dropped; where the last line is, the one before it becomes the last.

    @cvar code: the code of such lists.
    @cvar keyword: that keyword, in upper case.
    @cvar listing: the commands, in upper case, that they answer.
    """

    code: ClassVar[bytes]
    keyword: ClassVar[bytes]
    listing: ClassVar[tuple[bytes, ...]]

    def __init__(self) -> None:
        super().__init__()
        self._last = b""

    def line(self, line: bytes) -> bytes:
        """
        One line of a reply.
        """
        code, mark = line[:3], line[3:4]
        if not code.isdigit() or mark not in (b"-", b" ", b"\r", b"\n"):
            self.stop()
            return self.held() + line
        awaited = self._awaited
        isItem = code == self.code and bool(awaited) and awaited[0] in self.listing
        passed = self._item(line, mark == b"-") if isItem else self.held() + line
        if mark != b"-":
            self.status(code)
        return passed

    def _item(self, line: bytes, isFollowed: bool) -> bytes:
        """
        One line of a list; one that is not the last is kept until the next one is known.
        """
        words = line[4:].split(None, 1)
        isHidden = bool(words) and words[0].upper() == self.keyword
        if isFollowed:
            if isHidden:
                return b""
            passed, self._last = self._last, line
            return passed
        if not isHidden:
            return self.held() + line
        kept = self.held()
        return kept[:3] + b" " + kept[4:] if kept else line

    def held(self) -> bytes:
        """
        The line that was kept back.
        """
        last, self._last = self._last, b""
        return last

    def status(self, code: bytes) -> None:
        """
        A reply is complete: say what it is by L{answered} or L{stop}.

        @param code: its code.
        """
        self.stop()


class DottedLists(OrderedReplies):
    """
    Replies of which some are a list that ends in a line with a dot, from which lines that begin
    with a keyword are dropped.

    @cvar keyword: that keyword, in upper case.
    """

    keyword: ClassVar[bytes]

    def __init__(self) -> None:
        super().__init__()
        self._inList = False

    def line(self, line: bytes) -> bytes:
        """
        Nothing, if C{line} is the keyword in a list.
        """
        words = line.split(None, 1)
        if not self._inList:
            self.status(line, words[0].upper() if words else b"")
        elif words == [b"."]:
            self._inList = False
        elif words and words[0].upper() == self.keyword:
            return b""
        return line

    def status(self, line: bytes, code: bytes) -> None:
        """
        A reply begins: say what it is by L{listBegins}, L{answered} or L{stop}.

        @param code: its first word, in upper case.
        """
        self.stop()

    def listBegins(self) -> None:
        """
        What follows is such a list.
        """
        self._inList = True
        self.answered()


class Commands(LineWatch):
    """
    Tells a L{Replies} of each of the client's lines.
    """

    def __init__(self, replies: Replies) -> None:
        super().__init__(replies)
        self._replies = replies

    def line(self, line: bytes) -> bytes:
        """
        One line of the client's.
        """
        self._replies.asked(line.split(None, 2))
        return line
