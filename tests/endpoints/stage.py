"""
What the tests of endpoints are played on: a pool, both endpoints on a real loopback, and protocols
that remember.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.loopback import wait
from tlstunnel.address import TCPAddress
from tlstunnel.endpoints.client import TunnelClientEndpoint
from tlstunnel.endpoints.server import TunnelServerEndpoint
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.limits import Limits

reactor: Any = _reactor

SERVER = Identity(None, "server.example.org")
CLIENT = Identity("client", "example.org")


class Talker(Protocol):
    """
    Remembers what it hears.

    @ivar heard: all bytes.
    @ivar calls: what it was told, in order; bytes once, however many pieces they came in.
    @ivar reason: why its connection was lost.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.calls: list[str] = []
        self.reason: Failure | None = None
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """
        Remember.
        """
        self.calls.append("made")

    def dataReceived(self, data: bytes) -> None:
        """
        Remember.
        """
        assert isinstance(data, bytes)
        self.heard += data
        if self.calls[-1:] != ["data"]:
            self.calls.append("data")

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        """
        Remember.
        """
        self.calls.append("lost")
        self.reason = reason
        self.lost.callback(None)


@implementer(IHalfCloseableProtocol)
class HalfTalker(Talker):
    """
    Likes to hear of each direction by itself.
    """

    def readConnectionLost(self) -> None:
        """
        Remember.
        """
        self.calls.append("read lost")

    def writeConnectionLost(self) -> None:
        """
        Remember.
        """
        self.calls.append("write lost")


class Made(Factory):
    """
    Makes protocols, and keeps them.
    """

    noisy = False

    def __init__(self, protocol: Any = Talker) -> None:
        self.made: list[Any] = []
        self._make = protocol
        self.running = 0

    def buildProtocol(self, addr: Any) -> Any:
        """
        One more.
        """
        self.made.append(self._make())
        return self.made[-1]

    def startFactory(self) -> None:
        """
        Somebody uses it.
        """
        self.running += 1

    def stopFactory(self) -> None:
        """
        Nobody does.
        """
        self.running -= 1


class EndpointTests(TestCase):
    """
    Base class of tests with endpoints.
    """

    timeout = 30

    def setUp(self) -> None:
        """
        A pool.
        """
        self.pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(self.pool, SERVER)
        createIdentity(self.pool, CLIENT)

    def client(self, port: int, dialect: str = "none", **settings: Any) -> TunnelClientEndpoint:
        """
        An endpoint to a port of this host.
        """
        timeout = settings.pop("timeout", None)
        defaults: dict[str, Any] = {
            "mode": Mode.CLIENT,
            "local": (),
            "remote": (TCPAddress("127.0.0.1", port),),
            "dialect": find(dialect),
            "remoteID": SERVER,
            "pool": self.pool,
            "limits": Limits(close=5.0),
            "quiet": True,
        }
        endpoint = TunnelClientEndpoint(reactor, Tunnel(**(defaults | settings)), timeout)
        self.addCleanup(endpoint.stop)
        return endpoint

    async def server(self, factory: Factory, dialect: str = "none", **settings: Any) -> int:
        """
        Listen.

        @return: the port.
        """
        defaults: dict[str, Any] = {
            "mode": Mode.SERVER,
            "local": (),
            "remote": (),
            "dialect": find(dialect),
            "localID": SERVER,
            "pool": self.pool,
            "limits": Limits(close=5.0),
            "quiet": True,
        }
        inner = settings.pop("inner", None)
        inner = inner or TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self.endpoint = TunnelServerEndpoint(reactor, inner, Tunnel(**(defaults | settings)))
        self.port: Any = await self.endpoint.listen(factory)
        self.addCleanup(self.endpoint.stop)
        self.addCleanup(self.port.stopListening)
        where: Any = self.port.getHost()
        number: int = getattr(where, "port", 0)
        return number

    async def both(
        self, client: Any = Talker, server: Any = Talker, dialect: str = "none", **settings: Any
    ) -> tuple[Any, Any]:
        """
        Connect one endpoint to the other.

        @return: the protocols of the client and of the server.
        """
        self.factory = Made(server)
        port = await self.server(self.factory, dialect, **settings)
        near = await self.client(port, dialect).connect(Made(client))
        await wait(lambda: bool(self.factory.made and self.factory.made[0].calls))
        return near, self.factory.made[0]
