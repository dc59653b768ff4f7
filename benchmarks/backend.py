"""
The far end of the load: one process that answers the messages of L{benchmarks.wire}.

    python -m benchmarks.backend [--tls CHAIN KEY [--tickets] [--older]] [--smtp]
    python -m benchmarks.backend --headers
    python -m benchmarks.backend --greeting HEX --answer HEX

It prints its port on loopback and ends when its standard input does.  With C{--tls} it is what a
client-mode tunnel connects to, and with C{--tickets} lets it resume sessions, with C{--older} speak
TLS 1.2, too; with C{--headers} it drops a header of the PROXY protocol, version 2, where a
connection begins with one; with C{--smtp} it greets, and offers STARTTLS where it has TLS; with
C{--greeting} it says so, gives its answer to every line in which there is a NOOP, and drops others.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import ssl
from collections.abc import Callable
from functools import partial

from benchmarks import wire


class Peer:
    """
    One accepted connection.

    @ivar inClear: we are before the handshake, speaking SMTP.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext | None, smtp: bool):
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.smtp = smtp
        self.session: ssl.SSLObject | None = None
        self.inClear = smtp
        self.shaken = context is None
        self.received = bytearray()
        if context is not None:
            self.incoming = ssl.MemoryBIO()
            self.outgoing = ssl.MemoryBIO()
            self.session = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def greet(self) -> None:
        if self.smtp:
            self.connection.sendall(b"220 bench.example ESMTP\r\n")

    def readable(self) -> None:
        """
        Take what has come and answer it.

        @raise EOFError: the peer has ended the connection.
        @raise OSError: it broke, TLS errors included.
        """
        while True:
            try:
                data = self.connection.recv(65536)
            except BlockingIOError:
                return
            if self.session is None or self.inClear:
                if not data:
                    raise EOFError
                self.received += data
            elif not self.decrypt(data):
                continue
            self.answer()

    def decrypt(self, data: bytes) -> bool:
        """@return: whether there is plaintext, now in C{received}."""
        assert self.session is not None
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        try:
            if not self.shaken:
                self.session.do_handshake()
                self.shaken = True
            while True:
                plaintext = self.session.read(65536)
                if not plaintext:
                    self.farewell()
                    raise EOFError
                self.received += plaintext
        except ssl.SSLWantReadError:
            pass
        self.flush()
        return bool(self.received)

    def farewell(self) -> None:
        """Answer close_notify."""
        assert self.session is not None
        try:
            self.session.unwrap()
        except ssl.SSLError:
            pass
        self.flush()

    def flush(self) -> None:
        if data := self.outgoing.read():
            self.connection.sendall(data)

    def send(self, data: bytes) -> None:
        if self.session is None or self.inClear:
            self.connection.sendall(data)
        else:
            self.session.write(data)
            self.flush()

    def answer(self) -> None:
        """Answer what was received."""
        if self.smtp:
            self.answerLines()
        else:
            self.answerMessages()

    def answerLines(self) -> None:
        """As much SMTP as a tunnel needs; RFC 5321 and RFC 3207."""
        while (end := self.received.find(b"\n")) >= 0:
            verb = bytes(self.received[:4]).upper()
            del self.received[: end + 1]
            if verb == b"STAR":
                self.send(b"220 go ahead\r\n")
                self.inClear = False
                return
            if verb == b"EHLO" and self.session is not None and self.inClear:
                self.send(b"250-bench.example\r\n250 STARTTLS\r\n")
            else:
                self.send(b"250 bench.example\r\n")

    def isResumed(self) -> bool:
        """@return: whether a session of before goes on here."""
        return self.session is not None and bool(self.session.session_reused)

    def answerMessages(self) -> None:
        while len(self.received) >= wire.MESSAGE.size:
            word, size = wire.MESSAGE.unpack_from(self.received)
            del self.received[: wire.MESSAGE.size]
            if word == wire.PING:
                self.send(wire.message(wire.PING, self.isResumed()))
            else:
                self.bulk(word, size)

    def bulk(self, word: bytes, size: int) -> None:
        """Bulk is moved by one connection at a time, and nobody else is served meanwhile."""
        self.connection.settimeout(60)
        if word == wire.SEND:
            pieces = (
                wire.plain(size)
                if self.session is None
                else wire.encrypted(self.session, self.outgoing, size)
            )
            for piece in pieces:
                self.connection.sendall(piece)
        else:
            self.send(wire.message(wire.SINK))
            if self.session is None:
                wire.receivePlain(self.connection, size)
            else:
                wire.receiveRecords(self.connection, size)
            self.send(wire.message(wire.SINK))
        self.connection.setblocking(False)


class Headed(Peer):
    """One accepted connection that may begin with a header of the PROXY protocol."""

    def __init__(self, connection: socket.socket):
        super().__init__(connection, None, smtp=False)
        self.mayBegin = True

    def answer(self) -> None:
        if self.mayBegin and self.received.startswith(b"\r\n\r\n\0\r\nQUIT\n"):
            length = 16 + int.from_bytes(self.received[14:16])
            if len(self.received) < max(16, length):
                return
            del self.received[:length]
        self.mayBegin = False
        super().answer()


class Flooded(Peer):
    """One accepted connection, over which there may come very many lines or other things."""

    def __init__(self, connection: socket.socket, greeting: bytes, reply: bytes):
        super().__init__(connection, None, smtp=False)
        self.greeting = greeting
        self.reply = reply

    def greet(self) -> None:
        self.connection.sendall(self.greeting)

    def answer(self) -> None:
        end = self.received.rfind(b"\n") + 1
        for _ in range(self.received.count(b"NOOP", 0, end)):
            self.send(self.reply)
        del self.received[:end]
        if len(self.received) > 1 << 16:
            self.received.clear()


def serve(accept: Callable[[socket.socket], Peer]) -> None:
    """
    Accept and answer until standard input ends.

    @param accept: makes of a connection who answers on it.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    peers: dict[int, Peer] = {}
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(0, select.EPOLLIN | select.EPOLLHUP)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == 0:
                if not os.read(0, 1):
                    return
            elif descriptor == listener.fileno():
                try:
                    accepted, _ = listener.accept()
                except OSError:
                    continue
                peer = accept(accepted)
                try:
                    peer.greet()
                except OSError:
                    accepted.close()
                    continue
                peers[accepted.fileno()] = peer
                poll.register(accepted, select.EPOLLIN)
            else:
                peer = peers[descriptor]
                try:
                    peer.readable()
                except (EOFError, OSError):
                    del peers[descriptor]
                    peer.connection.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tls", nargs=2, metavar=("CHAIN", "KEY"))
    parser.add_argument("--tickets", action="store_true")
    parser.add_argument("--older", action="store_true")
    parser.add_argument("--smtp", action="store_true")
    parser.add_argument("--headers", action="store_true")
    parser.add_argument("--greeting", type=bytes.fromhex)
    parser.add_argument("--answer", type=bytes.fromhex)
    options = parser.parse_args()
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
        if not options.tickets:
            context.num_tickets = 0
        if options.older:
            context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.headers:
        serve(Headed)
    elif options.greeting is not None:
        serve(partial(Flooded, greeting=options.greeting, reply=options.answer))
    else:
        serve(partial(Peer, context=context, smtp=options.smtp))


if __name__ == "__main__":
    main()
