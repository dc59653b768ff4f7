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

_SECONDS = 0.25
_START_SECONDS = 10.0

#: Bytes that are encrypted at once, and TLS records of a byte each.
_CHUNK_BYTES = 1 << 17
_CHUNK_RECORDS = 1 << 13


@dataclass(frozen=True)
class Flood:
    """
    @ivar dialect: as the tunnel and the figures call it.
    @ivar greeting: what the backend says first.
    @ivar clear: what a client says before TLS, and what it awaits each time, as a pattern that ends
        with what has come; where that is empty it awaits nothing.
    @ivar prelude: what the client that floods says first inside TLS.
    @ivar piece: what it says again and again; empty for single bytes, each in a TLS record.
    @ivar hello: what the other client says first inside TLS, in which there is a L{PING}.
    @ivar ping: what either says to be answered, in which there is one, too.
    @ivar answer: what the backend answers, after which the tunnel goes on to read along.
    """

    dialect: str = ""
    greeting: bytes = b""
    clear: tuple[tuple[bytes, bytes], ...] = ()
    prelude: bytes = b""
    piece: bytes = b""
    hello: bytes = PING
    ping: bytes = PING
    answer: bytes = b"200 ok\r\n"

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
        answer=b"334 ok\r\n",
    ),
    Flood(
        "lmtp",
        b"220 bench.example LMTP\r\n",
        ((b"", _line(b"220 ")), (b"STARTTLS\r\n", _line(b"220 "))),
        prelude=b"AUTH PLAIN\r\n",
        piece=b"\n",
        answer=b"334 ok\r\n",
    ),
    Flood(
        "imap",
        b"* OK ready\r\n",
        ((b"", _line(b"* OK")), (b"a STARTTLS\r\n", _line(b"a OK"))),
        piece=b"\n",
        answer=b"* OK\r\n",
    ),
    Flood(
        "pop3",
        b"+OK ready\r\n",
        ((b"", _line(b"+OK")), (b"STLS\r\n", _line(b"+OK"))),
        prelude=b"AUTH PLAIN\r\n",
        piece=b"\n",
        answer=b"+ ok\r\n",
    ),
    Flood(
        "nntp",
        b"200 ready\r\n",
        ((b"", _line(b"200 ")), (b"STARTTLS\r\n", _line(b"382 "))),
        prelude=b"AUTHINFO SASL PLAIN\r\n",
        piece=b"\n",
        answer=b"383 ok\r\n",
    ),
    Flood(
        "sieve",
        b'OK "ready"\r\n',
        ((b"", _line(b"OK ")), (b"STARTTLS\r\n", _line(b"OK "))),
        prelude=b'AUTHENTICATE "PLAIN"\r\n',
        piece=b"\n",
        answer=b'"ok"\r\n',
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
        ping=_packet(3, PING),
        answer=_packet(2, b"\1 ok\r\n"),
    ),
)


class FloodClient(Client):
    """
    A client of one dialect.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None, flood: Flood) -> None:
        super().__init__(port, context)
        self.flood = flood

    @property
    def name(self) -> str:
        """What floods, as the figures call it."""
        return self.flood.dialect

    def connect(self) -> socket.socket:
        """@return: a connection on which an answer has come."""
        assert self.context is not None
        connection: socket.socket = self.context.wrap_socket(self.inClear(), server_hostname=HOST)
        self.ask(connection, self.flood.hello)
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

    def isAnswered(self, heard: bytes) -> bool:
        """@return: whether C{heard} ends in an answer; mysql numbers it otherwise."""
        return heard.endswith(self.flood.answer[-5:])

    def ask(self, connection: socket.socket, ping: bytes) -> None:
        """Await an answer; what comes before it is a greeting."""
        connection.sendall(ping)
        heard = b""
        while not self.isAnswered(heard):
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
            session = self.begin()
            chunk = self.chunk(session)
            begun.set()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self._pour(session, chunk)
                chunk = self.chunk(session)

    def begin(self) -> Session:
        """@return: a connection that is ready for the flood."""
        session = Session(self.inClear(), self.context)
        session.send(self.flood.prelude)
        return session

    def finish(self) -> None:
        """End what of the flood goes on by itself."""

    def _pour(self, session: Session, chunk: bytes) -> None:
        """
        Pour C{chunk}, and await an answer to what is behind it: the tunnel has worked through it
        then, and nothing of it is left for later.

        @raise EOFError: the tunnel has ended it.
        @raise OSError: likewise.
        """
        assert session.session is not None
        connection = session.connection
        left = memoryview(chunk)
        heard = b""
        poll = select.poll()
        poll.register(connection, select.POLLIN | select.POLLOUT)
        connection.setblocking(False)
        while not self.isAnswered(heard):
            for _, ready in poll.poll():
                if ready & ~select.POLLOUT:
                    data = connection.recv(1 << 16)
                    if not data:
                        raise EOFError
                    session.incoming.write(data)
                    with contextlib.suppress(ssl.SSLWantReadError):
                        while True:
                            heard = heard[-100:] + session.session.read(1 << 16)
                if ready & select.POLLOUT and left:
                    left = left[connection.send(left) :]
                    if not left:
                        poll.modify(connection, select.POLLIN)

    def chunk(self, session: Session) -> bytes:
        """@return: records that go on with the flood, and a ping behind it."""
        assert session.session is not None
        flood = self.flood
        if flood.piece:
            session.session.write(flood.piece * (_CHUNK_BYTES // len(flood.piece)))
        else:
            for _ in range(_CHUNK_RECORDS):
                session.session.write(b"x")
        session.session.write(flood.ping)
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
                    client.ask(connection, client.flood.ping)
                except TimeoutError:
                    answered = False
                longest = max(longest, time.perf_counter() - start)
        finally:
            flooding.kill()
            flooding.join()
            client.finish()
    return longest
