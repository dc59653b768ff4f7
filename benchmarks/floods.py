"""
How long others wait beside a client that floods.

A tunnel reads along where a protocol makes it, message by message, and a message may be a single
byte: a client whom nobody knows can make it do that for as long as it likes.  A L{Flood} says how
in one dialect, in server mode.  Meanwhile another connection asks for an answer again and again,
and what it waits for the longest is the figure: the longest turn that anybody else had.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Event

from benchmarks.credentials import HOST
from benchmarks.load import Broken, Client, Session, Speaking

#: Any line with this word in it is answered by the backend.
PING = b"NOOP\r\n"
ANSWER = b"200 ok\r\n"

_SECONDS = 0.5
_START_SECONDS = 10.0

#: Bytes that are encrypted at once, and TLS records of a byte each.
_CHUNK_BYTES = 1 << 18
_CHUNK_RECORDS = 1 << 11


@dataclass(frozen=True)
class Flood:
    """
    @ivar dialect: as the tunnel calls it.
    @ivar greeting: what the backend says first.
    @ivar clear: what a client says before TLS, and what it awaits each time, as a pattern that ends
        with what has come; where that is empty it awaits nothing.
    @ivar prelude: what the client that floods says first inside TLS.
    @ivar piece: what it says again and again; empty for single bytes, each in a TLS record.
    @ivar hello: what the other client says first inside TLS, in which there is a L{PING}.
    @ivar answer: what the backend answers; it ends in L{ANSWER}.
    """

    dialect: str = ""
    greeting: bytes = b""
    clear: tuple[tuple[bytes, bytes], ...] = ()
    prelude: bytes = b""
    piece: bytes = b""
    hello: bytes = PING
    answer: bytes = ANSWER

    @property
    def name(self) -> str:
        """As the figures call it."""
        return self.dialect or "none"

    @property
    def speaking(self) -> Speaking:
        """What is spoken through the tunnel."""
        backend = ("--greeting", self.greeting.hex(), "--answer", self.answer.hex())
        return Speaking(self.dialect, partial(FloodClient, flood=self), backend)


def _line(start: bytes) -> bytes:
    """The pattern of a reply whose last line begins with C{start}."""
    return rb"(?:^|\n)" + re.escape(start) + rb"[^\n]*\n\Z"


def _packet(number: int, payload: bytes) -> bytes:
    """A packet of MySQL."""
    return struct.pack("<I", len(payload) | number << 24) + payload


# The head of a login, which is also all of the request for TLS.
_LOGIN = struct.pack("<IIB23x", 0x000FAE8D, 1 << 24, 45)

FLOODS = (
    Flood(),
    Flood(
        "smtp",
        b"220 bench.example ESMTP\r\n",
        (
            (b"", _line(b"220 ")),
            (b"EHLO load\r\n", _line(b"250 ")),
            (b"STARTTLS\r\n", _line(b"220 ")),
        ),
        prelude=b"AUTH PLAIN\r\n",
        piece=b"\n",
    ),
    Flood(
        "lmtp",
        b"220 bench.example LMTP\r\n",
        ((b"", _line(b"220 ")), (b"STARTTLS\r\n", _line(b"220 "))),
        prelude=b"AUTH PLAIN\r\n",
        piece=b"\n",
    ),
    Flood(
        "imap",
        b"* OK ready\r\n",
        ((b"", _line(b"* OK")), (b"a STARTTLS\r\n", _line(b"a OK"))),
        piece=b"\n",
    ),
    Flood(
        "pop3",
        b"+OK ready\r\n",
        ((b"", _line(b"+OK")), (b"STLS\r\n", _line(b"+OK"))),
        prelude=b"AUTH PLAIN\r\n",
        piece=b"\n",
    ),
    Flood(
        "nntp",
        b"200 ready\r\n",
        ((b"", _line(b"200 ")), (b"STARTTLS\r\n", _line(b"382 "))),
        prelude=b"AUTHINFO SASL PLAIN\r\n",
        piece=b"\n",
    ),
    Flood(
        "sieve",
        b'OK "ready"\r\n',
        ((b"", _line(b"OK ")), (b"STARTTLS\r\n", _line(b"OK "))),
        prelude=b'AUTHENTICATE "PLAIN"\r\n',
        piece=b"\n",
    ),
    Flood(
        "ftp",
        b"220 ready\r\n",
        ((b"", _line(b"220 ")), (b"AUTH TLS\r\n", _line(b"234 "))),
        piece=b"PBSZ\n",
    ),
    Flood("postgresql", clear=((bytes.fromhex("0000000804d2162f"), rb"S\Z"),)),
    Flood(
        "mysql",
        _packet(
            0,
            b"\x0a8.0.42\0"
            + struct.pack("<I8sx", 8, b"abcdefgh")
            + struct.pack("<HBHHB10x", 0xF7FF, 255, 2, 0xDFFF, 21)
            + b"ijklmnopqrst\0mysql_native_password\0",
        ),
        (
            (b"", rb"mysql_native_password\0\Z"),
            (_packet(1, _LOGIN), b""),
        ),
        prelude=_packet(2, _LOGIN + b"flood\0\0"),
        piece=_packet(3, b""),
        hello=_packet(2, _LOGIN + PING + b"\0\0"),
        answer=_packet(2, b"\0\0\0\2\0\0\0" + ANSWER),
    ),
)


class FloodClient(Client):
    """
    A client of one dialect.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None, flood: Flood) -> None:
        super().__init__(port, context)
        self.flood = flood

    def connect(self) -> socket.socket:
        """@return: a connection whose first L{PING} was answered."""
        assert self.context is not None
        connection: socket.socket = self.context.wrap_socket(self.inClear(), server_hostname=HOST)
        self.ping(connection, self.flood.hello)
        return connection

    def inClear(self) -> socket.socket:
        """@return: a connection on which TLS is to begin."""
        connection = self._raw()
        for say, awaited in self.flood.clear:
            connection.sendall(say)
            heard = b""
            while awaited and not re.search(awaited, heard):
                data = connection.recv(4096)
                if not data:
                    raise Broken(f"ended instead of a reply to {say!r}, after {heard!r}")
                heard += data
        return connection

    def ping(self, connection: socket.socket, ask: bytes = PING) -> None:
        """An answer; what comes before it is a greeting."""
        connection.sendall(ask)
        heard = b""
        while not heard.endswith(ANSWER):
            data = connection.recv(4096)
            if not data:
                raise Broken(f"ended instead of an answer, after {heard!r}")
            heard += data

    def overwhelm(self, seconds: float, begun: Event) -> None:
        """
        Flood the tunnel for C{seconds}, unless it ends that before.

        @param begun: set when the flood begins.
        """
        # Whoever asks for an answer meanwhile is on the same core, and has to have it first.
        os.nice(10)
        with contextlib.suppress(OSError, EOFError, Broken):
            session = Session(self.inClear(), self.context)
            session.send(self.flood.prelude)
            begun.set()
            self._pour(session, time.monotonic() + seconds)

    def _pour(self, session: Session, end: float) -> None:
        """
        Flood, and drop what is answered.

        @raise EOFError: the tunnel has ended it.
        @raise OSError: likewise.
        """
        connection = session.connection
        connection.setblocking(False)
        poll = select.poll()
        poll.register(connection, select.POLLIN | select.POLLOUT)
        left = memoryview(b"")
        while (now := time.monotonic()) < end:
            for _, ready in poll.poll((end - now) * 1000):
                if ready & ~select.POLLOUT and not connection.recv(1 << 16):
                    raise EOFError
                if ready & select.POLLOUT:
                    left = left or memoryview(self._chunk(session))
                    left = left[connection.send(left) :]

    def _chunk(self, session: Session) -> bytes:
        """Records that go on with the flood."""
        assert session.session is not None
        if self.flood.piece:
            session.session.write(self.flood.piece * (_CHUNK_BYTES // len(self.flood.piece)))
        else:
            for _ in range(_CHUNK_RECORDS):
                session.session.write(b"x")
        return session.outgoing.read()


def longestWait(client: FloodClient) -> float:
    """
    Let one client flood, and another one ask for answers.

    @return: the most seconds that the latter waited for one, or for how long it had waited when it
        gave up.
    @raise Broken: there was no flood, or the connection ended.
    """
    fork = multiprocessing.get_context("fork")
    begun = fork.Event()
    longest = 0.0
    with client.connect() as connection:
        flooding = fork.Process(target=client.overwhelm, args=(_SECONDS, begun), daemon=True)
        flooding.start()
        try:
            if not begun.wait(_START_SECONDS):
                raise Broken("there was no flood")
            answered = True
            while answered and flooding.is_alive():
                start = time.perf_counter()
                try:
                    client.ping(connection)
                except TimeoutError:
                    answered = False
                longest = max(longest, time.perf_counter() - start)
        finally:
            flooding.kill()
            flooding.join()
    return longest
