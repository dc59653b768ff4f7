"""
Hiding of capabilities that make no sense inside TLS (section 3 of the rules of the dialects).

In server mode the backend knows nothing of TLS and may offer the upgrade a second time.  A filter
of what the backend says removes the offer from its capability lists; it acts on whole lines, waits
for no more than one, and passes everything from the first line on that it does not expect.  A
filter of what the client says tells it what is asked, and changes nothing.

There are two such pairs.  Where the lines of a list show themselves, as those of a numeric reply,
L{ReplyKeyword} is enough, and a L{Watch} ends it with the first command after which no list is to
be expected.  Where one has to know what was asked, a L{Replies} is told of it by a L{Commands}.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from tlstunnel.protocols.filters import Filter

#: A line of more bytes than this, its end not counted, is no capability.
MAX_LINE_BYTES = 8192


class LineFilter(Filter):
    """
    A filter that sees one whole line after the other.

    @ivar done: whether it has given up, or has done its work.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stopped = False

    def feed(self, data: bytes) -> bytes:
        """
        Pass what L{line} makes of each line that C{data} completes.
        """
        passed = [self.line(line) for line in self.completed(data)]
        if self._stopped:
            self.done = True
            passed.append(self.flush())
        return b"".join(passed)

    def completed(self, data: bytes) -> Iterator[bytes]:
        """
        The lines that C{data} completes, with their ends, until this is stopped; what follows them
        is kept.
        """
        kept = self._kept
        start, searched = 0, len(kept)
        kept += data
        while not self._stopped:
            end = kept.find(b"\n", searched)
            if (end if end >= 0 else len(kept)) - start > MAX_LINE_BYTES:
                self.stop()
            elif end < 0:
                break
            else:
                self.messages += 1
                yield bytes(kept[start : end + 1])
                start = searched = end + 1
        del kept[:start]

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
        self._stopped = True

    @property
    def isStopped(self) -> bool:
        """
        Whether all that follows passes.
        """
        return self._stopped

    def flush(self) -> bytes:
        """
        What was kept back.
        """
        return self.held() + super().flush()


class ReplyKeyword(LineFilter):
    """
    Drops the lines that consist of one of some keywords, whatever follows in them, from numeric
    replies of one code; where the last line is dropped, the one before it becomes the last.
    """

    def __init__(self, code: bytes, *keywords: bytes) -> None:
        super().__init__()
        self._code = code
        self._keywords = frozenset(keywords)
        self._last = b""

    def line(self, line: bytes) -> bytes:
        """
        One line of a reply; one that is not the last is kept until the next one is known.
        """
        if line[:3] != self._code or line[3:4] not in (b"-", b" "):
            return self.held() + line
        words = line[4:].split(None, 1)
        hidden = bool(words) and words[0].upper() in self._keywords
        if line[3:4] == b"-":
            if hidden:
                return b""
            passed, self._last = self._last, line
            return passed
        if not hidden:
            return self.held() + line
        kept = self.held()
        return kept[:3] + b" " + kept[4:] if kept else line

    def held(self) -> bytes:
        """
        The line that was kept back.
        """
        last, self._last = self._last, b""
        return last


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
        for line in self.completed(data):
            self.line(line)
        if self._stopped:
            self._hiding.stop()
            self.done = True
            self._kept.clear()
        return data

    def flush(self) -> bytes:
        """
        Nothing is ever kept back.
        """
        return b""


class Watch(LineWatch):
    """
    Ends a hiding with the first command that is not harmless.
    """

    def __init__(self, hiding: LineFilter, harmless: Iterable[bytes]) -> None:
        """
        @param harmless: the commands, in upper case, after which lists may still come.
        """
        super().__init__(hiding)
        self._harmless = frozenset(harmless)

    def line(self, line: bytes) -> bytes:
        """
        Look at one command.
        """
        words = line.split(None, 1)
        if not words or words[0].upper() not in self._harmless:
            self.stop()
        return line


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
    """

    #: Commands that may await their replies at the same time; a client that sends more has no use
    #: for lists.
    maxAwaited = 64

    def __init__(self, conversing: Iterable[bytes], awaited: Iterable[bytes] = ()) -> None:
        """
        @param conversing: the commands, in upper case, after which the client's lines are no
            commands until the reply has come: those of authentication.
        @param awaited: the commands whose replies come unasked: that of the greeting.
        """
        super().__init__()
        self._conversing = frozenset(conversing)
        self._awaited = deque(awaited)

    @property
    def command(self) -> bytes:
        """
        The command that is answered next, in upper case; empty if there is none.
        """
        return self._awaited[0] if self._awaited else b""

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
        if self._awaited and self._awaited[-1] in self._conversing:
            return
        if len(self._awaited) < self.maxAwaited:
            self._awaited.append(words[0].upper() if words else b"")
        else:
            self.stop()


class DottedLists(OrderedReplies):
    """
    Replies of which some are a list that ends in a line with a dot, from which lines that begin
    with a keyword are dropped.
    """

    def __init__(self, keyword: bytes, conversing: Iterable[bytes]) -> None:
        super().__init__(conversing)
        self._keyword = keyword
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
        elif words and words[0].upper() == self._keyword:
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
