"""
Numeric replies, as smtp and its relatives have them (RFC 5321, section 4.2.1).
"""

from __future__ import annotations

from tlstunnel.errors import Malformed, Refused, Temporary
from tlstunnel.protocols.conversation import Conversation


async def readReply(conversation: Conversation) -> tuple[bytes, list[bytes]]:
    """
    One numeric reply: lines of three digits and a hyphen, the last with a space or nothing behind
    the code, all with the same code (RFC 5321, section 4.2.1; rule 16).

    @return: the code, and the lines.
    @raise Malformed: if it is no such reply.
    """
    lines: list[bytes] = []
    code = b""
    while True:
        line = await conversation.readLine()
        lines.append(line)
        if len(line) < 3 or not line[:3].isdigit() or line[3:4] not in (b"", b" ", b"-"):
            raise Malformed("not a numeric reply", line)
        if code and line[:3] != code:
            raise Malformed("one reply with two codes", line)
        code = line[:3]
        if line[3:4] != b"-":
            return code, lines


async def expectReply(conversation: Conversation, *codes: bytes) -> bytes:
    """
    Read one numeric reply, which must carry one of C{codes}.

    @return: its code.
    @raise Temporary: if it is another one that starts with 4.
    @raise Refused: if it is yet another.
    """
    code, lines = await readReply(conversation)
    if code not in codes:
        wanted = b" or ".join(codes).decode()
        error = Temporary if code.startswith(b"4") else Refused
        raise error(f"expected {wanted}", lines[-1])
    return code
