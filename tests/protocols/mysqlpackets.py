"""
What tests of mysql have in common that have a password in them: packets, and programs that encrypt.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

PASSWORD = b"down the rabbit hole\0"

CACHING_SHA2, SHA256 = b"caching_sha2_password", b"sha256_password"

#: What begins the authentication by a plugin, with the second of these, and what goes on with it.
SALT = bytes(range(1, 21))
OTHER_SALT = bytes(range(0x41, 0x55))
FULL, FAST = b"\x01\x04", b"\x01\x03"

OK = b"\0\0\0\2\0\0\0"
ERR = b"\xff\x15\x04#28000Access denied"

SSL = 1 << 11
WITH_DB = 1 << 3
LENENC = 1 << 21
CAPABILITIES = 0x000FA685 | LENENC

#: How bytes are cut that come one after the other.
Pieces = Callable[[bytes], Sequence[bytes]]

OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


def whole(data: bytes) -> Sequence[bytes]:
    """
    It comes at once.
    """
    return (data,)


def packet(number: int, payload: bytes) -> bytes:
    """
    One packet.
    """
    return len(payload).to_bytes(3, "little") + bytes((number % 256,)) + payload


def greeting(plugin: bytes = CACHING_SHA2, capabilities: int = 0xDFFFFFFF) -> bytes:
    """
    That of a server, by which its programs log in with C{plugin}.
    """
    return (
        b"\x0a9.7.4\0"
        + struct.pack("<I8sx", 8, SALT[:8])
        + struct.pack("<HBHHB10x", capabilities & 0xFFFF, 255, 2, capabilities >> 16, 21)
        + SALT[8:]
        + b"\0"
        + plugin
        + b"\0"
    )


def login(plugin: bytes, value: bytes = b"x" * 32, flags: int = WITH_DB) -> bytes:
    """
    That of a program.
    """
    size = bytes((len(value),)) if len(value) < 251 else b"\xfc" + struct.pack("<H", len(value))
    head = struct.pack("<IIB23x", CAPABILITIES | flags, 0, 45) + b"alice\0" + size + value
    return head + (b"books\0" if flags & WITH_DB else b"") + plugin + b"\0\0"


def switch(plugin: bytes, salt: bytes = OTHER_SALT) -> bytes:
    """
    An AuthSwitchRequest.
    """
    return b"\xfe" + plugin + b"\0" + salt + b"\0"


def sealed(pem: bytes, salt: bytes, password: bytes = PASSWORD) -> bytes:
    """
    What a program makes of a password and its NUL.
    """
    key = load_pem_public_key(pem)
    assert isinstance(key, rsa.RSAPublicKey)
    return key.encrypt(combined(password, salt), OAEP)


def combined(password: bytes, salt: bytes) -> bytes:
    """
    A password XOR the scramble.
    """
    return bytes(each ^ salt[at % len(salt)] for at, each in enumerate(password))
