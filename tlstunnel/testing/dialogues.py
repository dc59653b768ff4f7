"""
Dialogues, and small things to test dialects with.

A dialogue says who says what, up to the switch and behind it, with a letter for each that can
speak: C{C} and C{S}, the client and the server on the network leg; C{A} and C{B}, the app or the
backend on the plain leg; C{T}, the tunnel on the plain leg.  In client mode the role plays C{C} and
C{T}, in server mode C{S} and C{T}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import IDialect, IFilter
from tlstunnel.protocols.setting import Setting
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.filtering import Filtering

#: Who says what, in turn.
Dialogue = Sequence[tuple[str, bytes]]

#: What TLS begins with.
CLIENT_HELLO = bytes.fromhex("16030100050100000100")

#: What very old clients begin it with: a ClientHello in the form of SSL 2.
SSL2_HELLO = bytes.fromhex("801c0103010003000000100000040102030405060708090a0b0c0d0e0f10")

#: The names of L{setting}.
OURS = b"tunnel.example.net"
THEIRS = b"server.example.org"


def setting(*options: str) -> Setting:
    """
    What a role knows, with these options.
    """
    return Setting(
        ourName=OURS,
        peerName=THEIRS,
        authority=THEIRS,
        localID=Identity(None, OURS.decode()),
        remoteID=Identity(None, THEIRS.decode()),
        explicit=True,
        options=frozenset(options),
    )


def client(dialect: IDialect, *options: str) -> Driver:
    """
    The client role of C{dialect}, which has sent what it sends unasked.
    """
    return Driver(dialect, "client", setting(*options))


def server(dialect: IDialect, *options: str) -> Driver:
    """
    Its server role.
    """
    return Driver(dialect, "server", setting(*options))


def said(driver: Driver, data: bytes) -> bytes:
    """
    What the role answers on the network leg when it hears C{data}.
    """
    driver.network.takeWritten()
    driver.network.feed(data)
    return driver.network.takeWritten()


def inside(driver: Driver, dialogue: Dialogue) -> Driver:
    """
    Play C{dialogue}, which leads to the switch, and complete the handshake.
    """
    driver.play(dialogue)
    driver.handshake()
    return driver


def isFiltered(leg: MemoryLeg) -> bool:
    """
    Whether what arrives on a leg of a relay still goes through filters.
    """
    return isinstance(leg.speaker, Filtering)


def split(data: bytes) -> Iterator[tuple[bytes, ...]]:
    """
    C{data} in two pieces in every way, and in single bytes.
    """
    for cut in range(1, len(data)):
        yield data[:cut], data[cut:]
    yield tuple(data[at : at + 1] for at in range(len(data)))


def crumbs(data: bytes) -> tuple[bytes, ...]:
    """
    C{data} in single bytes, or if it is long in small pieces.
    """
    size = 1 if len(data) < 4096 else 997
    return tuple(data[at : at + size] for at in range(0, len(data), size))


def filtered(each: IFilter, pieces: Iterable[bytes]) -> bytes:
    """
    What passes of C{pieces}, the end of the stream included.
    """
    return b"".join([each.feed(piece) for piece in pieces]) + each.flush()


def missingLines(whole: bytes, passed: bytes) -> list[bytes]:
    """
    The lines of C{whole} that C{passed} lacks.

    @raise AssertionError: if that is not all in which they differ.
    """
    missing = []
    for line in re.findall(rb"[^\n]*\n|[^\n]+", whole):
        if passed.startswith(line):
            passed = passed[len(line) :]
        else:
            missing.append(line)
    assert not passed, passed
    return missing
