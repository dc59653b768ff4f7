"""
What tests of remotes have that do not serve, where another one is tried.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE, TunnelTests
from tlstunnel.address import TCPAddress
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.resolve import Directory
from tlstunnel.program.service import TunnelService

Serve = Callable[[socket.socket], object]

#: What the app says, and has to arrive once.
SECRET = b"secret of the app\r\n"


class RetryTests(TunnelTests):
    """
    Base class: remotes in threads.
    """

    def listen(self) -> socket.socket:
        """
        A remote.
        """
        sock = socket.create_server(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        self.addCleanup(sock.close)
        return sock

    def before(self, listeners: list[socket.socket], protocol: str, **settings: Any) -> Any:
        """
        A tunnel to them, in this order.
        """
        remote = tuple(TCPAddress(*each.getsockname()) for each in listeners)
        return self.tunnel(str(remote[0]), protocol, **({"remote": remote} | settings))

    def dial(self, service: TunnelService) -> socket.socket:
        """
        A connection to a tunnel.
        """
        host, port = service.addresses[0].rsplit(":", 1)
        return socket.create_connection((host, int(port)), PATIENCE)

    async def serving(self, *remotes: tuple[socket.socket, Serve]) -> None:
        """
        Serve one connection each.
        """

        def run(listener: socket.socket, serve: Serve) -> None:
            with listener.accept()[0] as sock:
                sock.settimeout(PATIENCE)
                serve(sock)

        for each in [deferToThread(run, *remote) for remote in remotes]:
            await each

    def isLeftOut(self, listener: socket.socket) -> bool:
        """
        Whether nobody has connected to a remote.
        """
        listener.setblocking(False)
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return True
        return False

    def states(self, service: TunnelService) -> list[bool]:
        """
        Whether each of the remotes is taken for one that serves.
        """
        assert service.factory is not None
        return [each.isUp for each in service.factory.backends]


class Named(Directory):
    """
    Knows two hosts, of which the first is not there.
    """

    async def hosts(self, deadlines: Deadlines, host: str, seconds: float) -> Sequence[str]:
        """
        The addresses of a host.
        """
        return {"a.example": ("127.0.1.1",), "b.example": ("127.0.0.1",)}[host]
