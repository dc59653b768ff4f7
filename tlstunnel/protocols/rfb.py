"""
RFB, which VNC speaks, up to where somebody is let in (RFC 6143, section 7.1), in the words of its
versions 3.3, 3.7 and 3.8; and VeNCrypt 0.2, the security type with TLS (rfbproto, "VeNCrypt").

Here is what both sides of either leg hear and say; whose turn it is belongs to
L{tlstunnel.protocols.vnc}.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tlstunnel.errors import ForeignProtocol, Malformed, Refused, TunnelError
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.foreign import startsTLS
from tlstunnel.protocols.guards import spokeFirst

#: The security type with TLS, and its version.
VENCRYPT = 19
VENCRYPT_VERSION = b"\0\2"

#: What comes of a login (RFC 6143, section 7.1.3; "too many attempts" is of rfbproto).
OK, FAILED, TOO_MANY = (struct.pack(">I", each) for each in range(3))

CHALLENGE_BYTES = 16

# RFC 6143, section 7.1.1; that of a server which lies behind TLS from the first byte, too.
_VERSION = re.compile(rb"RFB (\d{3})\.(\d{3})\n")
_VERSION_BYTES = 12
_VERSION_START = b"RFB "

# The first version in which a server offers several types, and the first one with reasons.
LISTS, REASONS = 7, 8


@dataclass(frozen=True)
class Login:
    """
    How a server lets somebody in.

    @ivar option: what C{dialect-option} calls it.
    @ivar inside: VeNCrypt's subtype: this login within TLS with a certificate.
    @ivar inClear: the security type without TLS.
    @ivar hasChallenge: whether the server begins, with bytes that the password encrypts.
    """

    option: str
    inside: int
    inClear: int
    hasChallenge: bool = False


#: Without TLS, a name and a password are a subtype of VeNCrypt as well.
PLAIN_IN_CLEAR = 256

NONE = Login("none", 260, 1)
VNC_AUTH = Login("vncauth", 261, 2, hasChallenge=True)
PLAIN = Login("plain", 262, VENCRYPT)

#: The order in which they are offered: some viewers take the first that they know.
LOGINS = (PLAIN, VNC_AUTH, NONE)

#: What security types and subtypes are called.
NAMES = {
    1: "None",
    2: "VncAuth",
    16: "Tight",
    18: "TLS",
    19: "VeNCrypt",
    256: "Plain",
    257: "TLSNone",
    258: "TLSVnc",
    259: "TLSPlain",
    260: "X509None",
    261: "X509Vnc",
    262: "X509Plain",
}


def version(minor: int) -> bytes:
    """
    What each side says first, the server before the client.
    """
    return b"RFB 003.%03d\n" % minor


async def readVersion(peer: Conversation) -> int:
    """
    The version that C{peer} speaks: 3, 7 or 8.  What was never published is 3.3 (RFC 6143, section
    7.1.1), and what is later has what 3.8 has, as with Apple's 003.889 and RealVNC's 005.000.
    """
    said = await peer.readExactly(4)
    if startsTLS(said):
        raise ForeignProtocol("the peer starts TLS itself", said)
    if said == _VERSION_START:
        said += await peer.readExactly(_VERSION_BYTES - 4)
    found = _VERSION.fullmatch(said)
    if not found or (number := (int(found[1]), int(found[2]))) < (3, 3):
        raise Malformed("that is no version of RFB", said + peer.takeRest())
    return REASONS if number >= (3, REASONS) else LISTS if number == (3, LISTS) else 3


def text(words: bytes) -> bytes:
    """
    A string, as reasons are.
    """
    return struct.pack(">I", len(words)) + words


async def _readNumber(peer: Conversation) -> int:
    return int.from_bytes(await peer.readExactly(4))


async def readReason(server: Conversation) -> bytes:
    """
    Why a server refuses the connection: behind a list of no security types.
    """
    return await server.readExactly(await _readNumber(server))


async def readTypes(server: Conversation, minor: int) -> Sequence[int]:
    """
    The security types that a server offers, of which the client picks one; the one that it has
    decided on, before 3.7.  If there is none, L{readReason} follows.
    """
    if minor < LISTS:
        decided = await _readNumber(server)
        return (decided,) if decided else ()
    (count,) = await server.readExactly(1)
    return await server.readExactly(count)


async def readSubtypes(server: Conversation, refusal: type[TunnelError]) -> Sequence[int]:
    """
    Agree on VeNCrypt 0.2, which was picked, and hear what a server offers of it.

    @param refusal: what it is if that comes to nothing.
    """
    offered = await server.readExactly(2)
    if offered < VENCRYPT_VERSION:
        server.write(b"\0\0")
        raise refusal("the peer knows an older VeNCrypt only", offered)
    server.write(VENCRYPT_VERSION)
    if await server.readExactly(1) != b"\0":
        raise refusal("the peer does not agree to VeNCrypt 0.2")
    (count,) = await server.readExactly(1)
    return struct.unpack(f">{count}I", await server.readExactly(4 * count))


async def offer(client: Conversation, kind: int) -> None:
    """
    Offer one security type, and nothing else.
    """
    client.write(bytes((1, kind)))
    picked = await client.readExactly(1)
    if picked[0] != kind:
        why = "the peer picks a security type that it was not offered"
        raise Malformed(why, picked, cause="no VeNCrypt")


async def offerSubtypes(client: Conversation, subtypes: Sequence[int]) -> int:
    """
    Agree on VeNCrypt 0.2, which was picked, and offer these of its subtypes.

    @return: what the client wants, offered or not.
    """
    client.write(VENCRYPT_VERSION)
    wanted = await client.readExactly(2)
    if wanted != VENCRYPT_VERSION:
        client.write(b"\xff")
        why = "the peer wants another version of VeNCrypt than 0.2"
        raise Refused(why, wanted, cause="no VeNCrypt")
    count = len(subtypes)
    client.write(struct.pack(f">BB{count}I", 0, count, *subtypes))
    return await _readNumber(client)


class Outcome(Filter):
    """
    What passes from a server until somebody is let in: perhaps a challenge, then how the login has
    ended, as the version of whoever hears it has that.

    Both legs have versions of their own, and inside VeNCrypt there is an outcome also where none is
    awaited without it.
    """

    def __init__(self, login: Login, said: int, heard: int, isAwaited: bool = True) -> None:
        """
        @param said: the version of the server.
        @param heard: that of the client, which is no later if C{isAwaited} is false.
        @param isAwaited: whether the client waits to hear that all is well.
        """
        super().__init__()
        self._awaitsChallenge = login.hasChallenge
        self._said = said
        self._heard = heard
        self._isAwaited = isAwaited
        self._isOver = False

    def feed(self, data: bytes) -> bytes:
        """
        Pass what is whole.
        """
        if self.done:
            return data
        if self._isOver:
            return b""
        self._kept += data
        # A server that greets here was reached by somebody else's words before TLS (rule 10).
        if _VERSION.match(self._kept):
            raise spokeFirst(bytes(self._kept))
        passed = b""
        if self._awaitsChallenge:
            if len(self._kept) < CHALLENGE_BYTES:
                return b""
            self._awaitsChallenge = False
            passed = bytes(self._takeKept(CHALLENGE_BYTES))
        if len(self._kept) < len(OK):
            return passed
        return passed + self._end(bytes(self._takeKept(len(OK))))

    def _end(self, outcome: bytes) -> bytes:
        """
        How it has ended, and what follows.
        """
        if outcome == OK:
            self.done = True
            return (outcome if self._isAwaited else b"") + self.flush()
        if outcome not in (FAILED, TOO_MANY):
            if outcome == _VERSION_START:
                raise spokeFirst(outcome + self.flush())
            raise Malformed("this is no result of a login", outcome)
        if not self._isAwaited:
            raise Refused("the peer refuses the login", bytes(self._kept))
        if self._said >= REASONS > self._heard:
            self._isOver = True
            self._kept.clear()
            return outcome
        self.done = True
        if self._heard >= REASONS > self._said:
            outcome += text(b"Authentication failed")
        return outcome + self.flush()
