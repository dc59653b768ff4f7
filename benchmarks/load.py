"""
The near end of the load: what is done to a tunnel through its listening port.

Nothing here is timed; the cost of a tunnel is asked from L{benchmarks.accounting}, and latency is
in L{benchmarks.latency}.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from benchmarks import wire
from benchmarks.credentials import HOST
from tlstunnel.client import asClient

T = TypeVar("T")

#: How long an answer may take.
PATIENCE_SECONDS = 30.0


class Broken(Exception):
    """The tunnel did not do what a tunnel does."""


class Client:
    """
    Connections to one tunnel.

    @param context: TLS towards a server-mode tunnel, C{None} towards a client-mode one.
    @param smtp: speak SMTP, with STARTTLS where there is TLS.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None, smtp: bool = False):
        self.port = port
        self.context = context
        self.smtp = smtp

    def _raw(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def connect(self) -> socket.socket:
        """@return: a connection that has been used once: the backend is known to be there."""
        connection = self._raw()
        try:
            if self.smtp:
                self._greeting(connection)
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_hostname=HOST)
            if self.smtp:
                self._command(connection, b"EHLO load")
            else:
                ping(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _greeting(self, connection: socket.socket) -> None:
        self._reply(connection, b"220")
        if self.context is not None:
            self._command(connection, b"EHLO load")
            self._command(connection, b"STARTTLS")

    def _command(self, connection: socket.socket, line: bytes) -> None:
        connection.sendall(line + b"\r\n")
        self._reply(connection, b"2")

    def _reply(self, connection: socket.socket, code: bytes) -> None:
        reply = b""
        while not reply.endswith(b"\n") or reply.rsplit(b"\n", 2)[-2][3:4] == b"-":
            data = connection.recv(4096)
            if not data:
                raise Broken("the connection ended instead of a reply")
            reply += data
        if not reply.startswith(code):
            raise Broken(f"unexpected reply {reply!r}")

    def once(self) -> None:
        """Connect, exchange one message, close in good order and see the other end close."""
        with self.connect() as connection, contextlib.suppress(OSError):
            if isinstance(connection, ssl.SSLSocket):
                connection.unwrap().close()
            else:
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)

    def churn(self, count: int, concurrent: int) -> None:
        """C{count} connections one after the other, C{concurrent} of them at a time."""
        with ThreadPoolExecutor(concurrent) as pool:
            for _ in pool.map(lambda _: self.once(), range(count)):
                pass

    def check(self) -> None:
        """
        Is the TLS here what is to be measured?

        @raise Broken: it is not TLS 1.3 with AES-128-GCM, or the session was resumed.
        """
        with self.connect() as connection:
            if isinstance(connection, ssl.SSLSocket):
                found = (connection.version(), connection.cipher(), connection.session_reused)
                name = found[1][0] if found[1] else None
                if (found[0], name, found[2]) != ("TLSv1.3", "TLS_AES_128_GCM_SHA256", False):
                    raise Broken(f"negotiated {found}")

    def idle(self, count: int) -> list[socket.socket]:
        """@return: open connections, their TLS state forgotten on our side."""

        def one(_: int) -> socket.socket:
            connection = self.connect()
            if isinstance(connection, ssl.SSLSocket):
                return socket.socket(fileno=connection.detach())
            return connection

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(one, range(count)))

    def bulk(self) -> Bulk:
        """@return: a new connection for bulk."""
        return Bulk(self._raw(), self.context)


class PooledClient(Client):
    """
    Connections to a server that are handed over to a pool service.

    @param port: the server's.
    @param pool: where the service listens.
    """

    def __init__(self, port: int, pool: str):
        super().__init__(port, None)
        self.pool = pool

    def _raw(self) -> socket.socket:
        return asClient(super()._raw(), HOST, path=self.pool)


@dataclass(frozen=True)
class Speaking:
    """
    What is spoken through a tunnel.

    @ivar dialect: as the tunnel calls it; empty where TLS begins at once.
    @ivar client: makes the near end of it, for a port and the TLS towards that.
    @ivar backend: the options of the far end, and C{program}, the module that it is.
    @ivar demanding: whether clients have to show a certificate in server mode.
    """

    dialect: str = ""
    client: Callable[[int, ssl.SSLContext | None], Client] = Client
    backend: tuple[str, ...] = ()
    program: str = "benchmarks.backend"
    demanding: bool = False


IMPLICIT = Speaking()
SMTP = Speaking("smtp", partial(Client, smtp=True), ("--smtp",))
#: Where a server lets sessions be resumed.
TICKETS = Speaking(backend=("--tickets",))
#: Where a connection to the backend may begin with a header of the PROXY protocol.
HEADERS = Speaking(backend=("--headers",))


class Session:
    """
    One connection whose TLS is ours to write; to be closed by its user.

    @ivar session: that TLS; C{None} where there is none.
    @ivar outgoing: what it has to send.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext | None):
        self.connection = connection
        self.session: ssl.SSLObject | None = None
        if context is not None:
            self.incoming = ssl.MemoryBIO()
            self.outgoing = ssl.MemoryBIO()
            self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname=HOST)
            self._until(self.session.do_handshake)
            self._flush()

    def _flush(self) -> None:
        if data := self.outgoing.read():
            self.connection.sendall(data)

    def _until(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.connection.recv(65536)
                if not data:
                    raise Broken("ended in the handshake") from None
                self.incoming.write(data)

    def send(self, data: bytes) -> None:
        """Send C{data}."""
        if self.session is None:
            self.connection.sendall(data)
        else:
            self.session.write(data)
            self._flush()


class Bulk(Session):
    """A session that moves bulk."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext | None):
        super().__init__(connection, context)
        self.send(wire.message(wire.PING))
        self._receive()

    def _receive(self) -> None:
        size = wire.MESSAGE.size
        while size:
            if self.session is None:
                data = self.connection.recv(size)
            else:
                data = self._until(partial(self.session.read, size))
            if not data:
                raise Broken("ended instead of an answer")
            size -= len(data)

    def down(self, size: int) -> float:
        """
        Fetch C{size} bytes.  Under TLS nothing can be received afterwards: what came is not
        decrypted.

        @return: seconds from the first byte to the last.
        """
        self.send(wire.message(wire.SEND, size))
        first = select.poll()
        first.register(self.connection, select.POLLIN)
        first.poll(PATIENCE_SECONDS * 1000)
        start = time.perf_counter()
        if self.session is None:
            wire.receivePlain(self.connection, size)
        else:
            wire.receiveRecords(self.connection, size)
        return time.perf_counter() - start

    def up(self, size: int) -> float:
        """
        Deliver C{size} bytes and see that they have arrived.  A backend with TLS can receive
        nothing afterwards.

        @return: seconds from the first byte to the acknowledgement of the last.
        """
        self.send(wire.message(wire.SINK, size))
        self._receive()
        pieces = (
            wire.plain(size)
            if self.session is None
            else wire.encrypted(self.session, self.outgoing, size)
        )
        start = time.perf_counter()
        for piece in pieces:
            self.connection.sendall(piece)
        self._receive()
        return time.perf_counter() - start

    def both(self, size: int) -> None:
        """C{size} bytes each way, first the one after which the other is still possible."""
        if self.session is None:
            self.down(size)
            self.up(size)
        else:
            self.up(size)
            self.down(size)


def ping(connection: socket.socket) -> int:
    """
    One message there and back.

    @return: the number in the answer: whether the backend has resumed the session.
    """
    connection.sendall(wire.message(wire.PING))
    heard = b""
    while len(heard) < wire.MESSAGE.size:
        data = connection.recv(wire.MESSAGE.size - len(heard))
        if not data:
            raise Broken("the connection ended instead of an answer")
        heard += data
    number: int = wire.MESSAGE.unpack(heard)[1]
    return number
