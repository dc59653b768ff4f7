"""
Packets of MySQL and MariaDB: the greeting, and the numbers they have until the login is over.

This knows the bytes, and nothing of who says what when: see L{tlstunnel.protocols.mysql}.
"""

from __future__ import annotations

import re
import secrets
import struct
from dataclasses import dataclass

from tlstunnel.errors import Malformed
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.filters import PIECE_BYTES, Filter

#: Capability flags.
CLIENT_MYSQL = 1
CONNECT_WITH_DB = 1 << 3
COMPRESS = 1 << 5
PROTOCOL_41 = 1 << 9
SSL = 1 << 11
SECURE_CONNECTION = 1 << 15
PLUGIN_AUTH = 1 << 19
CONNECT_ATTRS = 1 << 20
LENENC_CLIENT_DATA = 1 << 21
ZSTD = 1 << 26

#: Those with which packets are within others.
COMPRESSIONS = COMPRESS | ZSTD

#: The first byte of a server's packet that ends the authentication.
OK, ERR = 0x00, 0xFF

#: That of one by which it goes on.
AUTH_MORE_DATA, AUTH_NEXT_FACTOR, AUTH_SWITCH = 0x01, 0x02, 0xFE

# Of any length: there are servers whose version has 88 bytes.  The packet as a whole is bounded.
_VERSION = re.compile(rb"[\x20-\x7e]+")
_PLUGIN = re.compile(rb"[A-Za-z0-9_]*")


@dataclass(frozen=True)
class Greeting:
    """
    What a server greets with (Protocol::HandshakeV10).

    @ivar salt: both parts, without the NUL behind.
    @ivar extended: MariaDB's capabilities beyond 32 bits; 0 in MySQL.
    """

    version: bytes
    thread: int
    salt: bytes
    capabilities: int
    charset: int
    status: int
    extended: int
    plugin: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Greeting:
        """
        @raise Malformed: if a field has a value that it cannot have.
        """
        version, _, rest = payload[1:].partition(b"\0")
        if payload[:1] != b"\x0a" or not _VERSION.fullmatch(version) or len(rest) < 44:
            raise Malformed("not a greeting of protocol 10", payload)
        thread, head, low, charset, status, high, length, reserved = struct.unpack(
            "<I8sxHBHHB10s", rest[:31]
        )
        capabilities = low | high << 16
        # The salt's second part has 13 bytes at least, the last of which is NUL; whether it has
        # more is said where a plugin is named.
        size, plugin = 13, b""
        if capabilities & PLUGIN_AUTH:
            size = max(size, length - 8)
            # Some versions forgot the NUL behind the plugin's name.
            plugin = rest[31 + size :].removesuffix(b"\0")
        tail = rest[31 : 31 + size - 1]
        if len(tail) < size - 1 or not _PLUGIN.fullmatch(plugin):
            raise Malformed("a greeting with an impossible value", payload)
        extended = 0 if capabilities & CLIENT_MYSQL else int.from_bytes(reserved[6:], "little")
        return cls(version, thread, head + tail, capabilities, charset, status, extended, plugin)

    @classmethod
    def substitute(cls) -> Greeting:
        """
        A greeting for clients of a server that did not greet: it leads to a login, and no further.
        """
        flags = CLIENT_MYSQL | CONNECT_WITH_DB | PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH
        salt = secrets.token_hex(10).encode()
        return cls(b"8.0.0-tlstunnel", 0, salt, flags, 45, 2, 0, b"caching_sha2_password")

    def payload(self) -> bytes:
        """
        The greeting, made anew.
        """
        named = bool(self.capabilities & PLUGIN_AUTH)
        return b"".join(
            (
                b"\x0a" + self.version + b"\0",
                struct.pack("<I8sx", self.thread, self.salt[:8]),
                struct.pack("<HBH", self.capabilities & 0xFFFF, self.charset, self.status),
                struct.pack("<HB", self.capabilities >> 16, len(self.salt) + 1 if named else 0),
                struct.pack("<6xI", self.extended),
                self.salt[8:] + b"\0",
                self.plugin + b"\0" if named else b"",
            )
        )


def packet(number: int, payload: bytes) -> bytes:
    """
    One packet.
    """
    return struct.pack("<I", len(payload) | number << 24) + payload


def errorPacket(number: int, code: int, state: bytes, text: bytes) -> bytes:
    """
    An ERR packet.
    """
    return packet(number, struct.pack("<BH", ERR, code) + b"#" + state + text)


async def readPacket(conversation: Conversation, number: int) -> bytes:
    """
    The payload of the next packet.

    @raise Malformed: if its sequence id is not C{number}.
    """
    start = await conversation.readExactly(4)
    header = int.from_bytes(start, "little")
    if header >> 24 != number:
        # By what greets its language is known; later words may be of a login.
        said = b"" if number else start + conversation.takeRest()
        raise Malformed(f"a packet with the number {header >> 24} instead of {number}", said)
    return await conversation.readExactly(header & 0xFFFFFF)


class Renumbered(Filter):
    """
    Adds to the sequence id of each packet, until authentication is over.
    """

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """
        Pass packets as they come, but for their id.
        """
        passed: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                part = data[at : at + self._left]
                self._left -= len(part)
                passed.append(self.payload(part))
            else:
                part = data[at : at + 4 - len(self._kept)]
                self._kept += part
                if len(self._kept) == 4:
                    passed.append(self.header(bytes(self._takeKept(4))))
            at += len(part)
        if self.done:
            passed += self.flush(), data[at:]
        # What is left of a packet is no message.
        self.pieceBytes = max(PIECE_BYTES, self._left)
        return b"".join(passed)

    def header(self, header: bytes) -> bytes:
        """
        What is to be passed on for C{header}.
        """
        self.messages += 1
        self._left = int.from_bytes(header[:3], "little")
        self.begin()
        return self.renumbered(header)

    def renumbered(self, header: bytes) -> bytes:
        """
        A header with another id.
        """
        return header[:3] + bytes(((header[3] + self._step) % 256,))

    def begin(self) -> None:
        """
        A packet begins.
        """

    def payload(self, part: bytes) -> bytes:
        """
        What is to be passed on for a part of its payload.
        """
        return part


class Verdict(Renumbered):
    """
    The same for what the server says, up to and including its first OK or ERR, with which also the
    other direction's numbering ends.

    All other packets belong to the authentication: AuthSwitchRequest, AuthMoreData,
    AuthNextFactor, and whatever plugins send as it is.
    """

    def __init__(self, step: int, answers: Renumbered) -> None:
        super().__init__(step)
        self._answers = answers
        self._kind: int | None = None

    def begin(self) -> None:
        """
        Its kind is not known yet.
        """
        self._kind = None

    def payload(self, part: bytes) -> bytes:
        """
        The first byte tells the kind.
        """
        if self._kind is None:
            self._kind = part[0]
        if self._kind in (OK, ERR) and not self._left:
            self.done = self._answers.done = True
        return part
