"""
Tests for L{tlstunnel.net.proxyreading}: a header is read from a socket, and not a byte more.
"""

from __future__ import annotations

import socket
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import Closed, Malformed, Oversize, Reset, TimedOut, TunnelError
from tlstunnel.net import proxywriting
from tlstunnel.net.proxyheader import SIGNATURE, Header
from tlstunnel.net.proxyreading import HeaderReader

HERE, THERE = TCPAddress("192.0.2.1", 56324), TCPAddress("198.51.100.7", 443)
BINARY = proxywriting.binary(HERE, THERE, proxywriting.tlv(1, b"h2"), True)
TEXT = proxywriting.text(HERE, THERE)
HELLO = b"\x16\x03\x01\x02\x00"


class _Reactor:
    """
    Knows whether somebody wants to read.
    """

    def __init__(self) -> None:
        self.readers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard


class _Reading:
    """
    A reader on a pair of sockets.
    """

    def __init__(self) -> None:
        self.reactor = _Reactor()
        self.peer, self.sock = socket.socketpair()
        self.sock.setblocking(False)
        self.results: list[Header | TunnelError] = []
        self.reader = HeaderReader(self.reactor, self.sock, self.results.append)

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        """
        Something arrives.
        """
        self.peer.sendall(data)
        self.reader.doRead()

    @property
    def rest(self) -> bytes:
        """
        What lies in the socket.
        """
        try:
            return self.sock.recv(65536)
        except BlockingIOError:
            return b""


class ReadingTests(SynchronousTestCase):
    """
    L{HeaderReader}.
    """

    def test_whatIsThereIsReadAtOnce(self) -> None:
        """
        The reactor is not asked, and TLS behind it stays.
        """
        for header in BINARY, TEXT, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0":
            with _Reading() as reading:
                reading.peer.sendall(header + HELLO)
                reading.reader.start()
                self.assertIsInstance(reading.results[0], Header)
                self.assertEqual(reading.reactor.readers, set())
                self.assertEqual(reading.rest, HELLO)

    @given(
        st.sampled_from([BINARY, TEXT, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0"]),
        st.lists(st.integers(0, 120), max_size=6),
    )
    def test_cutAnywhere(self, header: bytes, cuts: list[int]) -> None:
        """
        Nothing is left in the socket while more is to come, so that nobody is called in vain.
        """
        sent = header + HELLO
        edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
        with _Reading() as reading:
            reading.reader.start()
            for start, end in pairwise(edges):
                reading.send(sent[start:end])
                if end < len(header):
                    self.assertEqual(reading.results, [])
                    self.assertIn(reading.reader, reading.reactor.readers)
                    self.assertEqual(reading.rest, b"")
            (result,) = reading.results
            self.assertIsInstance(result, Header)
            self.assertEqual(reading.rest, HELLO)
            self.assertEqual(reading.reactor.readers, set())

    def test_whatIsNoneIsRefusedAtOnce(self) -> None:
        """
        With its first bytes, and once.
        """
        for said, kind in (
            (HELLO, Malformed),
            (b"G", Malformed),
            (SIGNATURE + b"\x21\x11\xff\xff", Oversize),
            (b"PROXY TCP4 nonsense\r\n", Malformed),
            (b"PROXY " + b"x" * 200, Malformed),
        ):
            with _Reading() as reading:
                reading.reader.start()
                reading.send(said)
                reading.reader.end(TimedOut())
                (result,) = reading.results
                self.assertIsInstance(result, kind)
                self.assertEqual(reading.reactor.readers, set())

    def test_ends(self) -> None:
        """
        Before a header and within one, in an orderly way and by a hang-up.
        """
        for said in b"", TEXT[:9], BINARY[:30]:
            with _Reading() as reading:
                reading.reader.start()
                reading.send(said)
                reading.peer.close()
                reading.reader.doRead()
                (result,) = reading.results
                self.assertIsInstance(result, Closed)
        with _Reading() as reading:
            reading.reader.start()
            reading.reader.connectionLost(Failure(ConnectionDone()))
            (result,) = reading.results
            self.assertIsInstance(result, Reset)

    def test_aHangUpBehindAHeader(self) -> None:
        """
        On a UNIX socket, what was said can still be read.
        """
        with _Reading() as reading:
            reading.reader.start()
            reading.peer.sendall(TEXT + b"ping")
            reading.peer.close()
            reading.reader.connectionLost(Failure(ConnectionDone()))
            (result,) = reading.results
            self.assertIsInstance(result, Header)
            self.assertEqual(reading.rest, b"ping")
