"""
A real tunnel in this process, and two blocking peers on real loopback sockets, driven by a script
in a thread: one speaks TLS on the network leg, the other speaks in clear on the plain leg.
"""

from __future__ import annotations

import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from tlstunnel.address import TCPAddress, UNIXAddress, parseAddress
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.program.service import TunnelService
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import (
    Mode,
    Tunnel,
)
from tlstunnel.tunnel.limits import (
    Limits,
)

reactor: Any = _reactor

SERVER = Identity(None, "server.example.org")
CLIENT = Identity("client", "example.org")

#: Seconds after which a blocking call of a script fails.
PATIENCE = 20

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Reset:
    """
    What L{Plain.read} and L{Encrypted.read} give for a reset.
    """


@dataclass
class Plain:
    """
    The peer on the plain leg.
    """

    sock: socket.socket

    def write(self, data: bytes) -> None:
        """
        Send all of C{data}.
        """
        self.sock.sendall(data)

    def read(self, count: int) -> bytes | type[Reset]:
        """
        Exactly C{count} bytes, or fewer before the end, or L{Reset}.
        """
        data = b""
        try:
            while len(data) < count:
                chunk = self.sock.recv(min(65536, count - len(data)))
                if not chunk:
                    break
                data += chunk
        except ConnectionError:
            return Reset
        return data

    def atEnd(self) -> bool:
        """
        Whether a clean end comes next.
        """
        return self.read(1) == b""

    def isReset(self) -> bool:
        """
        Whether a reset comes next.
        """
        return self.read(1) is Reset

    def end(self) -> None:
        """
        End our direction.
        """
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """
        Close with a reset.
        """
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.sock.close()

    def close(self) -> None:
        """
        Close.
        """
        self.sock.close()


class Encrypted(Plain):
    """
    The peer on the network leg.  It speaks through memory BIOs on a blocking socket, so that it
    can be slow, cut records, and leave close_notify out.
    """

    def __init__(
        self, sock: socket.socket, context: SSL.Context, isClient: bool, name: bytes = b""
    ):
        super().__init__(sock)
        # Else a close right behind close_notify may drop it: the TLS 1.3 tickets lie unread.
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = SSL.Connection(context)
        if isClient:
            if name:
                self.tls.set_tlsext_host_name(name)
            self.tls.set_connect_state()
        else:
            self.tls.set_accept_state()

    def flush(self) -> None:
        """
        Send what OpenSSL has for the wire.
        """
        while True:
            try:
                self.sock.sendall(self.tls.bio_read(65536))
            except SSL.WantReadError:
                return

    def fill(self) -> bool:
        """
        Give OpenSSL what comes from the wire; false at its end.
        """
        data = self.sock.recv(65536)
        if data:
            self.tls.bio_write(data)
        else:
            self.tls.bio_shutdown()
        return bool(data)

    def handshake(self) -> None:
        """
        Complete the handshake.

        @raise SSL.Error: if it fails.
        """
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self.flush()
                if not self.fill():
                    raise ConnectionError("end of file during the handshake") from None
            except SSL.Error:
                self.flush()
                raise
            else:
                self.flush()
                return

    def write(self, data: bytes) -> None:
        """
        Send all of C{data}.
        """
        view = memoryview(data)
        while view:
            view = view[self.tls.send(view[:16384]) :]
            self.flush()

    def read(self, count: int) -> bytes | type[Reset]:
        """
        Exactly C{count} bytes, or fewer before close_notify, or L{Reset}, also for an end without.
        """
        data = b""
        while len(data) < count:
            try:
                data += self.tls.recv(min(65536, count - len(data)))
            except SSL.WantReadError:
                try:
                    if not self.fill():
                        return Reset
                except ConnectionError:
                    return Reset
            except SSL.ZeroReturnError:
                break
        return data

    def end(self) -> None:
        """
        Send close_notify, and no FIN.
        """
        self.tls.shutdown()
        self.flush()

    def truncate(self) -> None:
        """
        Send a FIN without close_notify.
        """
        self.sock.shutdown(socket.SHUT_WR)


def _backend(path: str) -> tuple[socket.socket, str]:
    """
    A socket that listens, and where: at the UNIX socket C{path}, if that is given.
    """
    if not path:
        sock = socket.create_server(("127.0.0.1", 0))
        return sock, f"127.0.0.1:{sock.getsockname()[1]}"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return sock, path


def _dial(where: str) -> socket.socket:
    """
    A socket connected to a tunnel.
    """
    if "/" not in where:
        host, port = where.rsplit(":", 1)
        return socket.create_connection((host, int(port)), PATIENCE)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(where)
    return sock


def readLine(sock: socket.socket) -> bytes:
    """
    What is said before TLS, a line at a time.
    """
    return readUntil(sock, b"\n")


def readUntil(sock: socket.socket, wanted: bytes) -> bytes:
    """
    All up to where C{wanted} has come.

    @raise EOFError: the peer has ended before.
    """
    said = b""
    while wanted not in said:
        piece = sock.recv(1)
        if not piece:
            raise EOFError(f"{wanted!r} is not in {said!r}")
        said += piece
    return said


def waitFor(path: str) -> None:
    """
    Wait, in a thread, until there is a file.

    @raise TimeoutError: there is none.
    """
    until = time.monotonic() + PATIENCE
    while not Path(path).exists():
        if time.monotonic() > until:
            raise TimeoutError(path)
        time.sleep(0.01)


def smtpClient(sock: socket.socket) -> None:
    """
    What a client of SMTP says before TLS.
    """
    readLine(sock)
    sock.sendall(b"STARTTLS\r\n")
    readLine(sock)


def smtpServer(sock: socket.socket) -> None:
    """
    What a server says.
    """
    sock.sendall(b"220 mx\r\n")
    readLine(sock)
    sock.sendall(b"250 mx\r\n")
    readLine(sock)
    sock.sendall(b"220 go\r\n")


Script = Callable[[Encrypted, Plain], Any]


class TunnelTests(TestCase):
    """
    Base class of tests with a tunnel in between.

    @cvar onUNIX: whether the plain leg of C{through} is a UNIX socket.
    @ivar ends: the events that the tunnel logged at the end of connections.
    """

    timeout = 60
    mode = Mode.SERVER
    version = "1.3"
    isVerbose = False
    onUNIX = False

    pool: Pool

    def setUp(self) -> None:
        """
        Make a pool, and listen to what the tunnel logs.
        """
        self.pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(self.pool, SERVER)
        createIdentity(self.pool, CLIENT)
        self.ends: list[LogEvent] = []
        globalLogPublisher.addObserver(self._observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)  # type: ignore[arg-type]

    def _observe(self, event: LogEvent) -> None:
        if event.get("event") == "connection":
            self.ends.append(event)

    def context(self, isClient: bool) -> SSL.Context:
        """
        What the peer on the network leg speaks TLS with.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        if self.version == "1.2":
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
        else:
            context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.load_verify_locations(str(self.pool.path / "ca" / "cert.pem"))
        if isClient:
            context.set_verify(SSL.VERIFY_PEER)
        else:
            directory = self.pool.path / str(SERVER)
            context.use_certificate_chain_file(str(directory / "fullchain.pem"))
            context.use_privatekey_file(str(directory / "privkey.pem"))
        return context

    def described(self, backend: str, dialect: str = "none", **settings: Any) -> Tunnel:
        """
        A tunnel on a free port.
        """
        server = self.mode is Mode.SERVER
        defaults: dict[str, Any] = {
            "mode": self.mode,
            "local": (TCPAddress("127.0.0.1", 0),),
            "remote": (parseAddress(backend),),
            "dialect": find(dialect),
            "localID": SERVER if server else None,
            "remoteID": None if server else SERVER,
            "pool": self.pool,
            "limits": Limits(close=5.0),
        }
        return Tunnel(**(defaults | settings))

    def tunnel(self, backend: str, dialect: str = "none", **settings: Any) -> TunnelService:
        """
        Start a tunnel; it is stopped, whatever it is doing, at the end of the test.
        """
        described = self.described(backend, dialect, **settings)
        service = TunnelService(described, reactor, self.isVerbose)
        service.privilegedStartService()
        service.startService()

        def stop() -> Any:
            stopped = service.stopService()
            service.hurry()
            return stopped

        self.addCleanup(stop)
        return service

    async def through(
        self, script: Script, dialect: str = "none", preamble: Any = None, **settings: Any
    ) -> Any:
        """
        Run C{script} in a thread, with both peers connected through a tunnel.

        @param preamble: called with the raw socket of the network leg before its handshake.
        @return: what the script returns.
        """
        server = self.mode is Mode.SERVER
        directory = ""
        if self.onUNIX:
            directory = tempfile.mkdtemp()
            self.addCleanup(shutil.rmtree, directory)
            if not server:
                settings["local"] = (UNIXAddress(f"{directory}/app"),)
        backend, where = _backend(f"{directory}/backend" if directory and server else "")
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        service = self.tunnel(where, dialect, **settings)
        opened: list[Plain] = []

        def run() -> Any:
            dialled = _dial(service.addresses[0])
            if server:
                network = Encrypted(dialled, self.context(True), True, SERVER.domain.encode())
                opened.append(network)
                if preamble is not None:
                    preamble(dialled)
                network.handshake()
                accepted, _ = backend.accept()
                accepted.settimeout(PATIENCE)
                plain = Plain(accepted)
            else:
                plain = Plain(dialled)
                accepted, _ = backend.accept()
                accepted.settimeout(PATIENCE)
                network = Encrypted(accepted, self.context(False), False)
                if preamble is not None:
                    preamble(accepted)
                network.handshake()
            opened.extend((network, plain))
            return script(network, plain)

        try:
            return await deferToThread(run)
        finally:
            for each in opened:
                each.sock.close()

    def assertEnded(self, reason: str) -> None:
        """
        The tunnel logged one end of a connection, for C{reason}.
        """
        self.assertEqual([event["outcome"] for event in self.ends], [reason])


def wait(condition: Callable[[], bool], seconds: float = PATIENCE) -> Any:
    """
    Fires once C{condition} holds; fails after C{seconds}.
    """
    from twisted.internet.task import LoopingCall

    loop = LoopingCall(lambda: loop.stop() if condition() else None)
    done = loop.start(0.01)
    return done.addTimeout(seconds, reactor)
