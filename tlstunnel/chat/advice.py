r"""
What will surprise the author of a chat script, though it can be run.

Advice goes by the steps of a script that was read; what is an error, or is said at every start, is
in L{tlstunnel.chat.parse}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tlstunnel.chat.steps import (
    Abort,
    Attempt,
    ClearAbort,
    Expect,
    Notice,
    Script,
    Send,
    Step,
    Timeout,
)
from tlstunnel.chat.words import Word

_NOT_LAST = re.compile(rb"[0-9]{3}-.")
_SEND_ESCAPE = re.compile(rb"\\(?:\\|([cdpKTU]))")

_TEXT = {byte: chr(byte) for byte in range(0x20, 0x7F)}
_TEXT |= {0x08: r"\b", 0x09: r"\t", 0x0A: r"\n", 0x0D: r"\r", 0x22: r"\"", 0x5C: r"\\", 0x5E: r"\^"}


def shown(text: bytes) -> str:
    """
    C{text} as one would write it in a script, in quotes.
    """
    return '"' + "".join(_TEXT.get(byte, f"\\{byte:03o}") for byte in text) + '"'


def advise(script: Script) -> list[Notice]:
    """
    What to think of, in the order of the script; with the notices that each start gives.
    """
    advice = [*script.notices]
    for check in (_sends, _neverMatch, _expects, _talksEarly, _aborts, _times):
        advice += (Notice(word.position, text) for word, text in check(script))
    return sorted(
        set(advice), key=lambda notice: (notice.position.line, notice.position.column, notice.text)
    )


Advice = Iterator[tuple[Word, str]]


def _allSends(script: Script) -> Iterator[Send]:
    for step in script.steps:
        if isinstance(step, Send):
            yield step
    for attempt in _attempts(script):
        if attempt.otherwise is not None:
            yield attempt.otherwise


def _attempts(script: Script) -> Iterator[Attempt]:
    for step in script.steps:
        if isinstance(step, Expect):
            yield from step.attempts


def _sends(script: Script) -> Advice:
    """A CR is added to what does not end in C{\\c}."""
    if script.binary:
        return
    for send in _allSends(script):
        if send.data.endswith(b"\n\r"):
            yield send.word, r"a CR is added behind the line end: end it with \r\n\c"
        elif send.data == b"\r":
            yield send.word, r'an empty send is a CR: to send nothing write "\c"'
        elif send.data.endswith(b"\r"):
            yield send.word, r"ends with a CR alone: protocols of lines want \r\n\c"


def _neverMatch(script: Script) -> Advice:
    """An ABORT string that is part of an expect string ends the script before it."""
    aborts: list[bytes] = []
    for step in script.steps:
        match step:
            case Abort(text=text):
                aborts.append(text)
            case ClearAbort(text=text):
                aborts = [other for other in aborts if other != text]
            case Expect(word=word, attempts=attempts):
                for attempt in attempts:
                    yield from _neverMatches(word, attempt, aborts, script.maxBytes)


def _neverMatches(word: Word, attempt: Attempt, aborts: Sequence[bytes], most: int) -> Advice:
    expected = attempt.expected
    for abort in aborts:
        if abort in expected[:-1]:
            yield word, f"can never match: ABORT {shown(abort)} is part of it, and ends first"
    if len(expected) > most:
        yield word, f"can never match: it is longer than MAXBYTES ({most})"
    if not expected and attempt.otherwise is not None:
        yield word, "the sub-send is never sent: an empty expect always matches"


def _expects(script: Script) -> Advice:
    """What means something in a send only, and lines that may not be what they look like."""
    for step in script.steps:
        if not isinstance(step, Expect):
            continue
        for attempt in step.attempts:
            letters = dict.fromkeys(filter(None, _SEND_ESCAPE.findall(attempt.text)))
            for letter in map(bytes.decode, letters):
                meaning = "is not replaced" if letter in "TU" else f"is just the letter {letter}"
                yield step.word, rf"\{letter} {meaning} in an expect"
            if _NOT_LAST.match(attempt.expected):
                last = attempt.expected[:3] + b" " + attempt.expected[4:]
                yield (
                    step.word,
                    f"does not match where this is the last line of a reply, {shown(last)}",
                )


def _talksEarly(script: Script) -> Advice:
    """Rule 9: some servers punish whoever speaks before their line has ended."""
    if script.binary or script.side == "server":
        return
    dialogue = [step for step in script.steps if isinstance(step, Expect | Send)]
    for expect, send in pairwise(dialogue):
        if isinstance(expect, Expect) and isinstance(send, Send) and send.data:
            early = [each for each in expect.attempts if not each.expected.endswith(b"\n")]
            if early and not expect.idle:
                yield send.word, r'is sent before the line has ended: expect "\n" first'


def _aborts(script: Script) -> Advice:
    last: Step | None = None
    strings: list[bytes] = []
    for step in script.steps:
        match step:
            case Abort(text=text):
                strings.append(text)
            case ClearAbort(text=text) if text not in strings:
                yield step.word, "there is no such ABORT string to remove"
            case Expect() if not step.idle:
                last = step
    if last is None:
        return
    for step in script.steps[script.steps.index(last) :]:
        if isinstance(step, Abort):
            yield step.word, "has no effect: nothing is expected behind it"
    if not strings and script.side == "client":
        yield last.word, "without ABORT strings a refusal shows by time-out only"


def _times(script: Script) -> Advice:
    for step in script.steps:
        if isinstance(step, Timeout) and step.seconds > script.total:
            yield (
                step.word,
                f"is longer than the whole script may take ({script.total} s; see TOTAL)",
            )
