"""
Greetings and logins of mysql that have no password in them, for tests.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from tlstunnel.protocols.mysqlpackets import Greeting

SSL = 1 << 11
PLUGIN_AUTH = 1 << 19


def packet(number: int, payload: bytes) -> bytes:
    """
    One packet.
    """
    return len(payload).to_bytes(3, "little") + bytes((number % 256,)) + payload


# As they came from the servers.
MYSQL = bytes.fromhex(
    "0a 382e302e3432 00 08000000 0102030405060708 00 ffff ff 0200 ffdf 15 00000000000000000000"
    "1112131415161718191a1b1c 00 63616368696e675f736861325f70617373776f7264 00"
)
MARIADB = (
    b"\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\0"
    + struct.pack("<I8sx", 5, b"abcdefgh")
    + struct.pack("<HBHHB", 0xFFFE, 45, 2, 0x81BF, 21)
    + bytes(6)
    + struct.pack("<I", 0x1D)
    + b"ijklmnopqrst\0mysql_native_password\0"
)

# Fields that the protocol does not bound: Manticore's kind of version, the longest salt, a plugin.
LONG = (
    b"\x0a6.3.9 d7a9a2d4c@24111416 dev (columnar 3.0.1 6f4f7a5@24110516)"
    b" (secondary 3.0.1 6f4f7a5)\0"
    + struct.pack("<I8sx", 7, b"abcdefgh")
    + struct.pack("<HBHHB10x", 0xFFFF, 33, 2, 0x81BF, 255)
    + b"s" * 246
    + b"\0authentication_"
    + b"x" * 100
    + b"\0"
)

TOO_MANY = b"\xff\x10\x04Too many connections from <you>"

CAPABILITIES = 0x000FA68D | PLUGIN_AUTH
LOGIN = (
    struct.pack("<IIB23s", CAPABILITIES, 1 << 24, 45, b"")
    + b"alice\0\x14"
    + b"x" * 20
    + b"mysql_native_password\0"
)


def withFlags(payload: bytes, flags: int) -> bytes:
    """
    A client's packet with some flags set.
    """
    return struct.pack("<I", struct.unpack("<I", payload[:4])[0] | flags) + payload[4:]


def cleared(greeting: bytes) -> bytes:
    """
    A greeting without the flag for TLS.
    """
    parsed = Greeting.parse(greeting)
    return replace(parsed, capabilities=parsed.capabilities & ~SSL).payload()


REQUEST = packet(1, withFlags(LOGIN, SSL)[:32])

OK = b"\0\0\0\2\0\0\0"
ERR = b"\xff\x15\x04#28000Access denied"
SWITCH = b"\xfemysql_native_password\0" + b"s" * 20 + b"\0"


# Greetings that cannot be.
IMPOSSIBLE = {
    "protocol 9": b"\x09" + MYSQL[1:],
    "nothing": b"",
    "only a version": b"\x0a8.0.42\0",
    "a version that does not end": b"\x0a" + b"8" * 200,
    "no version": b"\x0a\0" + MYSQL[8:],
    "an escape sequence as version": b"\x0a8.0\x1b[2J" + MYSQL[7:],
    "a version beyond ASCII": b"\x0a8.0\xc3\xa4" + MYSQL[7:],
    "a plugin that is no word": MYSQL[:-1] + b" or <b>this</b>\0",
    "two names": MYSQL + b"x\0",
    "a salt that is longer than all": MYSQL[:28] + b"\xff" + MYSQL[29:],
    "a salt that is cut": MYSQL[:45],
    "a text protocol": b"220 mail.example.org ESMTP\r\n",
}
