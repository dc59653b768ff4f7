"""
That legs on sockets and legs in memory do the same: see L{tlstunnel.testing.contract}.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.certificates import Recipe, alternative, authorityRecipe, dns, make
from tlstunnel.address import addressOf
from tlstunnel.errors import CloseTimeout
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Credentials
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.protocols.implicit import implicit
from tlstunnel.testing.contract import LegContract
from tlstunnel.testing.farend import FLOOD, MemoryFarEnd
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver
from tlstunnel.tls.context import serverContext
from tlstunnel.tls.creators import Creator

try:
    from tlstunnel.net.reactor import TunnelReactor
except ImportError:
    TunnelReactor = None  # type: ignore[assignment,misc]

#: Seconds that a turn of the reactor waits for an event.
TURN = 0.002

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def creator() -> Creator:
    """
    What makes TLS of the server side, for anybody.
    """
    authority = make(authorityRecipe("Legs"))
    issued = make(Recipe(san=alternative(dns("server.example.org"))), authority)
    name = Identity(None, "server.example.org")
    credentials = Credentials(name, (issued.certificate, authority.certificate), issued.key)
    return Creator(serverContext(credentials), None, None)


class SocketFarEnd:
    """
    The other end of a leg, on a socket that does not block.
    """

    def __init__(self, sock: socket.socket, context: SSL.Context) -> None:
        self.sock = sock
        self.hasEnd = False
        self.hasReset = False
        self._context = context
        self._tls: SSL.Connection | None = None

    def send(self, data: bytes) -> None:
        """
        It is little.
        """
        (self.sock if self._tls is None else self._tls).send(data)

    def receive(self) -> bytes:
        """
        All there is.
        """
        data = b""
        while not (self.hasEnd or self.hasReset):
            try:
                chunk = (self.sock if self._tls is None else self._tls).recv(65536)
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
        As the client.
        """
        if self._tls is None:
            self._tls = SSL.Connection(self._context, self.sock)
            self._tls.set_connect_state()
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def end(self) -> None:
        """
        FIN, or close_notify.
        """
        if self._tls is None:
            self.sock.shutdown(socket.SHUT_WR)
        else:
            self._tls.shutdown()

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


class SocketLegs(LegContract):
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
        leg = Leg(self.reactor, self.linger, near, addressOf(near.getpeername()))
        self.addCleanup(leg.abortConnection)
        return leg, SocketFarEnd(far, self.context)

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
        self.reactor.doIteration(TURN)


class TCPTests(SocketLegs, SynchronousTestCase):
    """
    Over TCP, in clear.
    """


class TCPTLS13Tests(SocketLegs, SynchronousTestCase):
    """
    Over TCP, inside TLS 1.3.
    """

    inTLS = True


class TCPTLS12Tests(SocketLegs, SynchronousTestCase):
    """
    Over TCP, inside TLS 1.2.
    """

    inTLS = True
    version = SSL.TLS1_2_VERSION


class UNIXLegs(SocketLegs):
    """
    Legs on UNIX sockets.
    """

    # SO_LINGER means nothing to them; what the peer sees is the end, if all it said was read.
    showsReset = False

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """
        Two sockets without names.
        """
        return socket.socketpair()


class UNIXTests(UNIXLegs, SynchronousTestCase):
    """
    On UNIX sockets, in clear.
    """


class UNIXTLS13Tests(UNIXLegs, SynchronousTestCase):
    """
    On UNIX sockets, inside TLS 1.3.
    """

    inTLS = True


class MemoryLegs(LegContract):
    """
    Legs in memory.
    """

    def connect(self) -> tuple[MemoryLeg, MemoryFarEnd]:
        """
        With as little room as a socket has.
        """
        leg = MemoryLeg(capacity=65536)
        return leg, MemoryFarEnd(leg)

    def turn(self) -> None:
        """
        Deliver what is there.
        """
        self.leg.deliver()


class MemoryTests(MemoryLegs, SynchronousTestCase):
    """
    In memory, in clear.
    """


class MemoryTLSTests(MemoryLegs, SynchronousTestCase):
    """
    In memory, inside what stands for TLS.
    """

    inTLS = True


class MemoryRelayTests(SynchronousTestCase):
    """
    The relay on legs in memory.
    """

    def driver(self, mode: str) -> Driver:
        """
        One that relays.
        """
        driver = Driver(implicit, mode)
        driver.handshake()
        if mode == "client":
            driver.plain.feed(b"hello")
        self.assertEqual(driver.stage, "relay")
        return driver

    def test_itsLimitsWork(self) -> None:
        """
        A direction that stays open after the other one's end is reset, and called so.
        """
        for mode in ("client", "server"):
            driver = self.driver(mode)
            driver.plain.end()
            self.assertTrue(driver.network.ended)
            driver.clock.pump([1.0] * 100)
            self.assertIsInstance(driver.error, CloseTimeout)
            self.assertEqual((driver.plain.ending, driver.network.ending), ("aborted",) * 2)

    def test_aSlowPeerHoldsUpTheOther(self) -> None:
        """
        And nobody else; what it takes moves on.
        """
        driver = self.driver("server")
        driver.plain.capacity = 1000
        driver.network.feed(FLOOD)
        self.assertTrue(driver.network.paused)
        got = b""
        while len(got) < len(FLOOD):
            self.assertLessEqual(len(driver.plain.written), 1000)
            got += driver.plain.takeWritten()
            driver.settle()
        self.assertEqual(got, FLOOD)
        self.assertFalse(driver.network.paused)

    def test_legsAreClosedWhenAllIsTaken(self) -> None:
        """
        Not before, though both have ended.
        """
        driver = self.driver("server")
        driver.plain.capacity = 1000
        driver.network.feed(b"x" * 2500)
        driver.network.end()
        driver.plain.end()
        for _ in range(2):
            self.assertFalse(driver.ended)
            driver.plain.takeWritten()
            driver.settle()
        self.assertTrue(driver.ended)
        self.assertIsNone(driver.error)
