"""
Tests for L{tlstunnel.net.messages}: messages between two processes, and descriptors that go along.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.net.messages import DESCRIPTORS_PER_PIECE, MAX_MESSAGE, MAX_WAITING, Messages


def descriptorsInUse() -> set[int]:
    """
    All that this process has.
    """
    return {int(each.name) for each in Path("/proc/self/fd").iterdir()}


class Reactor:
    """
    Remembers who wants to write.
    """

    def __init__(self) -> None:
        self.writers: set[Any] = set()

    def addReader(self, reader: object) -> None:
        """
        A test reads when it likes.
        """

    def removeReader(self, reader: object) -> None:
        """
        See L{addReader}.
        """

    def addWriter(self, writer: Any) -> None:
        """
        There is room.
        """
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        """
        Nothing is left.
        """
        self.writers.discard(writer)


class End:
    """
    One end, and what has come to it.
    """

    def __init__(self, reactor: Reactor, sock: socket.socket) -> None:
        self.came: list[tuple[dict[str, Any], list[int] | None]] = []
        self.ended = 0
        self.messages = Messages(reactor, sock, self.received, self.end)

    def received(self, message: dict[str, Any], descriptors: list[int] | None) -> None:
        """
        A message.
        """
        self.came.append((message, descriptors))

    def end(self) -> None:
        """
        There is no more.
        """
        self.ended += 1


class MessagesTests(SynchronousTestCase):
    """
    L{Messages}, two of them.
    """

    def setUp(self) -> None:
        """
        Connect both.
        """
        self.connect()

    def connect(self) -> None:
        """
        Make two ends; one is also there as it is.
        """
        self.reactor = Reactor()
        one, self.raw = socket.socketpair()
        self.one, self.other = End(self.reactor, one), End(self.reactor, self.raw)
        for each in (self.one, self.other):
            self.addCleanup(each.messages.close)

    def move(self) -> None:
        """
        Let everything that is sent arrive.
        """
        while self.reactor.writers:
            for writer in tuple(self.reactor.writers):
                writer.doWrite()
            self.read()
        self.read()

    def read(self) -> None:
        """
        Read both, until there is nothing.
        """
        for each in (self.one, self.other):
            for _ in range(50):
                if not each.messages.isClosed:
                    each.messages.doRead()

    def test_whatIsSentArrives(self) -> None:
        """
        In both directions, in order, long or short.
        """
        for number in range(3):
            self.one.messages.send({"n": number, "text": "\udc80x" * number})
        self.other.messages.send({"back": "y" * 500000})
        self.move()
        self.assertEqual([message["n"] for message, _ in self.other.came], [0, 1, 2])
        self.assertEqual(self.other.came[2][0]["text"], "\udc80x" * 2)
        self.assertEqual([len(message["back"]) for message, _ in self.one.came], [500000])

    def test_descriptorsGoAlong(self) -> None:
        """
        More of them than the system takes at once; each is what was sent, is closed in programs
        that are started, and the sender has none left.
        """
        probe = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(probe.close)
        many = [probe] * (DESCRIPTORS_PER_PIECE + 3)
        before = len(descriptorsInUse())
        self.one.messages.send({"n": 1}, many)
        self.one.messages.send({"n": 2})
        self.one.messages.send({"n": 3}, [probe])
        self.move()
        counts = [len(descriptors or ()) for _, descriptors in self.other.came]
        self.assertEqual(counts, [len(many), 0, 1])
        for _, descriptors in self.other.came:
            for each in descriptors or ():
                self.assertFalse(os.get_inheritable(each))
                with socket.socket(fileno=each) as sock:
                    self.assertEqual(sock.getsockname(), probe.getsockname())
        self.assertEqual(len(descriptorsInUse()), before)

    def test_whereThereIsNoRoomForAllThereAreNone(self) -> None:
        """
        Who needs them hears that; what comes later is as it should be.
        """
        probe = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(probe.close)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.one.messages.send({"n": 1}, [probe] * 20)
        while self.reactor.writers:
            self.one.messages.doWrite()
        used = descriptorsInUse()
        free = [number for number in range(len(used) + 10) if number not in used]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[5], hard))
        try:
            self.read()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.one.messages.send({"n": 2}, [probe])
        self.move()
        (_, first), (_, second) = self.other.came
        self.assertIsNone(first)
        assert second is not None
        self.assertEqual(len(second), 1)
        os.close(second[0])

    def test_whoDoesNotReadIsNotWaitedFor(self) -> None:
        """
        What waits has a limit, and its descriptors are closed with it.
        """
        probe = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(probe.close)
        before = len(descriptorsInUse())
        text = "x" * (MAX_MESSAGE // 2)
        for _ in range(MAX_WAITING // len(text) - 1):
            self.one.messages.send({"text": text}, [probe])
        self.assertRaises(OSError, self.one.messages.send, {"text": text * 2})
        self.one.messages.close()
        self.assertEqual(len(descriptorsInUse()), before - 1)

    def test_theEndIsSaidOnce(self) -> None:
        """
        Whoever closes first; what is sent after that goes nowhere.
        """
        self.other.messages.close()
        self.read()
        self.one.messages.send({"n": 1})
        self.one.messages.close()
        self.assertEqual((self.one.ended, self.other.ended), (1, 1))

    def test_theEndOfTheReactorIsNone(self) -> None:
        """
        But a hang-up is.
        """
        self.one.messages.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.one.ended, 0)
        self.one.messages.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.one.ended, 1)

    @given(st.lists(st.dictionaries(st.text(), st.integers()), max_size=4), st.data())
    def test_piecesMeanTheSame(self, said: list[dict[str, int]], data: st.DataObject) -> None:
        """
        However what was sent is cut.
        """
        self.connect()
        said = [{f"x{name}": value for name, value in each.items()} for each in said]
        texts = [json.dumps({**each, "descriptors": 0}).encode() for each in said]
        whole = b"".join(struct.pack("!I", len(text)) + text for text in texts)
        while whole:
            size = data.draw(st.integers(1, len(whole)))
            self.raw.send(whole[:size])
            whole = whole[size:]
            self.one.messages.doRead()
        self.assertEqual([message for message, _ in self.one.came], said)
        self.doCleanups()

    @given(st.binary(max_size=200), st.booleans())
    def test_whatIsNoMessageEndsIt(self, junk: bytes, isFramed: bool) -> None:
        """
        It is not raised, and nothing is passed on.
        """
        self.connect()
        self.raw.send(struct.pack("!I", len(junk)) + junk if isFramed else b"\xff" + junk)
        self.raw.shutdown(socket.SHUT_WR)
        self.read()
        self.assertEqual((self.one.came, self.one.ended), ([], 1))
        self.doCleanups()
