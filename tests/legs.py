"""
Legs on sockets, for cases written with L{tlstunnel.testing.farend}.
"""

from __future__ import annotations

import socket
import struct
from functools import cache
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest

from tests.certificates import Issued, Recipe, alternative, authorityRecipe, dns, make
from tlstunnel.address import TCPAddress, UNIXAddress, addressOf
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.names import Identity
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.unixleg import UNIXLegs
from tlstunnel.testing.farend import LegCase
from tlstunnel.tls.context import clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, Creator, ServerCreator
from tlstunnel.tls.faces import Face, Faces
from tlstunnel.tls.verification import Verifier

try:
    from tlstunnel.net.reactor import TunnelReactor
except ImportError:
    TunnelReactor = None  # type: ignore[assignment,misc]

#: Seconds that a turn of the reactor waits for an event.
TURN = 0.002

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


SERVER = Identity(None, "server.example.org")


@cache
def _issued() -> tuple[Issued, Issued]:
    """
    A certificate for L{SERVER}, and that of its authority.
    """
    authority = make(authorityRecipe("Legs"))
    return make(Recipe(san=alternative(dns(SERVER.domain))), authority), authority


def creator() -> Creator:
    """
    What makes TLS of the server side, for anybody.
    """
    issued, _ = _issued()
    credentials = Credentials(SERVER, (issued.certificate,), issued.key)
    return ServerCreator(Faces(Face(serverContext(credentials)), {}, {}, anyName=True))


def clientCreator() -> Creator:
    """
    What makes TLS of the client side, to nobody else.
    """
    _, authority = _issued()
    trust = Trust(Anchors((authority.certificate,), system=False, source=""))
    return ClientCreator(clientContext(trust), Verifier(SERVER, trust))


class SocketFarEnd:
    """
    The other end of a leg, on a socket that does not block.
    """

    def __init__(self, sock: socket.socket, context: SSL.Context) -> None:
        self.sock = sock
        self.hasEnd = False
        self.hasReset = False
        self.server: Creator | None = None
        self._context = context
        self.tls: SSL.Connection | None = None

    def send(self, data: bytes) -> None:
        """
        It is little.
        """
        (self.sock if self.tls is None else self.tls).send(data)

    def receive(self) -> bytes:
        """
        All there is.
        """
        data = b""
        while not (self.hasEnd or self.hasReset):
            try:
                chunk = (self.sock if self.tls is None else self.tls).recv(65536)
            except (BlockingIOError, SSL.WantReadError):
                break
            except SSL.ZeroReturnError:
                self.hasEnd = True
            except (OSError, SSL.Error):
                self.hasReset = True
            else:
                data += chunk
                self.hasEnd = not chunk
        return data

    def handshake(self) -> bool:
        """
        As the client, or as C{server} has it.
        """
        if self.tls is None and self.server is not None:
            self.tls = self.server.connection(self.sock, self.server.session())
        elif self.tls is None:
            self.tls = SSL.Connection(self._context, self.sock)
            self.tls.set_connect_state()
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def end(self) -> None:
        """
        FIN, or close_notify.
        """
        if self.tls is None:
            self.sock.shutdown(socket.SHUT_WR)
        else:
            self.tls.shutdown()

    def truncate(self) -> None:
        """
        FIN, whatever else is due.
        """
        self.sock.shutdown(socket.SHUT_WR)

    def refuse(self) -> None:
        """
        Nothing is unread, which would be a reset at once.
        """
        self.receive()
        self.sock.close()

    def reset(self) -> None:
        """
        A UNIX socket is reset by what is unread.
        """
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.sock.close()


class SocketCase(LegCase):
    """
    Legs on sockets, with a reactor that takes a turn when the test says so.
    """

    version = SSL.TLS1_3_VERSION
    addCleanup: Any

    def setUp(self) -> None:
        """
        A reactor that is not installed.
        """
        if TunnelReactor is None:
            raise SkipTest("there is no epoll here")
        self.reactor = TunnelReactor()
        self.addCleanup(self.reactor._epoll.close)
        for waker in self.reactor._internalReaders:
            self.addCleanup(waker.connectionLost, Failure(ConnectionDone()))
        self.addCleanup(self.reactor.removeAll)
        self.linger = Linger(self.reactor)
        self.addCleanup(self.linger.closeAll)
        self.creator = creator()
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_max_proto_version(self.version)

    def connect(self) -> tuple[Leg, SocketFarEnd]:
        """
        With buffers that a flood does not fit into.
        """
        near, far = self.pair()
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            self.addCleanup(sock.close)
        leg = self.make(near, addressOf(near.getpeername()))
        self.addCleanup(leg.abortConnection)
        return leg, SocketFarEnd(far, self.context)

    def make(self, sock: socket.socket, peer: TCPAddress | UNIXAddress) -> Leg:
        """
        The leg.
        """
        return Leg(self.reactor, self.linger, sock, peer)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """
        Two sockets, connected over TCP.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname())
            return listener.accept()[0], far

    def turn(self) -> None:
        """
        Of the reactor.
        """
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(TURN)


class UNIXCase(SocketCase):
    """
    Legs on UNIX sockets.
    """

    # SO_LINGER means nothing to them; what the peer sees is the end, if all it said was read.
    showsReset = False
    isOneSystem = True

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """
        Two sockets without names.
        """
        return socket.socketpair()


class PlainUNIXCase(UNIXCase):
    """
    The same, as the plain legs of a service have them.

    @cvar marksEnd: whether what is spoken says itself where data ends.
    """

    marksEnd = True

    def setUp(self) -> None:
        """
        One service.
        """
        super().setUp()
        self.legs = UNIXLegs(self.reactor, self.linger, Deadlines(self.reactor))
        self.legs.renew("", self.marksEnd, 0)
        self.addCleanup(self.legs.closeAll)

    def make(self, sock: socket.socket, peer: TCPAddress | UNIXAddress) -> Leg:
        """
        The leg.
        """
        return self.legs.leg(sock, peer)
