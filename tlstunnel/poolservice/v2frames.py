"""
The frames of the TLS Pool's protocol V2: 388 bytes each, whatever they say.

Numbers are in the byte order of the host, at the offsets that the C compiler gives them in packed
structs.  This module knows bytes and fields, and nothing of connections.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar, Self

_HEADER = struct.Struct("=HHI")

#: Bytes of every frame, and of what is in it behind its header.
FRAME_BYTES = 388
PAYLOAD_BYTES = FRAME_BYTES - _HEADER.size

#: Bytes of the key by which a program names one of its connections later.
CTLKEY_BYTES = 16

#: The most bytes of an identity: one of the field is for the NUL behind it.
NAME_BYTES = 127

#: The key of a connection that is not to be named.
NO_CTLKEY = bytes(CTLKEY_BYTES)


class Command(IntEnum):
    """
    What a frame is about.
    """

    SUCCESS = 0x00
    ERROR = 0x01
    PING = 0x10
    STARTTLS = 0x24
    STARTTLS_LOCALID = 0x28
    PINENTRY = 0x29
    PLAINTEXT_CONNECT = 0x2A
    PRNG = 0x2B
    INFO = 0x2C
    CONTROL_DETACH = 0x100
    CONTROL_REATTACH = 0x101
    LIDENTRY_REGISTER = 0x200
    LIDENTRY_CALLBACK = 0x201


class Flag(IntFlag):
    """
    The flags of STARTTLS that mean something here; others are passed over.
    """

    CLIENT = 0x1
    SERVER = 0x2
    REMOTE_CLIENT = 0x4
    REMOTE_SERVER = 0x8
    WITHOUT_SNI = 0x200
    REQUEST_REMOTEID = 0x800
    IGNORE_REMOTEID = 0x1000
    DETACH = 0x2000
    FORK = 0x4000
    LOCALID_CHECK = 0x10000
    RENEGOTIATE = 0x20000


@dataclass(frozen=True)
class Frame:
    """
    One of them.

    @ivar reqid: the request that it is about, as the program numbers them.
    @ivar cbid: the question of ours that it asks or answers; 0 for none.
    @ivar cmd: a L{Command}, or a number that is none.
    @ivar payload: the rest; shorter ones stand for themselves and zeros.
    """

    reqid: int
    cbid: int
    cmd: int
    payload: bytes = b""

    def pack(self) -> bytes:
        """
        As it is sent.
        """
        assert len(self.payload) <= PAYLOAD_BYTES
        head = _HEADER.pack(self.reqid, self.cbid, self.cmd)
        return head + self.payload.ljust(PAYLOAD_BYTES, b"\0")

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """
        Read one that is whole.
        """
        assert len(data) == FRAME_BYTES
        reqid, cbid, cmd = _HEADER.unpack_from(data)
        return cls(reqid, cbid, cmd, data[_HEADER.size :])


class Payload:
    """
    What is in a frame; each kind is a dataclass that has its fields in their order.

    @cvar form: how they lie there.
    """

    form: ClassVar[struct.Struct]

    def pack(self) -> bytes:
        """
        As it is sent.

        @raise struct.error: if a number is too large for its field.
        """
        return self.form.pack(*vars(self).values())

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """
        Read one; no bytes are wrong.
        """
        return cls(*cls.form.unpack_from(payload.ljust(PAYLOAD_BYTES, b"\0")))


def text(field: bytes) -> bytes:
    """
    What a field says that ends with a NUL; what lies behind that means nothing.
    """
    return field.partition(b"\0")[0]


def field(said: bytes, size: int) -> bytes:
    """
    A field of C{size} bytes, with a NUL at its end, and as much of C{said} as there is room for.
    """
    return said[: size - 1].ljust(size, b"\0")


@dataclass(frozen=True)
class Failed(Payload):
    """
    Of ERROR.
    """

    form = struct.Struct("=i128s")

    number: int
    message: bytes


@dataclass(frozen=True)
class Ping(Payload):
    """
    Of PING.
    """

    form = struct.Struct("=136sI")

    producer: bytes
    facilities: int


@dataclass(frozen=True)
class StartTLS(Payload):
    """
    Of STARTTLS, and of what is asked back about it.
    """

    form = struct.Struct("=IIBxH128s128s16s16sI")

    flags: int
    local: int
    ipproto: int
    streamid: int
    localid: bytes
    remoteid: bytes
    ctlkey: bytes
    service: bytes
    timeout: int


@dataclass(frozen=True)
class Control(Payload):
    """
    Of CONTROL_DETACH and CONTROL_REATTACH.
    """

    form = struct.Struct("=I16s128s")

    flags: int
    ctlkey: bytes
    name: bytes


@dataclass(frozen=True)
class Random(Payload):
    """
    Of PRNG.

    @ivar buffer: asked, the key of the connection, the label and the context; answered, what comes
        of these.
    """

    form = struct.Struct("=hhh350s")

    labelBytes: int
    contextBytes: int
    wantedBytes: int
    buffer: bytes


@dataclass(frozen=True)
class Info(Payload):
    """
    Of INFO.
    """

    form = struct.Struct("=16sIH334s")

    ctlkey: bytes
    kind: int
    size: int
    buffer: bytes
