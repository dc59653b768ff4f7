"""
That legs on sockets and legs in memory do the same: see L{tlstunnel.testing.contract}.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.legs import PlainUNIXCase, SocketCase, UNIXCase
from tlstunnel.errors import CloseTimeout, TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.implicit import implicit
from tlstunnel.testing.contract import ClearContract, LegContract
from tlstunnel.testing.farend import FLOOD, MemoryFarEnd
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.relay import DELIVERY_LOOK_SECONDS, Relay


class TCPTests(LegContract, SocketCase, SynchronousTestCase):
    """
    Over TCP, in clear.
    """


class TCPTLS13Tests(LegContract, SocketCase, SynchronousTestCase):
    """
    Over TCP, inside TLS 1.3.
    """

    inTLS = True


class TCPTLS12Tests(LegContract, SocketCase, SynchronousTestCase):
    """
    Over TCP, inside TLS 1.2.
    """

    inTLS = True
    version = SSL.TLS1_2_VERSION


class UNIXTests(LegContract, UNIXCase, SynchronousTestCase):
    """
    On UNIX sockets, in clear.
    """


class UNIXTLS13Tests(LegContract, UNIXCase, SynchronousTestCase):
    """
    On UNIX sockets, inside TLS 1.3.
    """

    inTLS = True


class PlainUNIXTests(ClearContract, PlainUNIXCase, SynchronousTestCase):
    """
    On UNIX sockets, as the plain legs of a service have them.
    """


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

    def closing(self) -> None:
        """
        Begin a relay of which both directions have ended, with something still to be sent.
        """
        self.clock = Clock()
        self.left, self.right = MemoryLeg(capacity=1000), MemoryLeg()
        self.left.inputEnded = self.right.inputEnded = True
        self.relay = Relay(self.left, self.right, (), (), Deadlines(self.clock), 60, 60, None)
        self.results: list[TunnelError | None] = []
        ending = self.relay.start(b"", bytes(2500), True, True)
        ending.addCallback(self.results.append)
        self.assertEqual(self.results, [])

    def test_nothingIsClosedBeforeItIsSent(self) -> None:
        """
        Though nothing more is to come from either leg.
        """
        self.closing()
        for _ in range(2):
            self.assertFalse(self.left.isClosed or self.right.isClosed)
            self.assertEqual(self.results, [])
            self.left.takeWritten()
        self.assertEqual((self.left.ending, self.right.ending), ("closed", "closed"))
        self.assertEqual(self.results, [None])

    def test_whatIsBeingClosedMayFail(self) -> None:
        """
        Then that is its outcome.
        """
        self.closing()
        error = TunnelError()
        self.relay.abort(error)
        self.assertEqual((self.left.ending, self.right.ending), ("aborted", "aborted"))
        self.assertEqual(self.results, [error])

    def test_aPeerThatStillTalksHearsAllBeforeItIsClosed(self) -> None:
        """
        Else its next words would make the close a reset.
        """
        self.left, self.right = MemoryLeg(capacity=1000), MemoryLeg()
        clock = Clock()
        relay = Relay(self.left, self.right, (), (), Deadlines(clock), 60, 60, None)
        self.results = []
        relay.start(b"", bytes(500), True, True).addCallback(self.results.append)
        clock.advance(DELIVERY_LOOK_SECONDS)
        self.assertEqual(self.results, [])
        self.left.takeWritten()
        clock.advance(DELIVERY_LOOK_SECONDS)
        self.assertEqual(self.results, [None])

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
