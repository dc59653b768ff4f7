"""
A bridge, a client and a server, on loopback, for tests.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.loopback import (
    PATIENCE,
    SERVER,
    Encrypted,
    TunnelTests,
    readLine,
    smtpClient,
    smtpServer,
    wait,
)
from tlstunnel.address import TCPAddress, parseAddress
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.limits import Limits

#: Who we are to clients; the server is somebody else.
FRONT = Identity(None, "front.example.net")

_START_TLS = bytes.fromhex("301d02010177188016312e332e362e312e342e312e313436362e3230303337")
_START_TLS_DONE = bytes.fromhex("300c02010178070a010004000400")
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")

Talk = Callable[[socket.socket], object]


def imapClient(sock: socket.socket) -> None:
    """
    What a client of IMAP says before TLS.
    """
    readLine(sock)
    sock.sendall(b"a STARTTLS\r\n")
    readLine(sock)


def imapServer(sock: socket.socket) -> None:
    """
    What a server says.
    """
    sock.sendall(b"* OK ready\r\n")
    tag = readLine(sock).split()[0]
    sock.sendall(tag + b" OK go\r\n")


def ldapClient(sock: socket.socket) -> None:
    """
    What a client of LDAP says before TLS.
    """
    sock.sendall(_START_TLS)
    assert sock.recv(2)[:1] == b"\x30"
    sock.recv(100)


def ldapServer(sock: socket.socket) -> None:
    """
    What a server says.
    """
    sock.recv(100)
    sock.sendall(_START_TLS_DONE)


def postgresqlClient(sock: socket.socket) -> None:
    """
    What a client of PostgreSQL says before TLS.
    """
    sock.sendall(_SSL_REQUEST)
    assert sock.recv(1) == b"S"


def postgresqlServer(sock: socket.socket) -> None:
    """
    What a server says.
    """
    sock.recv(8)
    sock.sendall(b"S")


def nothing(sock: socket.socket) -> None:
    """
    TLS comes first.
    """


#: What is said before TLS, by clients and by servers.
TALKS: dict[str, tuple[Talk, Talk]] = {
    "none": (nothing, nothing),
    "smtp": (smtpClient, smtpServer),
    "imap": (imapClient, imapServer),
    "ldap": (ldapClient, ldapServer),
    "postgresql": (postgresqlClient, postgresqlServer),
}

Script = Callable[[Encrypted, Encrypted], Any]


class BridgeTests(TunnelTests):
    """
    A client and a server that both speak TLS, and a bridge between them.
    """

    mode = Mode.BRIDGE

    def setUp(self) -> None:
        """
        One identity more.
        """
        super().setUp()
        createIdentity(self.pool, FRONT)

    def described(self, backend: str, dialect: str = "none", **settings: Any) -> Tunnel:
        """
        A bridge on a free port.

        @param dialect: C{IN-OUT}.
        @param settings: of the accepted side, and C{out} of the connected side.
        """
        before, _, behind = dialect.partition("-")
        out = settings.pop("out", {})
        common: dict[str, Any] = {
            "local": (TCPAddress("127.0.0.1", 0),),
            "remote": (parseAddress(backend),),
            "pool": self.pool,
            "limits": settings.pop("limits", Limits(close=5.0)),
        }
        connected = {"dialect": find(behind or before), "remoteID": SERVER, **common}
        accepted = {"dialect": find(before), "localID": FRONT, **common}
        return Tunnel(
            mode=Mode.BRIDGE,
            onward=Tunnel(mode=Mode.CLIENT, **(connected | out)),
            **(accepted | settings),
        )

    @contextmanager
    def listening(self) -> Iterator[tuple[socket.socket, str]]:
        """
        Where the server is, and what that is called.
        """
        with socket.create_server(("127.0.0.1", 0)) as sock:
            sock.settimeout(PATIENCE)
            yield sock, f"127.0.0.1:{sock.getsockname()[1]}"

    def client(self, sock: socket.socket, context: SSL.Context | None = None) -> Encrypted:
        """
        A client that has come to TLS.
        """
        network = Encrypted(sock, context or self.context(True), True, FRONT.domain.encode())
        network.handshake()
        return network

    async def bridged(
        self, dialect: str, script: Script, talks: tuple[Talk, Talk] | None = None, **settings: Any
    ) -> Any:
        """
        Run C{script} in a thread, with a client and a server that have come to TLS.
        """
        before, _, behind = dialect.partition("-")
        asks, answers = talks or (TALKS[before][0], TALKS[behind or before][1])
        contexts = settings.pop("contexts", None) or (self.context(True), self.context(False))
        with self.listening() as (server, where):
            service = self.tunnel(where, dialect, **settings)

            def run() -> Any:
                host, port = service.addresses[0].rsplit(":", 1)
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    asks(dialled)
                    client = self.client(dialled, contexts[0])
                    accepted, _ = server.accept()
                    with accepted:
                        accepted.settimeout(PATIENCE)
                        answers(accepted)
                        network = Encrypted(accepted, contexts[1], False)
                        network.handshake()
                        return script(client, network)

            return await deferToThread(run)

    async def ended(self, *reasons: str) -> Any:
        """
        What the tunnel logs of the one connection that there was.
        """
        await wait(lambda: bool(self.ends))
        (event,) = self.ends
        self.assertIn(event["outcome"], reasons or ("clean",))
        return event


def both(client: Encrypted, server: Encrypted) -> object:
    """
    A question and its answer, and a clean end on both sides.
    """
    client.write(b"question")
    asked = server.read(8)
    server.write(b"answer")
    answered = client.read(6)
    client.end()
    ended = server.read(1)
    server.end()
    return asked, answered, ended, client.read(1)


BOTH = (b"question", b"answer", b"", b"")
