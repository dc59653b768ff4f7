"""
What is said up to a screen by VNC, for tests.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tlstunnel.testing.dialogues import Dialogue

X509_NONE, X509_VNC, X509_PLAIN, PLAIN = 260, 261, 262, 256
ANONYMOUS = (257, 258, 259)

RFB33, RFB37, RFB38 = (b"RFB 003.%03d\n" % each for each in (3, 7, 8))
OK, FAILED, TOO_MANY = (struct.pack(">I", each) for each in range(3))
CHALLENGE, RESPONSE = bytes(range(16)), bytes(range(16, 32))
NAME, PASSWORD = b"alice", b"secret"
LOGIN = struct.pack(">II", len(NAME), len(PASSWORD)) + NAME + PASSWORD
# Anything, as far as anybody but the two ends knows.
ANYTHING = b"\1" + bytes(range(256)) * 3


def number(value: int) -> bytes:
    """
    As one is sent.
    """
    return struct.pack(">I", value)


def text(words: bytes, length: int | None = None) -> bytes:
    """
    A string.

    @param length: what it claims to have, if not what it has.
    """
    return number(len(words) if length is None else length) + words


def subtypes(*values: int) -> bytes:
    """
    A list of VeNCrypt.
    """
    return struct.pack(f">B{len(values)}I", len(values), *values)


def network(version: bytes = RFB38, offered: Sequence[int] = (X509_VNC,)) -> Dialogue:
    """
    What is said up to TLS; the first subtype is picked.
    """
    return [
        ("S", RFB38),
        ("C", version),
        ("S", b"\1\x13"),
        ("C", b"\x13"),
        ("S", b"\0\2"),
        ("C", b"\0\2"),
        ("S", b"\0" + subtypes(*offered)),
        ("C", number(offered[0])),
        ("S", b"\1"),
    ]


def app(kind: int, version: bytes = RFB38) -> Dialogue:
    """
    What an app hears and says until it was offered a security type.
    """
    if version == RFB33:
        return [("T", RFB38), ("A", RFB33), ("T", number(kind))]
    return [("T", RFB38), ("A", version), ("T", bytes((1, kind))), ("A", bytes((kind,)))]


def backend(kind: int, version: bytes = RFB38) -> Dialogue:
    """
    The same of a backend.
    """
    if version == RFB33:
        return [("B", RFB33), ("T", RFB33), ("B", number(kind))]
    return [("B", version), ("T", version), ("B", bytes((1, kind))), ("T", bytes((kind,)))]
