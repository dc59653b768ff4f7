"""
How a proxy of HTTP is asked for a connection: with CONNECT (RFC 9110, section 9.3.6; RFC 9112).

Of the answer counts the status alone.  A 2xx has no body, whatever its fields announce: behind the
empty line begins what the far end says.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Generator

from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConnectFailed, quote
from tlstunnel.net.via import Login
from tlstunnel.net.viaexchange import LINE, Story, notThis

# RFC 9112, section 4; some leave out the space before a reason that is empty.
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: (.*))?", re.DOTALL)

# RFC 9112, section 5, and RFC 9110, section 5.6.2.
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:")


def connect(target: TCPAddress, login: Login | None) -> Story:
    """
    Ask for a connection to C{target}, whose name the proxy resolves.

    @param login: for Basic (RFC 7617).
    """
    where = str(target)
    request = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n".encode()
    if login is not None:
        credentials = b64encode(login.user + b":" + login.password)
        request += b"Proxy-Authorization: Basic " + credentials + b"\r\n"
    code, reason = yield from _answer(request + b"\r\n")
    while 100 <= code < 200 and code != 101:
        # The last word is still to come (RFC 9110, section 15.2).
        code, reason = yield from _answer(b"")
    if not 200 <= code < 300:
        raise _refusal(code, reason, login)


def _answer(say: bytes) -> Generator[tuple[bytes, int], bytes, tuple[int, bytes]]:
    """
    Read an answer up to its empty line; of one that is final and says no, the status is enough.
    """
    first = yield say, 1
    if first != b"H":
        raise notThis(first, "http")
    line = _text(first + (yield b"", LINE))
    found = _STATUS.fullmatch(line)
    if found is None:
        raise _malformed(line)
    code, reason = int(found[1]), found[2] or b""
    if code >= 300:
        return code, reason
    isFirst = True
    while line := _text((yield b"", LINE)):
        isFolded = line[:1] in (b" ", b"\t") and not isFirst
        if not (isFolded or _FIELD.match(line)):
            raise _malformed(line)
        isFirst = False
    return code, reason


def _text(line: bytes) -> bytes:
    """
    A line without its end: LF, and one CR before it if there is one (rule 16).
    """
    text = line.removesuffix(b"\n").removesuffix(b"\r")
    if b"\r" in text or b"\0" in text:
        raise _malformed(text)
    return text


def _malformed(line: bytes) -> ConnectFailed:
    return ConnectFailed(f"the proxy says {quote(line)}, which is not HTTP", cause="proxy broken")


def _refusal(code: int, reason: bytes, login: Login | None) -> ConnectFailed:
    """
    What a final answer means that is no success.
    """
    said = f"the proxy answers {code}" + (f" {quote(reason)}" if reason else "")
    if code == 407:
        said += ": it does not take our login" if login else ": it wants a login"
        return ConnectFailed(said, cause="proxy login" if login else "proxy no login")
    if code in {403, 405}:
        return ConnectFailed(said, cause="proxy forbids")
    if code in {500, 502, 503, 504}:
        return ConnectFailed(said, cause="proxy cannot")
    return ConnectFailed(said, cause="proxy refuses")
