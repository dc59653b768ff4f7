"""
A process that shows its status, in this process: tunnels on real sockets, and who looks at them.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread

from tests.loopback import CLIENT, PATIENCE, SERVER, Encrypted, TunnelTests, reactor
from tlstunnel.address import Address, TCPAddress
from tlstunnel.program.service import TunnelService
from tlstunnel.status.answers import Answers
from tlstunnel.status.facts import Gathered
from tlstunnel.status.ledger import Ledger
from tlstunnel.status.service import StatusService
from tlstunnel.status.snapshot import take
from tlstunnel.status.source import Served

LOOPBACK = TCPAddress("127.0.0.1", 0)


class Tunnels:
    """
    The tunnels that a test has started.
    """

    def __init__(self) -> None:
        self.services: list[TunnelService] = []
        self.lost = 0

    def served(self) -> Iterator[Served]:
        """
        All.
        """
        yield from self.services

    def dropped(self) -> int:
        """
        As many as the test says.
        """
        return self.lost


def fetch(
    address: str, path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], str]:
    """
    What a server answers; to be called in a thread.

    @return: the code, the header and the body.
    """
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode()
    finally:
        connection.close()


def dial(service: TunnelService) -> socket.socket:
    """
    A socket that is connected to a tunnel.
    """
    host, port = service.addresses[0].rsplit(":", 1)
    return socket.create_connection((host, int(port)), PATIENCE)


class StatusTests(TunnelTests):
    """
    Base class of tests with a status.

    @ivar ledger: what the process remembers.
    @ivar status: where it is shown.
    """

    addresses: tuple[Address, ...] = (LOOPBACK,)

    def setUp(self) -> None:
        """
        Show the status of no tunnel.
        """
        super().setUp()
        self.ledger = Ledger(reactor)
        self.ledger.start()
        self.addCleanup(self.ledger.stop)
        self.tunnels = Tunnels()
        self.status = self.show(self.addresses)

    def gather(self) -> Deferred[Gathered]:
        """
        What this process says.
        """
        return succeed(Gathered((take(self.ledger, self.tunnels),)))

    def show(self, addresses: tuple[Address, ...]) -> StatusService:
        """
        Show the status at C{addresses}, to the end of the test.
        """
        service = StatusService(reactor, Answers(reactor, self.gather))
        service.bind(addresses)
        service.commit()
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def tunnel(self, backend: str, dialect: str = "none", **settings: Any) -> TunnelService:
        """
        Start a tunnel that is counted.
        """
        described = self.described(backend, dialect, **({"name": "web"} | settings))
        service = TunnelService(
            described, reactor, observers=[self.ledger.observer(described.name)]
        )
        service.privilegedStartService()
        service.startService()
        self.tunnels.services.append(service)

        def stop() -> Any:
            stopped = service.stopService()
            service.hurry()
            return stopped

        self.addCleanup(stop)
        return service

    def listen(self) -> socket.socket:
        """
        A backend.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        return backend

    def before(
        self, backend: socket.socket, dialect: str = "none", **settings: Any
    ) -> TunnelService:
        """
        A tunnel before C{backend}.
        """
        return self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}", dialect, **settings)

    def connect(
        self,
        service: TunnelService,
        name: bytes = SERVER.domain.encode(),
        isKnown: bool = False,
    ) -> Encrypted:
        """
        One connection that is verified; to be called in a thread.

        @param isKnown: whether the client shows its certificate.
        """
        context = self.context(True)
        if isKnown:
            directory = self.pool.path / str(CLIENT)
            context.use_certificate_chain_file(str(directory / "fullchain.pem"))
            context.use_privatekey_file(str(directory / "privkey.pem"))
        sock = dial(service)
        network = Encrypted(sock, context, True, name)
        network.handshake()
        return network

    async def ask(
        self, path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], str]:
        """
        What the first address answers.
        """
        return await deferToThread(fetch, self.status.addresses[0], path, method, headers)

    async def document(self) -> Any:
        """
        C{/status.json}, as it is now.
        """
        self.status._answers._document._due = 0.0
        _, _, body = await self.ask("/status.json")
        return json.loads(body)


class SeenTests(StatusTests):
    """
    Base class: a directory for the programs that look, and threads to talk to them in.
    """

    timeout = 180

    def setUp(self) -> None:
        """
        The directory.
        """
        super().setUp()
        self.base = Path(tempfile.mkdtemp(prefix="tlstunnel-"))
        self.addCleanup(shutil.rmtree, self.base, ignore_errors=True)

    @property
    def url(self) -> str:
        """
        Where the status is.
        """
        return f"http://{self.status.addresses[0]}/"
