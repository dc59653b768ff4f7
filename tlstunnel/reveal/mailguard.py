"""
The guard of a mail server that believes what we say of our clients: what only we may say never
reaches it from one of them as a command.

It has to know at every byte whether the server takes it for a command or for a part of a mail, and
servers differ in that, which is how mails are smuggled.  A L{Guard} sees what the client says, and
L{tlstunnel.reveal.mailanswers} what the server says; together they go through these states::

    commands    lines, of which each has one answer, in order; they pass in one form, CRLF at their
                ends, so that no two servers see different lines.  Those that are ours are replaced
                by NOOP, whose answer says no instead
    awaiting    DATA has passed: nothing else does until it is answered
    a mail      the answer was 354: all passes up to CRLF . CRLF

Whoever makes it doubtful which of them it is, is cut off, before the byte that makes it so passes:
a client that does not await the 354, an end of a mail that only some servers take for one, a chunk
(RFC 3030), which no server was offered to; a server whose answers do not belong to what was asked.
What a client says may be a password, so that no error has its words.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from tlstunnel.errors import Malformed, Oversize
from tlstunnel.protocols.filters import PIECE_BYTES, Filter

#: The most bytes of a command: RFC 4954, section 4, has the longest.
MAX_COMMAND_BYTES = 12290

#: The most commands that await their answers.
MAX_AWAITED = 10000

#: Commands that are looked at before others have their turn.
COMMANDS_AT_ONCE = 128

#: Bytes of a mail that are searched at once.
MAIL_PIECE_BYTES = 16384

# What is ours to say; behind the last of them nothing could be seen.
_OURS = (b"XCLIENT", b"XFORWARD", b"STARTTLS")

# Dovecot's parameter of RCPT, with which it is told what it has to believe of a recipient.
_PARAMETER = b"XRCPTFORWARD"

#: The most bytes of a line that every server has room for (RFC 5321, section 4.5.3.1.4): of a
#: longer one it may take the rest for another command.
SHORT_BYTES = 510

# It is refused where it is a command, and is nothing else where that is an answer (RFC 4954).
_HARMLESS = b"NOOP (refused)\r\n"
_CANCELLED = b"*\r\n"

# A verb is made of letters: whatever else a server might skip, before it or within, does not count.
_NO_LETTERS = bytes(set(range(256)) - set(range(ord("A"), ord("Z") + 1)))

# The end of a mail (RFC 5321, section 4.1.1.4), and what may be another server's.
_END = b"\r\n.\r\n"
_ENDS = re.compile(rb"\r\n\.\r\n|[\r\n\0]\.[\r\n\0]")
_STARTS = (b"\n.", b"\r.", b"\0.")


class Asked(Enum):
    """
    What the server has to answer.
    """

    HELLO = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    AUTH = auto()
    RSET = auto()
    OTHER = auto()
    #: The end of a mail, or one recipient of it.
    END = auto()
    #: What we have said, whose answer is ours too.
    OURS = auto()
    #: What was said instead of what the client must not say.
    REFUSED = auto()


_VERBS = {
    b"EHLO": Asked.HELLO,
    b"LHLO": Asked.HELLO,
    b"HELO": Asked.HELLO,
    b"MAIL": Asked.MAIL,
    # RFC 821 had three more.
    b"SEND": Asked.MAIL,
    b"SOML": Asked.MAIL,
    b"SAML": Asked.MAIL,
    b"RCPT": Asked.RCPT,
    b"DATA": Asked.DATA,
    b"AUTH": Asked.AUTH,
    b"RSET": Asked.RSET,
}

# After these there is no recipient.
_AFRESH = (Asked.HELLO, Asked.MAIL, Asked.RSET)


class Guard(Filter):
    """
    Filters what the client says, and knows where the protocol stands.
    """

    def __init__(
        self, isLMTP: bool, forward: Callable[[bytes, bytes], bytes] | None = None
    ) -> None:
        """
        @param isLMTP: whether a mail has an answer for each recipient (RFC 2033, section 4.2).
        @param forward: what the server has to hear before each mail, from the client's hello, and
            from what it called itself; C{None} for nothing.
        """
        super().__init__()
        self._isLMTP = isLMTP
        self._forward = forward
        self._hello = self._name = self._forwarded = b""
        self._awaited: deque[Asked] = deque()
        self._recipients = 0
        self._isMail = False
        # Whether the next line goes on with AUTH; whether the server spoke unasked, and whether it
        # took its leave by that.
        self._isResponse = False
        self._isOver = self._isLeft = False
        # The last bytes of the mail, of which the next may make its end.
        self._last = b""

    # What the client says

    def feed(self, data: bytes) -> bytes:
        """
        See L{IFilter.feed}.
        """
        if self._isLeft:
            return self._drop()
        if self._isOver:
            raise Malformed("it went on after the backend had spoken unasked")
        if self._isMail:
            return self._mail(data)
        self._kept += data
        return self._commands()

    def _drop(self) -> bytes:
        """
        Nobody is there to hear it.  The client still has to read the farewell, which it might not
        if this ended the connection.
        """
        self._kept.clear()
        self.pieceBytes = MAIL_PIECE_BYTES
        return b""

    def flush(self) -> bytes:
        """
        What has no end is no command (RFC 5321, section 4.1.1).
        """
        self._kept.clear()
        return b""

    def _commands(self) -> bytes:
        kept = self._kept
        passed: list[bytes] = []
        start = 0
        while start < len(kept) and len(passed) < COMMANDS_AT_ONCE:
            if self._isAwaiting:
                # RFC 2920, section 3.1: DATA is the last of a group.
                raise Malformed("it did not await the answer to DATA")
            end = kept.find(b"\n", start, start + MAX_COMMAND_BYTES) + 1
            if not end:
                if len(kept) - start >= MAX_COMMAND_BYTES:
                    raise Oversize(f"a command of more than {MAX_COMMAND_BYTES} bytes")
                break
            passed.append(self._command(bytes(kept[start:end])))
            start = end
        del kept[:start]
        isBehind = len(passed) == COMMANDS_AT_ONCE and b"\n" in kept
        self.pieceBytes = 0 if isBehind else PIECE_BYTES
        return b"".join(passed)

    def _command(self, line: bytes) -> bytes:
        """
        What is said instead of a line, which has its end.
        """
        self.messages += 1
        text = line.rstrip(b"\r\n")
        if b"\r" in text or b"\0" in text:
            raise Malformed("a bare CR or a NUL in a command")
        letters = text.upper().translate(None, _NO_LETTERS)
        isOurs = letters.startswith(_OURS) or _PARAMETER in letters
        if len(text) > SHORT_BYTES:
            isOurs = isOurs or any(each in letters for each in _OURS)
        if self._isResponse:
            self._isResponse = False
            return _CANCELLED if isOurs else text + b"\r\n"
        if isOurs:
            self._await(Asked.REFUSED)
            return _HARMLESS
        if letters.startswith(b"BDAT"):
            raise Malformed("BDAT, which it was not offered")
        said = text + b"\r\n"
        asked = _VERBS.get(letters[:4], Asked.OTHER)
        if asked is Asked.HELLO:
            self._hello, self._name = letters[:4], b"".join(text.split()[1:2])
            self._forwarded = b""
        elif asked is Asked.MAIL and self._forward is not None:
            # It is forgotten at the end of a mail, and at each hello.
            self._await(Asked.OURS)
            self._forwarded = self._forwarded or self._forward(self._hello, self._name)
            said = self._forwarded + b"\r\n" + said
        self._await(asked)
        return said

    def _await(self, asked: Asked) -> None:
        if len(self._awaited) >= MAX_AWAITED:
            raise Oversize(f"more than {MAX_AWAITED} commands without an answer")
        self._awaited.append(asked)

    @property
    def _isAwaiting(self) -> bool:
        """
        Whether a mail may follow; nothing is awaited behind that.
        """
        return bool(self._awaited) and self._awaited[-1] is Asked.DATA

    def _mail(self, data: bytes) -> bytes:
        """
        Pass a part of a mail, up to its end.
        """
        before = len(self._last)
        said = self._last + data
        found = _ENDS.search(said) if any(each in said for each in _STARTS) else None
        self._last = said[-4:]
        if found is None:
            return data
        if found[0] != _END:
            start = max(0, found.start() - 1)
            if said[start:] == _END[:-1]:
                # Its last byte is still to come.
                return data
            raise Malformed("an end of a mail that servers read in different ways", found[0])
        self._isMail = False
        for _ in range(self._recipients if self._isLMTP else 1):
            self._await(Asked.END)
        self._recipients = 0
        end = found.end() - before
        self._kept += data[end:]
        self.messages += 1
        self.pieceBytes = 0 if self._kept else PIECE_BYTES
        return data[:end]

    # What the server says

    @property
    def next(self) -> Asked | None:
        """
        What is answered next; C{None} if that is nothing.
        """
        return self._awaited[0] if self._awaited and not self._isMail else None

    def answered(self, code: bytes) -> None:
        """
        The server has given a whole answer.

        @raise Malformed: it does not belong to what was asked.
        """
        asked = self.next
        if asked is None:
            # RFC 5321, section 3.8: behind 421 the server ends the connection, whenever it likes.
            self._isLeft = self._isLeft or code == b"421"
            self._isOver = True
        elif code == b"354":
            # RFC 5321, section 4.1.1.4.
            if asked is not Asked.DATA:
                raise Malformed("354 to something else than DATA")
            self._awaited.clear()
            self._isMail = True
            self._last = b"\r\n"
            self.pieceBytes = MAIL_PIECE_BYTES
        elif code == b"334":
            # RFC 4954, section 4: whatever comes next goes on with it, and may have passed already.
            if len(self._awaited) > 1:
                del self._awaited[1]
            else:
                self._isResponse = True
        else:
            self._awaited.popleft()
            self._isResponse = False
            isGood = code.startswith(b"2")
            if not code.startswith((b"2", b"4", b"5")) or (asked is Asked.DATA and isGood):
                raise Malformed(f"{code.decode()} is no answer to that")
            if asked in _AFRESH and isGood:
                self._recipients = 0
            elif asked is Asked.RCPT and isGood:
                self._recipients += 1
