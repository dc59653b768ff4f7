"""
What the tests of logins and of origins share.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlstunnel.address import TCPAddress
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import IDialect
from tlstunnel.protocols.implicit import implicit
from tlstunnel.reveal.word import Word
from tlstunnel.testing.dialogues import setting
from tlstunnel.testing.memory import Driver

PEER = TCPAddress("192.0.2.1", 4711)
LOCAL = TCPAddress("198.51.100.2", 993)
JOHN = Identity.parse("john@example.org")


def begun(
    words: Sequence[tuple[Word, object]],
    dialect: IDialect = implicit,
    clear: Sequence[tuple[str, bytes]] = (),
    identity: Identity | None = JOHN,
    peer: TCPAddress | None = PEER,
) -> Driver:
    """
    A connection in which TLS has begun, after a dialogue in clear.
    """
    driver = Driver(dialect, "server", setting(), words=words, identity=identity, peer=peer)
    driver.network.local = LOCAL
    driver.play(clear)
    driver.handshake()
    return driver
