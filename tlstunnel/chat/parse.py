r"""
The chat(8) language: text to immutable steps, once, at start-up.

A script is a list of words, read in pairs: what to expect, what to send.  A keyword in the place of
an expect has the word after it as its argument.  What differs from chat(8) is meant to, and
C{docs/chat.md} says why: hyphens in quotes are literal, a keyword in the place of a send is an
error, and whatever can be found wrong is found wrong here, with the place where it stands.

Knows nothing of connections; L{tlstunnel.chat.dialect} runs what this module reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tlstunnel.chat.escapes import NO_BREAK, Pause, Values, expandExpect, expandSend
from tlstunnel.chat.steps import (
    Abort,
    Attempt,
    ClearAbort,
    ClearReport,
    Echo,
    Expect,
    Notice,
    Report,
    Say,
    Script,
    Send,
    Side,
    Step,
    Timeout,
)
from tlstunnel.chat.words import ScriptError, Word, fileWords, splitAtHyphens

__all__ = ["ScriptError", "ScriptOptions", "parseScript", "parseWords"]

#: Seconds that an expect string has, unless the script says otherwise.
EXPECT_SECONDS = 45
#: Seconds that a whole script has, unless it says otherwise.
SCRIPT_SECONDS: dict[Side, int] = {"client": 90, "server": 30}
#: Bytes that a whole script may receive, unless it says otherwise.
MAX_RECEIVED_BYTES = 64 * 1024
#: The most ABORT strings, and REPORT strings, that are in force at once, and the longest of them.
MAX_STRINGS, MAX_STRING_BYTES = 50, 1024
#: The most bytes of a file that C{@file} sends.
MAX_FILE_BYTES = 1023

_NUMBER = re.compile(rb"[+-]?[0-9]{1,9}\Z")
_SUB_EXPECT = re.compile(rb"(?<![\\])[0-9A-Za-z]-(?=[0-9A-Za-z])")

ReadFile = Callable[[bytes], bytes]


@dataclass(frozen=True)
class ScriptOptions:
    r"""
    How a script is read: what does not stand in it.

    @ivar side: which end it plays.
    @ivar values: what C{\T}, C{\U} and C{$NAME} stand for.
    @ivar strict: hyphens and keywords mean what they mean in chat(8), also inside quotes and in the
        place of a send.
    @ivar readFile: reads the file that C{@file} names, or raises L{OSError}; without it, C{@file}
        is text.
    @ivar timeout: seconds for each expect string; L{None}: no limit but the total.
    @ivar echo: log what is received, from the start.
    @ivar verbose: log the dialogue.
    """

    side: Side = "client"
    values: Values = field(default_factory=Values)
    strict: bool = False
    readFile: ReadFile | None = None
    timeout: int | None = EXPECT_SECONDS
    echo: bool = False
    verbose: bool = False


def parseScript(text: bytes, name: str, options: ScriptOptions) -> Script:
    """
    Read a script file.

    @param text: what the file has.
    @param name: how errors call it.
    @raise ScriptError: it cannot be run; nothing else is ever raised.
    """
    return parseWords(fileWords(text, name), name, options)


def parseWords(words: Iterator[Word], name: str, options: ScriptOptions) -> Script:
    """
    Read the words of a script, wherever they come from.

    @raise ScriptError: it cannot be run.
    """
    parser = _Parser(words, options)
    parser.parse()
    return parser.script(name)


class _Parser:
    """Reads one script; holds what has been read so far."""

    def __init__(self, words: Iterator[Word], options: ScriptOptions) -> None:
        self._words = words
        self._options = options
        self._steps: list[Step] = []
        self._notices: list[Notice] = []
        self._inForce: dict[bytes, list[bytes]] = {b"ABORT": [], b"REPORT": []}
        self._total = SCRIPT_SECONDS[options.side]
        self._maxBytes = MAX_RECEIVED_BYTES
        self._binary = False
        self._greeting: bytes | None = None
        self._swallow: list[bytes] = []

    def parse(self) -> None:
        """Read all words."""
        for word in self._words:
            if word.text in KEYWORDS:
                KEYWORDS[word.text](self, word)
                continue
            if word.text in DIRECTIVES and not word.quoted:
                DIRECTIVES[word.text](self, word)
                continue
            self._steps.append(self._expect(word))
            answer = next(self._words, None)
            if answer is not None:
                self._steps.append(self._send(answer))

    def script(self, name: str) -> Script:
        """What was read, as a whole."""
        dialogue = [step for step in self._steps if isinstance(step, Expect | Send)]
        if self._options.side == "client":
            if dialogue and not self._binary:
                self._refuseLastSend(dialogue[-1])
            first = dialogue[0] if dialogue else None
            if isinstance(first, Expect) and not first.idle and self._greeting is None:
                self._note(
                    first.word,
                    "no GREETING: the app gets what the server says inside TLS, and most servers "
                    "wait there for the app",
                )
        return Script(
            name=name,
            side=self._options.side,
            steps=tuple(self._steps),
            timeout=self._options.timeout,
            total=self._total,
            maxBytes=self._maxBytes,
            binary=self._binary,
            greeting=self._greeting,
            swallow=tuple(self._swallow),
            echo=self._options.echo,
            verbose=self._options.verbose,
            notices=tuple(self._notices),
        )

    def _refuseLastSend(self, last: Expect | Send) -> None:
        """TLS would start without awaiting the answer."""
        final: Send | None
        if isinstance(last, Expect):
            final = last.attempts[-1].otherwise if last.attempts else None
        else:
            final = last
        if final is not None and final.data:
            raise final.word.error(
                "the script ends with a send", "expect the answer (or BINARY ON)"
            )

    def _note(self, word: Word, text: str) -> None:
        self._notices.append(Notice(word.position, text))

    def _expect(self, word: Word) -> Expect:
        if word.quoted and not self._options.strict:
            texts = [word.text] if word.text else []
        else:
            texts = splitAtHyphens(word.text)
            if len(texts) > 1 and _SUB_EXPECT.search(word.text) and not word.quoted:
                self._note(
                    word,
                    f"{word} expects {texts[0].decode('utf-8', 'backslashreplace')} and sends the "
                    "rest only where that does not come; quote the word, or write \\- for a hyphen",
                )
        return Expect(
            word,
            tuple(
                Attempt(
                    text,
                    expandExpect(text, self._options.values),
                    self._sent(word, texts[index + 1]) if index + 1 < len(texts) else None,
                )
                for index, text in enumerate(texts)
                if index % 2 == 0
            ),
        )

    def _send(self, word: Word) -> Send:
        if self._isMisplaced(word):
            raise word.error(f"{word} stands where a send is due", "quote it to send the word")
        return self._sent(word, word.text)

    def _isMisplaced(self, word: Word) -> bool:
        """Whether C{word}, which is no keyword here, looks like one."""
        plain = not (word.quoted or self._options.strict)
        return plain and (word.text in KEYWORDS or word.text in DIRECTIVES)

    def _sent(self, word: Word, text: bytes) -> Send:
        """A send, or the sub-send C{text} of an expect."""
        fileName = text[1:].lstrip(b" \t") if text.startswith(b"@") else b""
        if fileName and self._options.readFile is None:
            self._note(word, f"@{_shown(fileName)} is sent as it stands: no file is read")
        elif fileName and self._options.readFile is not None:
            text = self._contents(word, fileName, self._options.readFile)
        if text == b"EOT":
            text = rb"^D\c"
        elif text == b"BREAK":
            raise word.error(*NO_BREAK)
        expansion = expandSend(word, text, self._options.values, b"\r")
        return Send(word, expansion.parts, expansion.secret)

    def _contents(self, word: Word, fileName: bytes, readFile: ReadFile) -> bytes:
        try:
            contents = readFile(fileName)[:MAX_FILE_BYTES]
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or error
            raise word.error(
                f"cannot read {_shown(fileName)}: {problem}", "see whether its name is right"
            ) from None
        return contents.removesuffix(b"\n")

    def _argument(self, keyword: Word, needed: str) -> Word:
        """The word after a keyword."""
        argument = next(self._words, None)
        if argument is None:
            raise keyword.error(f"{keyword} needs {needed}", "write it behind the keyword")
        return argument

    def _text(self, keyword: Word) -> Word:
        """The word after a keyword that takes any text."""
        argument = self._argument(keyword, "a string")
        if self._isMisplaced(argument):
            raise argument.error(
                f"{argument} stands where its string is due",
                "quote it to mean the word",
            )
        return argument

    def _number(self, keyword: Word, unit: str) -> tuple[Word, int]:
        argument = self._argument(keyword, f"a number of {unit}")
        if not _NUMBER.match(argument.text):
            raise argument.error(f"{keyword} needs a number of {unit}", "write digits alone")
        return argument, int(argument.text)

    def _positive(self, keyword: Word, unit: str) -> int:
        argument, number = self._number(keyword, unit)
        if number < 1:
            raise argument.error(
                f"{keyword} needs a number of {unit}, at least 1", "write digits alone"
            )
        return number

    def _watched(self, keyword: Word) -> tuple[Word, bytes]:
        """The string of an ABORT or a REPORT, taken into force."""
        argument = self._text(keyword)
        text = expandExpect(argument.text, self._options.values)
        if not text:
            raise argument.error(f"empty {keyword} string", "write what it is to look for")
        if len(text) > MAX_STRING_BYTES:
            raise argument.error(
                f"{keyword} string of more than {MAX_STRING_BYTES} bytes", "write how it begins"
            )
        inForce = self._inForce[keyword.text]
        if len(inForce) == MAX_STRINGS:
            raise keyword.error(
                f"more than {MAX_STRINGS} {keyword} strings", f"take some back with CLR_{keyword}"
            )
        inForce.append(text)
        return argument, text

    def _cleared(self, keyword: Word) -> tuple[Word, bytes]:
        argument = self._text(keyword)
        text = expandExpect(argument.text, self._options.values)
        name = keyword.text.removeprefix(b"CLR_")
        self._inForce[name] = [string for string in self._inForce[name] if string != text]
        return argument, text

    def _abort(self, keyword: Word) -> None:
        self._steps.append(Abort(*self._watched(keyword)))

    def _clearAbort(self, keyword: Word) -> None:
        self._steps.append(ClearAbort(*self._cleared(keyword)))

    def _report(self, keyword: Word) -> None:
        self._steps.append(Report(*self._watched(keyword)))

    def _clearReport(self, keyword: Word) -> None:
        self._steps.append(ClearReport(*self._cleared(keyword)))

    def _timeout(self, keyword: Word) -> None:
        argument, seconds = self._number(keyword, "seconds")
        self._steps.append(Timeout(argument, seconds if seconds > 0 else EXPECT_SECONDS))

    def _echo(self, keyword: Word) -> None:
        argument = self._argument(keyword, "ON or OFF")
        self._steps.append(Echo(argument, argument.text == b"ON"))

    def _say(self, keyword: Word) -> None:
        argument = self._text(keyword)
        said = expandSend(argument, argument.text, self._options.values)
        text = b"".join(part for part in said.parts if isinstance(part, bytes))
        self._steps.append(Say(argument, text))

    def _hangup(self, keyword: Word) -> None:
        self._argument(keyword, "ON or OFF")
        self._note(keyword, "HANGUP has no effect: a socket does not hang up")

    def _binaryOn(self, keyword: Word) -> None:
        argument = self._argument(keyword, "ON or OFF")
        if argument.text not in (b"ON", b"OFF"):
            raise argument.error("BINARY needs ON or OFF", "write one of them")
        self._binary = argument.text == b"ON"

    def _totalSeconds(self, keyword: Word) -> None:
        self._total = self._positive(keyword, "seconds")

    def _mostBytes(self, keyword: Word) -> None:
        self._maxBytes = self._positive(keyword, "bytes")

    def _greets(self, keyword: Word) -> None:
        self._only("client", keyword)
        argument = self._text(keyword)
        expansion = expandSend(argument, argument.text, self._options.values)
        self._greeting = self._greeting or b""
        for part in expansion.parts:
            if isinstance(part, Pause):
                raise argument.error("a GREETING cannot pause", r"leave out \d and \p")
            self._greeting += part

    def _swallows(self, keyword: Word) -> None:
        self._only("server", keyword)
        argument = self._text(keyword)
        text = expandExpect(argument.text, self._options.values)
        if not text:
            raise argument.error("empty SWALLOW string", "write how the line ends that is read")
        self._swallow.append(text)

    def _only(self, side: Side, keyword: Word) -> None:
        if self._options.side != side:
            raise keyword.error(f"{keyword} belongs to {side} mode", "leave it out")


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")


#: The keywords of chat(8), which act inside quotes too.
KEYWORDS: dict[bytes, Callable[[_Parser, Word], None]] = {
    b"ABORT": _Parser._abort,
    b"CLR_ABORT": _Parser._clearAbort,
    b"REPORT": _Parser._report,
    b"CLR_REPORT": _Parser._clearReport,
    b"TIMEOUT": _Parser._timeout,
    b"ECHO": _Parser._echo,
    b"HANGUP": _Parser._hangup,
    b"SAY": _Parser._say,
}
#: Those of tlstunnel, which describe the script as a whole.
DIRECTIVES: dict[bytes, Callable[[_Parser, Word], None]] = {
    b"BINARY": _Parser._binaryOn,
    b"TOTAL": _Parser._totalSeconds,
    b"MAXBYTES": _Parser._mostBytes,
    b"GREETING": _Parser._greets,
    b"SWALLOW": _Parser._swallows,
}
