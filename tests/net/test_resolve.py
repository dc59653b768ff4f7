"""
Tests for L{tlstunnel.net.resolve}.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import SRVAddress, TCPAddress
from tlstunnel.net import resolve
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.resolve import HOST_SECONDS, Directory
from tlstunnel.net.services import Record

SERVICE = SRVAddress("_imap._tcp", "example.org")


class _Reactor(Clock):
    """
    A clock with a resolver.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = self
        self.addresses: list[Any] = []
        self.asked: list[str] = []

    def resolveHostName(self, receiver: Any, name: str, port: int, **_: Any) -> None:
        """
        Tell all addresses at once.
        """
        self.asked.append(name)
        receiver.resolutionBegan(None)
        for each in self.addresses:
            receiver.addressResolved(each)
        receiver.resolutionComplete()


class DirectoryTests(SynchronousTestCase):
    """
    L{Directory}.
    """

    def setUp(self) -> None:
        """
        Nothing is known.
        """
        self.reactor = _Reactor()
        self.deadlines = Deadlines(self.reactor)
        self.directory = Directory(self.reactor, Random(1))

    def hosts(self) -> list[str]:
        """
        The addresses of a host.
        """
        found = self.directory.hosts(self.deadlines, "a.example", 10)
        return list(self.successResultOf(Deferred.fromCoroutine(found)))

    def test_theFamiliesComeInTurn(self) -> None:
        """
        That of the resolver's first one before the other; each address once (RFC 8305, section 4).
        """
        four = [IPv4Address("TCP", f"192.0.2.{n}", 0) for n in (1, 2, 3)]
        six = [IPv6Address("TCP", f"2001:db8::{n}", 0) for n in (1, 2)]
        for found, expected in (
            ([*six, *four], ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]),
            ([*four, *six], ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2", "192.0.2.3"]),
            ([four[0], four[0]], ["192.0.2.1"]),
            (six, ["2001:db8::1", "2001:db8::2"]),
        ):
            self.reactor.addresses = found
            self.assertEqual(self.hosts(), expected)
            self.reactor.advance(HOST_SECONDS)

    def test_aNameIsResolvedAnewWhenItsTimeIsOver(self) -> None:
        """
        The system's resolver knows how long it counts; here it is a moment.
        """
        self.reactor.addresses = [IPv4Address("TCP", "192.0.2.1", 0)]
        self.hosts()
        self.reactor.addresses = [IPv4Address("TCP", "192.0.2.2", 0)]
        self.assertEqual(self.hosts(), ["192.0.2.1"])
        self.reactor.advance(HOST_SECONDS)
        self.assertEqual(self.hosts(), ["192.0.2.2"])
        self.assertEqual(self.reactor.asked, ["a.example", "a.example"])

    def test_aNameWithoutAddressesHasNone(self) -> None:
        """
        That is not an answer to keep.
        """
        self.assertEqual(self.hosts(), [])
        self.reactor.addresses = [IPv4Address("TCP", "192.0.2.1", 0)]
        self.assertEqual(self.hosts(), ["192.0.2.1"])

    def test_aServiceIsAskedForAndOrdered(self) -> None:
        """
        Anew for each connection, as the weights are for all of them together.
        """
        asked = []
        records = tuple(Record(1, 1, n, "a.example.") for n in range(1, 10))

        async def ask(reactor: Any, owner: str) -> Any:
            asked.append(owner)
            return await succeed((records, 60.0))

        self.patch(resolve, "ask", ask)
        orders = set()
        for _ in range(20):
            finding = self.directory.service(self.deadlines, SERVICE, 10)
            found = self.successResultOf(Deferred.fromCoroutine(finding))
            assert found is not None
            self.assertCountEqual(found, [TCPAddress("a.example.", n) for n in range(1, 10)])
            orders.add(tuple(found))
        self.assertGreater(len(orders), 1)
        self.assertEqual(asked, [SERVICE.owner])
