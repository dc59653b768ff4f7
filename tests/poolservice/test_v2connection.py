"""
Tests for L{tlstunnel.poolservice.v2connection}: frames and descriptors, however they arrive.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.poolservice.tlspool import BASE, ERROR, FRAME, HEADER, PING, STARTTLS, build
from tests.poolservice.v2stage import V2Tests
from tlstunnel.poolservice.v2connection import MOST_WAITING_FRAMES
from tlstunnel.poolservice.v2frames import Frame

PING_FRAME = build(PING, cmd=0x10, facilities=1)


def numbered(reqid: int) -> bytes:
    """
    A PING.
    """
    return build(PING, reqid=reqid, cmd=0x10, facilities=1)


class CutTests(V2Tests):
    """
    A stream has no bounds.
    """

    @settings(deadline=None, max_examples=40)
    @given(st.lists(st.integers(1, 500), max_size=6))
    def test_framesAreReadHoweverTheyAreCut(self, sizes: list[int]) -> None:
        stream = b"".join(numbered(each) for each in range(3))
        at = 0
        for size in [*sizes, len(stream)]:
            if piece := stream[at : at + size]:
                self.say(piece)
            at += size
        self.assertEqual([self.hear(HEADER)["reqid"] for _ in range(3)], [0, 1, 2])
        self.hearNothing()

    def test_halfAFrameIsNoRequest(self) -> None:
        self.say(PING_FRAME[:-1])
        self.hearNothing()
        self.say(PING_FRAME[-1:])
        self.assertEqual(self.hear(HEADER)["cmd"], 0x10)

    def test_whoLeavesWithinAFrameLeavesNothing(self) -> None:
        network, _ = self.pair()
        self.say(build(STARTTLS, cmd=0x24)[:100], network)
        self.tlspool.close()
        self.reactor.settle()
        self.assertEqual(self.port.programs, set())

    def test_aDescriptorIsOfTheFrameThatItCameWith(self) -> None:
        network, _ = self.pair()
        frame = build(STARTTLS, reqid=2, cmd=0x24, flags=9, remoteid=b"a.test")
        self.say(numbered(1) + frame[:200])
        self.say(frame[200:] + numbered(3), network)
        self.assertEqual([self.hear(HEADER)["reqid"] for _ in range(2)], [1, 3])
        self.assertEqual(len(self.handOvers.begun), 1)

    def test_aDescriptorIsNotOfTheFrameBehindThat(self) -> None:
        network, _ = self.pair()
        frame = build(STARTTLS, reqid=2, cmd=0x24, flags=9, remoteid=b"a.test")
        self.say(numbered(1) + frame, network)
        numbers = [self.hear(ERROR)["tlserrno"] for _ in range(2)]
        self.assertEqual(numbers, [BASE + 5, BASE + 6])

    def test_anIdleConnectionStaysOpen(self) -> None:
        self.reactor.advance(1_000_000)
        self.reactor.settle()
        self.say(PING_FRAME)
        self.assertEqual(self.hear(HEADER)["cmd"], 0x10)


@contextmanager
def _made(make: Callable[[ExitStack], Any]) -> Iterator[Any]:
    with ExitStack() as stack:
        yield make(stack)


def _socket(family: int, kind: int) -> Callable[[ExitStack], Any]:
    return lambda stack: stack.enter_context(socket.socket(family, kind))


def _listening(stack: ExitStack) -> Any:
    return stack.enter_context(socket.create_server(("127.0.0.1", 0)))


def _pipe(stack: ExitStack) -> Any:
    read, write = os.pipe()
    stack.callback(os.close, write)
    return os.fdopen(read, "rb", closefd=True)


def _file(stack: ExitStack) -> Any:
    return stack.enter_context(tempfile.TemporaryFile())


def _datagrams(stack: ExitStack) -> Any:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    stack.enter_context(other)
    return one


def _udp(stack: ExitStack) -> Any:
    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.connect(("127.0.0.1", 9))
    return sock


#: What is no connection.
NONE = {
    "a file": _file,
    "a pipe": _pipe,
    "an epoll": lambda stack: stack.enter_context(select.epoll()),
    "a listening socket": _listening,
    "an unconnected socket": _socket(socket.AF_INET, socket.SOCK_STREAM),
    "an unconnected UNIX socket": _socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "an unconnected UDP socket": _socket(socket.AF_INET, socket.SOCK_DGRAM),
    "a connected UDP socket": _udp,
    "a UNIX socket of datagrams": _datagrams,
    "an unconnected socket of packets": _socket(socket.AF_UNIX, socket.SOCK_SEQPACKET),
    "a directory": lambda stack: _Directory(),
}


class _Directory:
    def __init__(self) -> None:
        self._descriptor = os.open("/", os.O_RDONLY)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class DescriptorTests(V2Tests):
    """
    Descriptors where there should be none, or others.
    """

    def test_whatIsNoConnectionIsRefused(self) -> None:
        frame = build(STARTTLS, reqid=4, cmd=0x24, flags=9, remoteid=b"a.test")
        for name, make in NONE.items():
            with _made(make) as handed:
                self.say(frame, handed)
            found = self.hear(ERROR)
            self.assertEqual((found["reqid"], found["tlserrno"]), (4, BASE + 6), name)
        self.assertEqual(self.handOvers.begun, [])

    def test_whatIsNoConnectionIsNoPlaintext(self) -> None:
        for number, (name, make) in enumerate(NONE.items()):
            self.startTLS(reqid=number, ctlkey=bytes(15) + bytes((number + 1,)))
            self.handOver.verify()
            question = self.hear()
            with _made(make) as handed:
                self.say(build(STARTTLS, cmd=0x2A, reqid=number, cbid=question["cbid"]), handed)
            self.assertEqual(self.hear(ERROR)["tlserrno"], BASE + 7, name)
            self.assertTrue(self.handOver.isOver)

    def test_noDescriptorIsMissed(self) -> None:
        self.say(build(STARTTLS, cmd=0x24, flags=9, remoteid=b"a.test"))
        self.assertEqual(self.hear(ERROR)["tlserrno"], BASE + 6)

    def test_severalDescriptorsAreTooMany(self) -> None:
        frame = build(STARTTLS, cmd=0x24, flags=9, remoteid=b"a.test")
        for count in 2, 3, 60, 253:
            network, _ = self.pair()
            self.tlspool.send(frame, *[network.fileno()] * count)
            network.close()
            self.reactor.settle()
            self.assertEqual(self.hear(ERROR)["tlserrno"], BASE + 5)

    def test_descriptorsWithEachByteOfAFrameAreClosed(self) -> None:
        frame = build(STARTTLS, cmd=0x24, flags=9, remoteid=b"a.test")
        network, _ = self.pair()
        for at in range(FRAME):
            self.tlspool.send(frame[at : at + 1], *[network.fileno()] * 10)
            self.reactor.settle()
            self.assertLess(len(self.descriptors()), len(self.before) + 20)
        self.assertEqual(self.hear(ERROR)["tlserrno"], BASE + 5)

    def test_otherCommandsTakeNoDescriptor(self) -> None:
        for cmd in 0x10, 0x29, 0x2B, 0x2C, 0x100, 0x101, 0x200, 0x7777:
            network, peer = self.pair()
            self.say(build(HEADER, cmd=cmd, reqid=cmd & 0xFF), network)
            self.assertEqual(self.hear(ERROR)["tlserrno"], BASE + 5)
            self.assertEqual(peer.recv(1), b"")

    def test_aProcessWithoutRoomSaysSo(self) -> None:
        """Linux drops what it has no number for."""
        network, _ = self.pair()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.tlspool.send(build(STARTTLS, cmd=0x24, flags=9, remoteid=b"a"), network.fileno())
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            for each in tuple(self.reactor.readers):
                each.doRead()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(self.hear(ERROR)["tlserrno"], errno.EMFILE)


class OutputTests(V2Tests):
    """
    Programs that do not read.
    """

    def fill(self) -> int:
        """
        Ask without reading, until the socket takes no more.

        @return: how many requests there were.
        """
        count = 0
        while True:
            try:
                self.tlspool.send(numbered(count))
            except BlockingIOError:
                if not self.reactor.turn():
                    return count
            else:
                count += 1
                self.reactor.turn()

    def test_whoDoesNotReadIsNotReadFrom(self) -> None:
        other = self.connect()
        count = self.fill()
        self.assertGreater(count, 10)
        self.assertTrue(self.reactor.writers)
        # Others are served meanwhile.
        self.say(PING_FRAME, by=other)
        self.assertEqual(self.hear(HEADER, by=other)["cmd"], 0x10)

    def test_whoReadsAtLastHasAllAnswersWhole(self) -> None:
        count = self.fill()
        answered: list[int] = []
        while len(answered) < count:
            self.reactor.turn()
            answered.append(self.hear(HEADER)["reqid"])
        self.assertEqual(answered, [each & 0xFFFF for each in range(count)])

    def test_aSmallBufferSplitsNoFrame(self) -> None:
        for each in tuple(self.reactor.readers):
            each.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.test_whoReadsAtLastHasAllAnswersWhole()

    def test_whoLeavesWithoutReadingLeavesNothing(self) -> None:
        self.fill()
        self.tlspool.close()
        self.reactor.settle()
        self.assertEqual(self.port.programs, set())

    def test_whatWaitsIsBounded(self) -> None:
        """By more than any program asks for before it reads."""
        (program,) = self.port.programs
        connection = program._connection
        self.fill()
        for _ in range(2 * MOST_WAITING_FRAMES):
            connection.send(Frame(1, 0, 0))
            self.assertLessEqual(len(connection._waiting), MOST_WAITING_FRAMES)
        self.tlspool.sock.setblocking(False)
        self.reactor.settle()
        self.assertEqual(self.port.programs, set())
