"""
Data connections of ftp on real sockets, for tests.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

from OpenSSL import SSL
from twisted.logger import LogEvent

from tests.loopback import PATIENCE, SERVER, Encrypted, Plain, TunnelTests, wait
from tlstunnel.tunnel.description import Mode

T = TypeVar("T")

#: More than all buffers on the way take.
LARGE = os.urandom(1 << 20) * 8


def line(peer: Plain) -> bytes:
    """
    The next line, without its end.
    """
    text = b""
    while not text.endswith(b"\r\n"):
        byte = peer.read(1)
        assert isinstance(byte, bytes) and byte, (text, byte)
        text += byte
    return text[:-2]


def expect(peer: Plain, *lines: bytes) -> None:
    """
    Exactly these lines come next.
    """
    for each in lines:
        found = line(peer)
        assert found == each, f"expected {each!r}, heard {found!r}"


def tell(sock: socket.socket, *steps: bytes) -> None:
    """
    Say the first of some lines on a raw socket, hear the second, and so on.
    """
    for number, text in enumerate(steps):
        if number % 2 == 0:
            sock.sendall(text + b"\r\n")
        else:
            expect(Plain(sock), text)


def listener(family: int = socket.AF_INET) -> socket.socket:
    """
    Where a server awaits a data connection.
    """
    sock = socket.socket(family)
    sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    sock.listen()
    sock.settimeout(PATIENCE)
    return sock


def connect(port: int, source: str = "127.0.0.1") -> Plain:
    """
    A connection to the tunnel.
    """
    return Plain(socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0)))


def isRefused(port: int) -> bool:
    """
    Whether nobody listens at C{port} any more; asked from an address that is not served there.
    """
    try:
        connect(port, "127.0.0.2").close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


def becomesReset(port: int) -> bool:
    """
    Whether a connection is made, and reset.
    """
    try:
        return connect(port).isReset()
    except ConnectionResetError:
        return True


def becomesRefused(port: int) -> None:
    """
    Soon nobody listens at C{port} any more.
    """
    due = time.monotonic() + PATIENCE
    while not isRefused(port):
        assert time.monotonic() < due, "the port stays open"
        time.sleep(0.01)


def isResumed(peer: Encrypted) -> bool:
    """
    Whether the handshake resumed a session.
    """
    return bool(SSL._lib.SSL_session_reused(peer.tls._ssl))  # type: ignore[attr-defined]


def portOf(sock: socket.socket) -> int:
    """
    Where it listens.
    """
    port: int = sock.getsockname()[1]
    return port


def passiveReply(port: int, host: bytes = b"10,9,8,7") -> bytes:
    """
    A reply 227, with an address that must not matter.
    """
    return b"227 Entering Passive Mode (%s,%d,%d).\r\n" % (host, port >> 8, port & 255)


def portCommand(port: int) -> bytes:
    """
    The command PORT of whoever listens there.
    """
    return b"PORT 127,0,0,1,%d,%d\r\n" % (port >> 8, port & 255)


def portIn(reply: bytes) -> int:
    """
    The port in a reply 227 with the address of the tunnel.
    """
    found = re.fullmatch(rb"227 Entering Passive Mode \(127,0,0,1,(\d+),(\d+)\)", reply)
    assert found is not None, reply
    return int(found[1]) << 8 | int(found[2])


class DataTests(TunnelTests):
    """
    What both modes have in common.
    """

    def remember(self) -> None:
        """
        Keep the services of tunnels that are started.
        """
        self.services: list[Any] = []
        start = self.tunnel

        def tunnel(*arguments: Any, **settings: Any) -> Any:
            self.services.append(start(*arguments, **settings))
            return self.services[-1]

        self.tunnel = tunnel  # type: ignore[method-assign]


class ServerMode(DataTests):
    """
    Mode -s: C{network} is an FTP client with TLS, C{plain} a server without.
    """

    async def ftp(self, script: Callable[[Encrypted, Plain], T], **settings: Any) -> T:
        """
        Run C{script} once data is to be protected.
        """

        def greeted(network: Encrypted, plain: Plain) -> T:
            plain.write(b"220 ready\r\n")
            network.write(b"PBSZ 0\r\nPROT P\r\n")
            expect(network, b"200 PBSZ=0", b"200 Protection set to Private")
            return script(network, plain)

        def preamble(sock: socket.socket) -> None:
            expect(Plain(sock), b"220 server.example.org ready")
            tell(sock, b"AUTH TLS", b"234 Proceed with negotiation")

        result: T = await self.through(greeted, "ftp", preamble, **settings)
        return result

    def data(self, network: Encrypted, plain: Plain) -> tuple[socket.socket, Plain]:
        """
        Make a data connection, up to its handshake.

        @return: its ends at the client and at the backend, which is connected before there is TLS.
        """
        network.write(b"PASV\r\n")
        expect(plain, b"PASV")
        with listener() as awaiting:
            plain.write(passiveReply(awaiting.getsockname()[1]))
            client = connect(portIn(line(network))).sock
            sock, _ = awaiting.accept()
        sock.settimeout(PATIENCE)
        return client, Plain(sock)

    def encrypted(self, sock: socket.socket, context: SSL.Context) -> Encrypted:
        """
        Complete the handshake of a client.
        """
        client = Encrypted(sock, context, True, SERVER.domain.encode())
        client.handshake()
        return client


class ClientMode(DataTests):
    """
    Mode -c: C{plain} is an FTP client without TLS, C{network} a server with it.
    """

    mode = Mode.CLIENT

    async def ended(self, *reasons: str) -> list[LogEvent]:
        """
        So many data connections ended, for these reasons.
        """
        await wait(lambda: len(self.dataEnds) >= len(reasons))
        self.assertEqual([event["outcome"] for event in self.dataEnds], list(reasons))
        return self.dataEnds

    @property
    def dataEnds(self) -> list[LogEvent]:
        """
        The data connections that ended.
        """
        return [event for event in self.ends if event["dialect"] == "ftp-data"]

    async def ftp(self, script: Callable[[Encrypted, Plain], T], **settings: Any) -> T:
        """
        Run C{script} once the app is greeted.
        """

        def greeted(network: Encrypted, plain: Plain) -> T:
            expect(network, b"PBSZ 0")
            network.write(b"200 PBSZ=0\r\n")
            expect(network, b"PROT P")
            network.write(b"200 ok\r\n")
            expect(plain, b"220 server.example.org ready")
            return script(network, plain)

        def preamble(sock: socket.socket) -> None:
            tell(sock, b"220 ready", b"AUTH TLS", b"234 go")

        result: T = await self.through(greeted, "ftp", preamble, **settings)
        return result

    def passive(self, network: Encrypted, plain: Plain, awaiting: socket.socket) -> int:
        """
        Ask for a data connection.

        @return: where the app is to connect.
        """
        plain.write(b"PASV\r\n")
        expect(network, b"PASV")
        network.write(passiveReply(awaiting.getsockname()[1]))
        return portIn(line(plain))

    def data(
        self, network: Encrypted, plain: Plain, context: SSL.Context | None = None
    ) -> tuple[Encrypted, Plain]:
        """
        Make a data connection.

        @return: its ends at the server and at the app.
        """
        with listener() as awaiting:
            app = connect(self.passive(network, plain, awaiting))
            sock, _ = awaiting.accept()
        sock.settimeout(PATIENCE)
        server = Encrypted(sock, context or network.tls.get_context(), False)
        server.handshake()
        return server, app

    def listenAt(self, host: str) -> None:
        """
        Let the app find the tunnel at C{host}.
        """
        start = self.tunnel

        def tunnel(*arguments: Any, **settings: Any) -> Any:
            port = start(*arguments, **settings).addresses[0].rpartition(":")[2]
            return SimpleNamespace(addresses=[f"{host}:{port}"])

        self.tunnel = tunnel  # type: ignore[method-assign]

    def active(self, network: Encrypted, plain: Plain, app: int, awaiting: int) -> None:
        """
        Have a connection made from the port C{awaiting}, at the server, to C{app}.
        """
        plain.write(portCommand(app))
        expect(network, b"PASV")
        network.write(passiveReply(awaiting))
        expect(plain, b"200 PORT understood")
