"""
Errors of the TLS Pool's protocol V2: a number that programs know, and a sentence.

Why we refuse something, and how a connection fails, has a word here; this module knows which
number tells a program the same.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import ClassVar

from tlstunnel.errors import TunnelError
from tlstunnel.local.refusals import Refusal
from tlstunnel.poolservice.v2frames import Command, Failed, Frame, field

#: Where the errors of the TLS Pool begin, among all those that com_err(3) knows.
BASE = -1167372288

#: Bytes of the sentence in an ERROR, with the NUL behind it.
MESSAGE_BYTES = 128


class Code(IntEnum):
    """
    The errors that the TLS Pool has and we give.
    """

    CLIENT_REFUSED = BASE + 3
    SUPERFLUOUS_SOCKET = BASE + 5
    NO_CIPHERTEXT_SOCKET = BASE + 6
    NO_PLAINTEXT_SOCKET = BASE + 7
    COMMAND_UNKNOWN = BASE + 8
    NOT_IMPLEMENTED = BASE + 9
    BAD_ANSWER = BASE + 10
    CTLKEY_TAKEN = BASE + 14
    CTLKEY_UNKNOWN = BASE + 15
    NOT_YOURS = BASE + 16
    DETACHED_ALREADY = BASE + 17
    ATTACHED_ALREADY = BASE + 18
    RENEGOTIATION = BASE + 19
    SETUP_FAILED = BASE + 22
    HANDSHAKE_FAILED = BASE + 24
    PRNG_FAILED = BASE + 25
    NO_LIDENTRY = BASE + 26
    NO_PINENTRY = BASE + 27
    INFO_UNKNOWN = BASE + 28
    INFO_NOT_FOUND = BASE + 29


# What has neither a number here nor anything to do with the handshake is one of the system's: the
# library passes these through as they are.
_NUMBERS = {
    "closed": errno.ECONNRESET,
    "config": Code.SETUP_FAILED,
    "connect": Code.NO_PLAINTEXT_SOCKET,
    "gone": errno.EPIPE,
    "internal": Code.SETUP_FAILED,
    "limit": errno.EBUSY,
    "no-remote": errno.EDESTADDRREQ,
    "not-connected": Code.NO_CIPHERTEXT_SOCKET,
    "not-disclosed": errno.EACCES,
    "not-yours": errno.EACCES,
    "refused": Code.SETUP_FAILED,
    "reset": errno.ECONNRESET,
    "stopped": errno.ESHUTDOWN,
    "syntax": errno.EINVAL,
    "timeout": errno.ETIMEDOUT,
}


class V2Error(Refusal):
    """
    A refusal that has a number of its own.

    @ivar number: it.
    """

    reason: ClassVar[str] = "refused"

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(detail)
        self.number = number


def numberOf(error: TunnelError) -> int:
    """
    What tells a program the same as C{error}.
    """
    if isinstance(error, V2Error):
        return error.number
    return _NUMBERS.get(error.reason, Code.HANDSHAKE_FAILED)


def errorFrame(reqid: int, error: TunnelError) -> Frame:
    """
    The frame by which the program that has asked as C{reqid} learns of C{error}.
    """
    sentence = error.detail if isinstance(error, V2Error) else str(error)
    # Cut where a character ends.
    kept = sentence.encode(errors="replace")[: MESSAGE_BYTES - 1].decode(errors="ignore").encode()
    message = field(kept, MESSAGE_BYTES)
    return Frame(reqid, 0, Command.ERROR, Failed(numberOf(error), message).pack())
