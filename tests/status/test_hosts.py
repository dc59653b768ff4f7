"""
Tests for L{tlstunnel.status.hosts}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.status.hosts import Hosts


class HostsTests(SynchronousTestCase):
    """
    L{Hosts}.
    """

    hosts = Hosts(
        (TCPAddress("status.example.org", 9290), TCPAddress("127.0.0.1", 9290), UNIXAddress("/a")),
        "Node7",
    )

    def test_addressesAreWelcome(self) -> None:
        """
        A name of somebody else cannot stand there.
        """
        for host in ("127.0.0.1:9290", "127.0.0.1", "[::1]:9290", "[2001:db8::1]", "192.0.2.1:"):
            self.assertTrue(self.hosts.allow(host), host)

    def test_namesOfThisHostAreWelcome(self) -> None:
        """
        Those that everybody has, and those that the administrator has given.
        """
        for host in (
            "localhost:9290",
            "LOCALHOST",
            "a.localhost",
            "node7",
            "status.example.org:9290",
        ):
            self.assertTrue(self.hosts.allow(host), host)

    def test_otherNamesAreNot(self) -> None:
        """
        They may lead here, and belong to somebody else.
        """
        for host in (
            "evil.example",
            "evil.example:9290",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "node7.evil.example",
            "status.example.org.evil.example",
        ):
            self.assertFalse(self.hosts.allow(host), host)

    def test_whatIsNoHostIsNot(self) -> None:
        """
        Nor is there anything to be guessed from it.
        """
        for host in ("", " ", ":9290", "localhost:port", "[::1", "localhost, evil", "a@localhost"):
            self.assertFalse(self.hosts.allow(host), host)

    @given(st.text(max_size=40))
    def test_whateverIsSentHasAnAnswer(self, host: str) -> None:
        """
        Nothing raises.
        """
        self.assertIn(self.hosts.allow(host), (True, False))
