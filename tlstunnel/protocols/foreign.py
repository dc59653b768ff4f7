"""
Telling protocols apart by their first bytes (rule 13).
"""

from __future__ import annotations

from tlstunnel.errors import ForeignProtocol
from tlstunnel.net.proxyheader import SIGNATURE
from tlstunnel.protocols.conversation import Conversation

# What TLS on TCP begins with; the third byte tells it from a length in a binary protocol.
_TLS_RECORDS = (b"\x16\x03\x01", b"\x16\x03\x02", b"\x16\x03\x03")

_SSH = b"SSH-"

# What the PROXY protocol begins with: all of version 2, and a line of version 1.
_PROXY = (SIGNATURE, b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN")
_PROXY_HEADER = "the client begins with a header of the PROXY protocol, which is not expected of it"

_HTTP_METHODS = (
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"OPTIONS ",
    b"CONNECT ",
    b"DELETE ",
    b"PRI ",
)

# What may become one of these.
_BEGINNINGS = frozenset(
    known[:count] for known in (_SSH, *_HTTP_METHODS) for count in range(len(known))
)

# What a ClientHello in the form of SSL 2 has for a version (RFC 5246, appendix E.2).
_SSL2_VERSIONS = (b"\0\2", b"\3\0", b"\3\1", b"\3\2", b"\3\3")

# The first byte of the length of one (up to 511 bytes).
_SSL2_LENGTHS = (0x80, 0x81)

_TLS_AT_ONCE = "the client starts TLS at once: this port speaks its protocol in clear first"


def foreign(start: bytes) -> str | None:
    """
    Look at what a client says first (rule 13).

    @param start: all that there is of it, its first line at the least if that is complete.
    @return: why it is of a protocol that none of ours can be taken for; empty if it is not, and
        C{None} where that cannot be said yet.
    """
    if start.startswith(b"\x16"):
        return _TLS_AT_ONCE
    if start.startswith(_PROXY):
        return _PROXY_HEADER
    line = start.partition(b"\n")[0].removesuffix(b"\r")
    if start.startswith(_HTTP_METHODS) or line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        return "the client speaks HTTP"
    if start.startswith(_SSH):
        return "the client speaks SSH"
    if start in _BEGINNINGS:
        return None
    if start[0] not in _SSL2_LENGTHS:
        return ""
    isSSL2 = _isSSL2(start)
    if isSSL2:
        return f"{_TLS_AT_ONCE}; its hello has the form of SSL 2"
    return None if isSSL2 is None else ""


def _isSSL2(start: bytes) -> bool | None:
    """
    Whether C{start}, with such a length, is a ClientHello in the form of SSL 2, as very old clients
    send it; C{None} where that cannot be said yet.
    """
    if start[2:3] not in (b"", b"\x01"):
        return False
    version = start[3:5]
    if len(version) == 2:
        return version in _SSL2_VERSIONS
    return None if any(each.startswith(version) for each in _SSL2_VERSIONS) else False


def rejectForeign(start: bytes) -> None:
    """
    End the connection of a client that speaks another protocol.

    @param start: what it says first, as for L{foreign}.
    @raise ForeignProtocol: if that is of a protocol that none of ours can be taken for.
    """
    why = foreign(start)
    if why:
        raise _error(why, start)


async def checkForeign(conversation: Conversation) -> None:
    """
    The same, with as much as has to be seen; all of it is still to be read.

    @param conversation: one that may read ahead.
    """

    def isOurs() -> bool | None:
        start = conversation.unread
        why = foreign(start)
        if why:
            raise _error(why, start)
        return None if why is None else True

    await conversation.wait(isOurs)


def _error(why: str, start: bytes) -> ForeignProtocol:
    cause = "TLS" if why.startswith(_TLS_AT_ONCE) else "PROXY" if why == _PROXY_HEADER else ""
    return ForeignProtocol(why, start, cause=cause)


def startsTLS(start: bytes) -> bool | None:
    """
    Whether C{start} begins TLS on TCP; C{None} where that cannot be said yet.
    """
    if start in (b"\x16", b"\x16\x03"):
        return None
    return start.startswith(_TLS_RECORDS)
