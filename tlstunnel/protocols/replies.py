"""
Numeric replies, as smtp, ftp and nntp have them.

A reply is one line of three digits, and a space or nothing behind them; the three protocols differ
in how a reply of several lines is made, if there are such (L{Continuation}).
"""

from __future__ import annotations

from enum import Enum

from tlstunnel.errors import Malformed, Refused, Temporary
from tlstunnel.protocols.conversation import Conversation


class Continuation(Enum):
    """
    What the lines of a reply are that has several of them; the last is as that of a short one.

    @cvar NONE: there is no such reply (RFC 3977, section 3.1).
    @cvar CODED: all begin with the same code, and all but the last with a hyphen behind it (RFC
        5321, section 4.2.1; rule 16).
    @cvar FREE: the first begins with the code and a hyphen, and those between it and the last are
        text of any kind (RFC 959, section 4.2).  Empty lines before it mean nothing: there are
        servers that end a reply with one.
    """

    NONE = 1
    CODED = 2
    FREE = 3


# As names of the module: to look one up in an Enum costs as much as to call a function.
_NONE, _CODED, _FREE = Continuation

# What stands behind the code of a reply.
_SHORT, _LONG = (b" ", b""), (b"-", b" ", b"")


async def readReply(
    conversation: Conversation, continuation: Continuation = _CODED
) -> tuple[bytes, bytes]:
    """
    Read one reply, all its lines.

    @return: its code, and its last line.
    @raise Malformed: if it is none.
    """
    lines = await readReplyLines(conversation, continuation)
    return lines[0][:3], lines[-1]


async def readReplyLines(
    conversation: Conversation, continuation: Continuation = _CODED
) -> list[bytes]:
    """
    Read one reply, for all that it says.

    @return: its lines.
    @raise Malformed: if it is none.
    """
    line = await conversation.readLine()
    while continuation is _FREE and not line.strip():
        line = await conversation.readLine()
    code, mark = line[:3], line[3:4]
    marks = _SHORT if continuation is _NONE else _LONG
    if len(code) < 3 or not code.isdigit() or mark not in marks:
        raise Malformed("not a numeric reply", line)
    lines = [line]
    while mark == b"-":
        line = await conversation.readLine()
        if line[:3] == code and line[3:4] in marks:
            mark = line[3:4]
        elif continuation is _CODED:
            raise Malformed("a line that does not belong to its reply", line)
        lines.append(line)
    return lines


async def expectReply(
    conversation: Conversation, *codes: bytes, continuation: Continuation = _CODED
) -> None:
    """
    Read one reply, which must carry one of C{codes}.

    @raise Malformed: if it is no reply.
    @raise Temporary: if it carries another code that starts with 4.
    @raise Refused: if it carries yet another.
    """
    lines = await readReplyLines(conversation, continuation)
    code = lines[0][:3]
    if code not in codes:
        raise refusal(code, lines[-1], *codes)


def isRefusal(code: bytes) -> bool:
    """
    Whether a reply says no, for now or for good.
    """
    return code[:1] in (b"4", b"5")


def refusal(code: bytes, line: bytes, *expected: bytes, hint: str = "") -> Temporary | Refused:
    """
    What a reply means that has not one of the codes that were expected.

    @param hint: what to do about it, for the log.
    """
    kind = Temporary if code.startswith(b"4") else Refused
    return kind(f"expected {b' or '.join(expected).decode()}{hint}", line)
