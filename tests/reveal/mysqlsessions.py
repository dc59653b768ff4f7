"""
Sessions of MySQL with a client that has proved who it is, for tests.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from tests.protocols.mysqllogins import CAPABILITIES, LOGIN, MYSQL, OK, REQUEST, packet, withFlags
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.mysql import mysql as dialect
from tlstunnel.protocols.mysqlpackets import CONNECT_WITH_DB
from tlstunnel.reveal.identitymap import Names, OwnNames
from tlstunnel.reveal.mysql import mysql
from tlstunnel.testing.dialogues import setting
from tlstunnel.testing.memory import Driver

ALICE = Identity.parse("alice@example.org")
WHOLE = 0xFFFFFF
QUERY = packet(0, b"\3SELECT 1")


# What clients can do at least; the login that is made of it is to no database.
BASE = struct.pack("<I", CAPABILITIES & ~CONNECT_WITH_DB)


def login(user: bytes = b"alice", flags: int = 0) -> bytes:
    """
    A HandshakeResponse41.
    """
    return withFlags(BASE + LOGIN[4:32] + user + LOGIN[37:], flags)


def change(user: bytes, number: int = 0) -> bytes:
    """
    A COM_CHANGE_USER.
    """
    return packet(number, b"\x11" + user + b"\0\x14" + b"x" * 20 + b"books\0\x2d\0plugin\0")


def driver(
    greeting: bytes = MYSQL, identity: Identity | None = ALICE, names: Names | None = None
) -> Driver:
    """
    A tunnel within TLS, up to where the client logs in.
    """
    words = [(mysql, names or OwnNames())]
    known = replace(setting(), words=frozenset(("mysql",)))
    taken = Driver(dialect, "server", known, words=words, identity=identity)
    taken.feed("B", packet(0, MYSQL))
    taken.feed("C", REQUEST)
    taken.handshake()
    taken.network.takeWritten()
    return taken


def session() -> Driver:
    """
    One that is logged in.
    """
    taken = driver()
    taken.feed("C", packet(2, login()))
    taken.feed("B", packet(2, OK))
    taken.network.takeWritten()
    taken.plain.takeWritten()
    return taken
