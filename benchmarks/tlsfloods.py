"""
Floods of what TLS itself has, for all who speak it: in server mode by a client, and in client mode
by the server.

The smallest records and messages come on one connection, as fast as the tunnel takes them;
certificates that are dear come on several connections at the same moment, again and again.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks import certificates
from benchmarks.contenders import Mode
from benchmarks.credentials import HOST, Credentials
from benchmarks.figures import NO_FLOOD
from benchmarks.floods import PING, Flood, FloodClient
from benchmarks.load import Broken, Session, Speaking
from benchmarks.records import Writer, logging, writtenSecret

#: Connections at the same moment.
_VOLLEY = 8
_ANSWER_SECONDS = 10.0
#: Records without data in a row: OpenSSL ends a connection at the 33rd that is empty, and tlstunnel
#: sooner or later at those of either kind.
_EMPTY_IN_A_ROW = 31
_UPDATES_IN_A_ROW = 8


def _tinyRecords(writer: Writer) -> bytes:
    return b"".join(writer.data(b"x") for _ in range(40_000))


def _tinyLines(writer: Writer) -> bytes:
    return b"".join(writer.data(b"\n" * 16_000) for _ in range(200))


def _emptyRecords(writer: Writer) -> bytes:
    once = (b"",) * _EMPTY_IN_A_ROW + (b"x",)
    return b"".join(writer.data(content) for _ in range(1_200) for content in once)


def _keyUpdates(writer: Writer) -> bytes:
    pieces = []
    for _ in range(1_800):
        pieces += [writer.keyUpdate() for _ in range(_UPDATES_IN_A_ROW)]
        pieces.append(writer.data(b"x"))
    return b"".join(pieces)


@dataclass(frozen=True)
class TLSFlood:
    """
    @ivar pour: makes the records of it.
    @ivar names: where there are none, of the certificate that is shown.
    @ivar chain: how many certificates are shown.
    """

    name: str
    pour: Callable[[Writer], bytes] | None = None
    names: int = 0
    chain: int = 0
    quick: bool = True


TLS_FLOODS = (
    TLSFlood(NO_FLOOD, quick=False),
    TLSFlood("tiny records", _tinyRecords, quick=False),
    TLSFlood("tiny lines", _tinyLines, quick=False),
    TLSFlood("empty records", _emptyRecords),
    TLSFlood("key updates", _keyUpdates),
    TLSFlood("10,000 names", names=certificates.NAMES, chain=1),
    TLSFlood("a chain of 100", names=1, chain=certificates.CHAIN),
)


def flood(name: str) -> TLSFlood:
    """@return: the one of that name."""
    return next(each for each in TLS_FLOODS if each.name == name)


class TLSFloodClient(FloodClient):
    """
    The near end of a tunnel in server mode, which a client floods.

    @param hostile: the certificate of that client, with its key.
    @param log: where secrets of connections may be put.
    """

    def __init__(
        self, port: int, context: ssl.SSLContext | None, of: TLSFlood, hostile: Path, log: Path
    ) -> None:
        super().__init__(port, context, Flood())
        self.of = of
        self.hostile = hostile
        self.log = log

    @property
    def name(self) -> str:
        return self.of.name

    def overwhelm(self, seconds: float, begun: Event) -> None:
        if self.of.pour is not None:
            super().overwhelm(seconds, begun)
            return
        os.nice(10)
        begun.set()
        end = time.monotonic() + seconds
        if not self.of.chain:
            time.sleep(seconds)
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.hostile)
        while time.monotonic() < end:
            with contextlib.suppress(OSError, Broken):
                self._volley(context)

    def begin(self) -> Session:
        assert self.context is not None
        session = Session(self.inClear(), logging(self.context, self.log))
        self._writer = Writer(writtenSecret(self.log, isServer=False))
        return session

    def chunk(self, session: Session) -> bytes:
        assert self.of.pour is not None
        return self.of.pour(self._writer) + self._writer.data(PING)

    def _volley(self, context: ssl.SSLContext) -> None:
        """Show the certificate on several connections at once, and await what comes of it."""
        with contextlib.ExitStack() as stack:
            ready = [
                (stack.enter_context(connection), flight)
                for connection, flight in (self._lastFlight(context) for _ in range(_VOLLEY))
            ]
            for connection, flight in ready:
                connection.sendall(flight)
            for connection, _ in ready:
                connection.settimeout(_ANSWER_SECONDS)
                with contextlib.suppress(OSError):
                    connection.recv(1)

    def _lastFlight(self, context: ssl.SSLContext) -> tuple[socket.socket, bytes]:
        """@return: a connection that has had all of the handshake but this, which is ours."""
        connection = self.inClear()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
        try:
            while True:
                try:
                    session.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    data = connection.recv(1 << 16)
                    if not data:
                        raise Broken("ended in the handshake") from None
                    incoming.write(data)
            session.write(PING)
        except BaseException:
            connection.close()
            raise
        return connection, outgoing.read()


class HostileServerClient(FloodClient):
    """
    The near end of a tunnel in client mode, which the server floods (L{benchmarks.hostile}).

    @param flag: a file that is there while the server has to be hostile.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None, of: TLSFlood, flag: Path) -> None:
        super().__init__(port, context, Flood())
        self.of = of
        self.flag = flag

    @property
    def name(self) -> str:
        return self.of.name

    def connect(self) -> socket.socket:
        connection = self._raw()
        self.ask(connection, PING)
        return connection

    def overwhelm(self, seconds: float, begun: Event) -> None:
        os.nice(10)
        self.flag.touch()
        begun.set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
                count = 1 if self.of.pour else _VOLLEY
                opened = [stack.enter_context(self._raw()) for _ in range(count)]
                for connection in opened:
                    connection.settimeout(_ANSWER_SECONDS)
                    self._drain(connection)

    def _drain(self, connection: socket.socket) -> None:
        """Until all of the flood has come, or the tunnel has had enough."""
        last = b""
        while not self.isAnswered(last):
            data = connection.recv(1 << 16)
            if not data:
                break
            last = (last + data)[-100:]

    def finish(self) -> None:
        self.flag.unlink(missing_ok=True)


def speaking(of: TLSFlood, mode: Mode, credentials: Credentials, directory: Path) -> Speaking:
    """
    @param directory: of this flood alone.
    @return: what is spoken through a tunnel that is flooded in C{mode}.
    """
    hostile = credentials.pem
    if of.chain:
        hostile = certificates.write(credentials, directory / "hostile.pem", of.names, of.chain)
    if mode == "client":
        flag = directory / "flag"
        options = ("--flood", of.name, "--flag", str(flag), "--hostile", str(hostile))
        client = partial(HostileServerClient, of=of, flag=flag)
        return Speaking(client=client, backend=options, program="benchmarks.hostile")
    return Speaking(
        client=partial(TLSFloodClient, of=of, hostile=hostile, log=directory / "secrets"),
        backend=Flood().speaking.backend,
        demanding=bool(of.chain),
    )
