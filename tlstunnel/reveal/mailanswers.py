"""
What a mail server answers to a client that is guarded (L{tlstunnel.reveal.mailguard}): without the
extensions that are offered to us, and without the answers to what only we have said.
"""

from __future__ import annotations

from tlstunnel.errors import Malformed, Oversize
from tlstunnel.protocols.hiding import LineFilter
from tlstunnel.reveal.mailguard import Asked, Guard

#: The most lines of an answer that is kept until it is complete.
MAX_ANSWER_LINES = 100

#: Extensions that servers offer to us, or that would let a mail pass in other ways.
HIDDEN = frozenset(
    (b"XCLIENT", b"XFORWARD", b"XRCPTFORWARD", b"STARTTLS", b"CHUNKING", b"BINARYMIME")
)

# What a client hears where it has said what only we may say.
_REFUSAL = b"550 5.7.0 Not for you to say\r\n"


class Answers(LineFilter):
    """
    Filters what the server says: it hides what is not for the client.
    """

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard
        # The code of an answer that goes on, and its lines, where it is kept until it is complete.
        self._code = b""
        self._answer: list[bytes] = []

    def stop(self) -> None:
        """
        A line that is too long: what cannot be understood does not pass.
        """
        raise Oversize("a very long line instead of an answer")

    def line(self, line: bytes) -> bytes:
        """
        One line of an answer (RFC 5321, section 4.2).
        """
        code, mark = line[:3], line[3:4]
        if not (code.isdigit() and mark in (b"-", b" ", b"\r", b"\n")):
            raise Malformed("no answer", line)
        if self._code not in (b"", code):
            raise Malformed("a line that does not belong to its answer", line)
        asked = self._guard.next
        goesOn = mark == b"-"
        self._code = code if goesOn else b""
        # 421 may be the answer to anything, and is the last (RFC 5321, section 3.8).
        isList = asked is Asked.HELLO and code == b"250"
        isKept = isList or (asked in (Asked.OURS, Asked.REFUSED) and code != b"421")
        if isKept:
            self._answer.append(line)
            if len(self._answer) > MAX_ANSWER_LINES:
                raise Oversize(f"an answer of more than {MAX_ANSWER_LINES} lines")
        if goesOn:
            return b"" if isKept else line
        self._guard.answered(code)
        if not isKept:
            return line
        answer, self._answer = self._answer, []
        if asked is Asked.OURS:
            return self._ours(code, line)
        return _REFUSAL if asked is Asked.REFUSED else _shown(answer)

    def _ours(self, code: bytes, line: bytes) -> bytes:
        """
        The answer to what we have said: nobody else hears it.

        @raise Malformed: it is not taken, other than because a mail has begun, which the client
            hears in the answer to its own command.
        """
        if code not in (b"250", b"503"):
            raise Malformed("it does not take XFORWARD any longer", line)
        return b""


def _shown(answer: list[bytes]) -> bytes:
    """
    The answer to a hello (RFC 5321, section 4.1.1.1), without what is hidden.
    """
    first, *offers = answer
    shown = [first, *(each for each in offers if _keyword(each) not in HIDDEN)]
    if shown[-1][3:4] == b"-":
        shown[-1] = shown[-1][:3] + b" " + shown[-1][4:]
    return b"".join(shown)


def _keyword(offer: bytes) -> bytes:
    return offer[4:].split(None, 1)[0].upper() if offer[4:].strip() else b""
