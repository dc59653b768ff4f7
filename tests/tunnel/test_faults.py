"""
Tests for what is left of a connection that fails by a fault of ours: nothing, and its place is
another's.
"""

from __future__ import annotations

import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import SERVER, TunnelTests, reactor
from tests.protocols.ftpdialogues import app
from tlstunnel.address import TCPAddress
from tlstunnel.errors import Closed, TunnelError
from tlstunnel.identity.pool import Pool
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.networks import Networks
from tlstunnel.net.proxyheader import SIGNATURE
from tlstunnel.protocols.implicit import implicit
from tlstunnel.proxy import ProxyFactory
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel import withdrawal
from tlstunnel.tunnel.channel import Channel
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.withdrawal import Closing

PEER = TCPAddress("127.0.0.1", 12345)

LOOPBACK = Networks.of([ip_network("127.0.0.0/8")])

#: A header of the PROXY protocol that names nobody.
HEADER = SIGNATURE + b"\x20\x00\x00\x00"


def fail(*arguments: object) -> Any:
    """
    A fault.
    """
    raise ZeroDivisionError


class PairTests(SynchronousTestCase):
    """
    L{Pair}, on legs in memory.
    """

    def ended(self, driver: Driver) -> None:
        """
        See that it is over, and that it is known why.
        """
        self.assertTrue(driver.ended)
        self.assertIs(type(driver.error), TunnelError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_whatIsAwaitedOfDataConnectionsMayFail(self) -> None:
        """
        The control connection has ended.
        """

        async def finish() -> None:
            raise ZeroDivisionError

        driver = app()
        self.patch(driver.channels, "finish", finish)
        driver.network.end()
        driver.plain.end()
        driver.settle()
        self.ended(driver)

    def test_whatBelongsToItMayNotBeClosed(self) -> None:
        """
        The other leg is forgotten, too.
        """
        driver = app()
        self.patch(driver.channels, "close", fail)
        driver.pair.end(Closed("it is over"))
        driver.clock.advance(0)
        driver.settle()
        self.ended(driver)

    def test_itsProtocolMayNotLetGo(self) -> None:
        """
        This one is not ours, perhaps.
        """
        driver = Driver(implicit, "server", dialling=1000)
        assert driver.pair.role is not None
        self.patch(driver.pair.role, "letGo", fail)
        driver.pair.end(Closed("it is over"))
        self.assertRaises(ZeroDivisionError, driver.clock.advance, 0)
        self.assertTrue(driver.ended)
        self.assertIsInstance(driver.error, Closed)


class ChannelTests(SynchronousTestCase):
    """
    L{Channel}, of which the control connection waits for the end.
    """

    reactor = property(lambda self: self)
    limits = Limits()
    tunnel = ""

    def setUp(self) -> None:
        """
        Nobody has connected.
        """
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.gone: list[Channel] = []

    def addReader(self, reader: object) -> None:
        """
        Nothing comes.
        """

    removeReader = addReader

    def ended(self, channel: Channel) -> None:
        """
        It is.
        """
        self.gone.append(channel)

    def test_itEndsWhateverCannotBeClosed(self) -> None:
        """
        The fault is logged.
        """
        sock = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(sock.close)
        beside: Any = self
        channel = Channel(beside, 1, False, sock=sock)
        channel.start()
        self.patch(channel, "_stopListening", fail)
        channel.end(Closed("it is over"))
        self.assertEqual(self.gone, [channel])
        channel._listening.stopListening()  # type: ignore[union-attr]
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class PlaceTests(TunnelTests):
    """
    L{ProxyFactory}, with one place for strangers and one for who comes from here.
    """

    def factory(self, **settings: Any) -> ProxyFactory:
        """
        It serves nobody yet.
        """
        limits = Limits(unverified=1, perAddress=1)
        factory = ProxyFactory(self.described("127.0.0.1:1", limits=limits, **settings), reactor)
        self.addCleanup(factory.deadlines.clear)
        self.addCleanup(factory.stop)
        return factory

    def connect(self, factory: ProxyFactory, said: bytes = b"") -> None:
        """
        Let somebody connect.
        """
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        ours.setblocking(False)
        theirs.sendall(said)
        factory.accepted(ours, PEER)

    def places(self, factory: ProxyFactory, said: bytes = b"") -> None:
        """
        See that there is a place for one, and for no more.
        """
        self.assertFalse(factory.isBusy)
        for _ in range(2):
            self.connect(factory, said)
        self.assertEqual(len(factory.pairs), 1)

    def test_whatCannotBeBegunTakesNoPlace(self) -> None:
        """
        Nor does what cannot be started.
        """
        for name in ("__init__", "start"):
            with self.subTest(name=name):
                factory = self.factory()
                broken = self.patch(Pair, name, fail)
                self.assertRaises(ZeroDivisionError, self.connect, factory)
                broken.restore()
                self.places(factory)

    def test_norDoesWhoSaysOnWhoseBehalfItComes(self) -> None:
        """
        Also where it fails before it is begun with.
        """
        for where, name in ((Pair, "__init__"), (Pair, "start"), (ProxyFactory, "leg")):
            with self.subTest(name=name):
                factory = self.factory(proxyFrom=LOOPBACK)
                broken = self.patch(where, name, fail)
                self.assertRaises(ZeroDivisionError, self.connect, factory, HEADER)
                broken.restore()
                self.places(factory, HEADER)


class Connection:
    """
    One that is made with a certificate of ours, and may have no end.
    """

    ours = (SERVER,)

    def __init__(self, isBroken: bool) -> None:
        self.isBroken = isBroken
        self.isEnded = False

    def end(self, why: TunnelError) -> None:
        """
        End it, if that can be.
        """
        if self.isBroken:
            raise ZeroDivisionError
        self.isEnded = True


class WithdrawalTests(SynchronousTestCase):
    """
    L{Closing}, where all our certificates are withdrawn.
    """

    def test_whatCannotBeEndedKeepsNobodyElse(self) -> None:
        """
        In this turn, and in the next one.
        """
        self.patch(withdrawal, "ENDS_PER_TURN", 2)
        self.patch(withdrawal, "isWithdrawn", lambda place: True)
        clock = Clock()
        several = [Connection(isBroken) for isBroken in (True, False, False)]
        Closing(lambda: several).look(Pool(Path(self.mktemp())), Deadlines(clock))
        clock.advance(0)
        self.assertEqual([each.isEnded for each in several], [False, True, True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
