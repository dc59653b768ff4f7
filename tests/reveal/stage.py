"""
What the tests of logins, of origins and of guards share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import Malformed, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import IDialect, IFilter
from tlstunnel.protocols.implicit import implicit
from tlstunnel.reveal.origin import Part
from tlstunnel.reveal.word import Word
from tlstunnel.testing.dialogues import setting, split
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


def told(word: Word, turns: Sequence[tuple[str, bytes]]) -> Driver:
    """
    A connection on which the backend has been told where the client is, and the relay has begun.

    @param turns: how it is told, inside TLS from the first byte.
    """
    driver = begun([(word, Part())])
    driver.play(turns)
    assert driver.stage == "relay", driver.error
    return driver


def assertEnds(
    case: SynchronousTestCase, guard: Callable[[], IFilter], said: bytes, forged: bytes
) -> None:
    """
    A guard ends the connection, however C{said} is cut, before anything of C{forged} has passed;
    and it repeats no words of the client, as there may be a password in them.
    """
    for pieces in split(said):
        with case.subTest(pieces=pieces):
            looking = guard()
            passed = b""
            with case.assertRaises(Malformed) as caught:
                for piece in pieces:
                    passed += looking.feed(piece)
            case.assertNotIn(forged, passed)
            case.assertEqual(caught.exception.said, b"")


class Server(Protocol):
    """
    A server that finds commands in what it hears.
    """

    def feed(self, data: bytes) -> bytes:
        """
        @return: what it answers.
        """


def talk(
    guard: IFilter,
    watch: IFilter,
    server: Server,
    turns: Iterable[tuple[list[bytes], bool]],
    answers: bytes = b"",
) -> None:
    """
    Let a client talk to a server, through a guard and what watches the answers, until one of these
    ends it.

    @param turns: what the client says, and whether all answers so far arrive before that.
    @param answers: what the server has said before.
    """
    with suppress(TunnelError):
        for said, isAnswered in turns:
            if isAnswered:
                watch.feed(answers)
                answers = b""
            answers += server.feed(guard.feed(b"".join(said)))
        watch.feed(answers)
