"""
A tunnel whose backend is a program, for tests.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher

from tests.loopback import PATIENCE, SERVER, Encrypted, Reset, TunnelTests, wait
from tlstunnel.address import ExecAddress
from tlstunnel.program.service import TunnelService
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.execution import Execution
from tlstunnel.tunnel.limits import Limits

#: As ourselves, also where that is root.
OURSELVES = "root" if os.geteuid() == 0 else ""

MIB = 1 << 20

#: Descriptors with which a program can be started for certain.
MORE_THAN_NEEDED = 14


def shell(script: str) -> ExecAddress:
    """
    A script as a program.
    """
    return ExecAddress(("/bin/sh", "-c", script))


def isThere(pid: int) -> bool:
    """
    Whether a process is there, a zombie or not.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class ProgramTests(TunnelTests):
    """
    A client, a tunnel, and a program.

    @ivar complaints: what programs said on standard error.
    @ivar service: the tunnel.
    """

    service: TunnelService

    def setUp(self) -> None:
        """
        Listen to what programs complain of.
        """
        super().setUp()
        self.complaints: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "program":
                self.complaints.append(event["line"])

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def described(self, backend: str, dialect: str = "none", **settings: Any) -> Tunnel:
        """
        The remote is given as it is.
        """
        settings.setdefault("execution", Execution(OURSELVES))
        settings["limits"] = settings.get("limits", Limits(close=5.0))
        return Tunnel(
            **{
                "mode": self.mode,
                "local": settings.pop("local", super().described("127.0.0.1:1").local),
                "dialect": find(dialect),
                "localID": SERVER,
                "pool": self.pool,
                **settings,
            }
        )

    def connect(
        self, service: TunnelService, preamble: Any = None, identity: Any = None
    ) -> Encrypted:
        """
        A client whose handshake is complete.
        """
        host, port = service.addresses[0].rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), PATIENCE)
        context = self.context(True)
        if identity is not None:
            directory = self.pool.path / str(identity)
            context.use_certificate_chain_file(str(directory / "fullchain.pem"))
            context.use_privatekey_file(str(directory / "privkey.pem"))
        network = Encrypted(sock, context, True, SERVER.domain.encode())
        if preamble is not None:
            preamble(sock)
        network.handshake()
        return network

    async def served(
        self,
        program: ExecAddress | str,
        script: Callable[[Encrypted], Any],
        dialect: str = "none",
        preamble: Any = None,
        identity: Any = None,
        **settings: Any,
    ) -> Any:
        """
        Run C{script} in a thread, with a client of a tunnel to C{program}.
        """
        remote = program if isinstance(program, ExecAddress) else shell(program)
        self.service = self.tunnel("", dialect, remote=(remote,), **settings)

        def run() -> Any:
            network = self.connect(self.service, preamble, identity)
            try:
                return script(network)
            finally:
                network.sock.close()

        return await deferToThread(run)

    async def ended(self, outcome: str = "clean") -> LogEvent:
        """
        Wait for the line of the connection.
        """
        await wait(lambda: bool(self.ends))
        self.assertEqual([each["outcome"] for each in self.ends], [outcome], self.ends)
        return self.ends[0]


def rest(network: Encrypted) -> bytes | type[Reset]:
    """
    All that comes before a clean end.
    """
    return network.read(64 * MIB)


def ask(words: bytes = b"") -> Callable[[Encrypted], bytes | type[Reset]]:
    """
    A client that says C{words} and its end, and listens to the end.
    """

    def script(network: Encrypted) -> bytes | type[Reset]:
        if words:
            network.write(words)
        network.end()
        return rest(network)

    return script


def readLineOf(network: Encrypted) -> bytes:
    """
    A line of what a program says.
    """
    line = b""
    while not line.endswith(b"\n"):
        said = network.read(1)
        assert isinstance(said, bytes) and said
        line += said
    return line
