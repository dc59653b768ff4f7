"""
Whom a client asks to be, by a mechanism of SASL in which a password does not count.

::

    EXTERNAL (RFC 4422, appendix A)     the authorisation identity, or nothing
    PLAIN (RFC 4616)                    that, NUL, the authentication identity, NUL, a password
    LOGIN                               a name and a password, each asked for
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable

#: Those that are offered.
OFFERED = (b"EXTERNAL", b"PLAIN")

#: The most bytes of an answer, in base64.
MAX_RESPONSE_BYTES = 8192


class Declined(Exception):
    """
    There is no login to be had in this way; the message says why, to the client.
    """


def encode(data: bytes) -> bytes:
    """
    C{data} in base64.
    """
    return b64encode(data)


def decode(text: bytes) -> bytes:
    """
    What C{text} is in base64; C{=} alone stands for nothing (RFC 4959, section 3).

    @raise Declined: it is not base64, or ends the exchange.
    """
    if text == b"=":
        return b""
    if text == b"*":
        raise Declined("cancelled")
    try:
        return b64decode(text, validate=True)
    except binascii.Error:
        raise Declined("not base64") from None


async def names(
    mechanism: bytes, initial: bytes | None, ask: Callable[[bytes], Awaitable[bytes]]
) -> tuple[bytes, ...]:
    """
    Hear whom the client asks to be.

    @param mechanism: in upper case.
    @param initial: the answer that came with the command, decoded; C{None} if there was none.
    @param ask: sends a challenge, and gives the answer, decoded.
    @return: the names that it has given; the last that is not empty is whom it wants to be.
    @raise Declined: the mechanism is not known, or the answer is not one of it.
    """
    if mechanism == b"EXTERNAL":
        return (await ask(b"") if initial is None else initial,)
    if mechanism == b"PLAIN":
        message = await ask(b"") if initial is None else initial
        parts = message.split(b"\0")
        if len(parts) != 3:
            raise Declined("not a message of PLAIN")
        return parts[1], parts[0]
    if mechanism == b"LOGIN":
        name = await ask(b"Username:") if initial is None else initial
        await ask(b"Password:")
        return (name,)
    raise Declined("mechanism not supported")
