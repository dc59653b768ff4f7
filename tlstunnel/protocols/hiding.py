"""
Hiding of capabilities that make no sense inside TLS (section 3 of the rules of the dialects).

In server mode the backend knows nothing of TLS and may offer the upgrade a second time.  A
L{Hiding} removes the offer from its capability lists; it acts on whole lines, waits for no more
than one, and passes everything from the first line on that it does not expect.  A L{Watch} on the
other direction ends it with the first command after which no list is to be expected.
"""

from __future__ import annotations

from collections.abc import Iterable

from zope.interface import implementer

from tlstunnel.interfaces import IFilter

#: A line longer than this is no capability.
LONGEST = 8192


@implementer(IFilter)
class LineFilter:
    """
    A filter that sees one whole line after the other.

    @ivar done: whether it has given up, or has done its work.
    """

    def __init__(self) -> None:
        self.done = False
        self._stopped = False
        self._partial = b""

    def feed(self, data: bytes) -> bytes:
        """
        Pass what L{line} makes of each line that C{data} completes.
        """
        data = self._partial + data
        self._partial = b""
        passed = b""
        while data and not self._stopped:
            line, end, rest = data.partition(b"\n")
            if not end:
                if len(data) <= LONGEST:
                    self._partial = data
                    return passed
                self.stop()
                break
            data = rest
            passed += self.line(line + end)
        if self._stopped:
            self.done = True
            passed += self.held() + data
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
        self._stopped = True

    def flush(self) -> bytes:
        """
        What was kept back.
        """
        partial, self._partial = self._partial, b""
        return self.held() + partial


class Hiding(LineFilter):
    """
    Drops the lines that consist of one of some keywords, whatever follows in them.
    """

    def __init__(self, *keywords: bytes) -> None:
        super().__init__()
        self._keywords = frozenset(keywords)

    def line(self, line: bytes) -> bytes:
        """
        Nothing, if C{line} is one of the keywords.
        """
        words = line.split(None, 1)
        return b"" if words and words[0].upper() in self._keywords else line


class ReplyKeyword(Hiding):
    """
    Drops such lines from numeric replies of one code; where the last line is dropped, the one
    before it becomes the last.
    """

    def __init__(self, code: bytes, *keywords: bytes) -> None:
        super().__init__(*keywords)
        self._code = code
        self._kept = b""

    def line(self, line: bytes) -> bytes:
        """
        One line of a reply; one that is not the last is kept until the next one is known.
        """
        if line[:3] != self._code or line[3:4] not in (b"-", b" "):
            return self.held() + line
        hidden = not super().line(line[4:])
        if line[3:4] == b"-":
            if hidden:
                return b""
            passed, self._kept = self._kept, line
            return passed
        if not hidden:
            return self.held() + line
        kept = self.held()
        return kept[:3] + b" " + kept[4:] if kept else line

    def held(self) -> bytes:
        """
        The line that was kept back.
        """
        kept, self._kept = self._kept, b""
        return kept


class Watch(LineFilter):
    """
    Watches the client's commands, unchanged, and ends a hiding with the first one that is not
    harmless.
    """

    def __init__(self, hiding: LineFilter, harmless: Iterable[bytes], word: int = 0) -> None:
        """
        @param harmless: the commands, in upper case, after which lists may still come.
        @param word: which word of a line is the command; 1 where a tag precedes it.
        """
        super().__init__()
        self._hiding = hiding
        self._harmless = frozenset(harmless)
        self._word = word

    def feed(self, data: bytes) -> bytes:
        """
        Pass C{data} at once, and look at the lines it completes.
        """
        super().feed(data)
        if self._stopped:
            self._hiding.stop()
            self.done = True
            self._partial = b""
        return data

    def line(self, line: bytes) -> bytes:
        """
        Look at one command.
        """
        words = line.split(None, self._word + 1)
        if len(words) <= self._word or words[self._word].upper() not in self._harmless:
            self.stop()
        return line

    def flush(self) -> bytes:
        """
        Nothing is ever kept back.
        """
        return b""
