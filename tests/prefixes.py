"""
Limits by source where many addresses of IPv6 are at hand: L{tests.test_sources} runs this in a
network of its own, where all of 2001:db8::/32 is this host.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.threads import deferToThread

from tests.loopback import readLine
from tests.test_sources import SourceTests, isRefused, networks
from tlstunnel.address import TCPAddress
from tlstunnel.program.service import TunnelService
from tlstunnel.tunnel.limits import Limits


class PrefixTests(SourceTests):
    """
    Sources of IPv6.
    """

    def limitedAt6(self, **settings: Any) -> TunnelService:
        """
        A tunnel that listens at IPv6.
        """
        return self.limited(local=(TCPAddress("::1", 0),), **settings)

    def isServed(self, service: TunnelService, source: str) -> bool:
        """
        Whether C{source} gets the greeting.
        """
        return readLine(self.dial(service, source)).startswith(b"220 ")

    async def test_a64IsOneSource(self) -> None:
        """
        However many addresses of it there are; others are served meanwhile.
        """
        service = self.limitedAt6(limits=Limits(perAddress=1))

        def run() -> None:
            self.assertTrue(self.isServed(service, "2001:db8:0:1::1"))
            for host in range(2, 30):
                self.assertTrue(isRefused(self.dial, service, f"2001:db8:0:1::{host:x}"))
            self.assertTrue(self.isServed(service, "2001:db8:0:2::1"))

        await deferToThread(run)
        self.assertEqual({reason for _, reason in self.observer.refusals}, {"per-address"})
        (line,) = self.lines
        self.assertEqual(line["source"], "2001:db8:0:1::/64")

    async def test_anAttackerWithA32IsOneSourceToo(self) -> None:
        """
        If the prefix says so.
        """
        service = self.limitedAt6(limits=Limits(ratePerAddress=0.001, ipv6Prefix=32))

        def run() -> None:
            self.assertTrue(self.isServed(service, "2001:db8::1"))
            for network in range(1, 200):
                self.assertTrue(isRefused(self.dial, service, f"2001:db8:{network:x}::1"))
            self.assertTrue(self.isServed(service, "::1"))

        await deferToThread(run)
        (line,) = self.lines
        self.assertEqual((line["source"], line["outcome"]), ("2001:db8::/32", "rate"))

    async def test_networksAreDenied(self) -> None:
        """
        To the bit.
        """
        service = self.limitedAt6(
            allow=networks("2001:db8::/47"), deny=networks("2001:db8:1:8000::/49")
        )

        def run() -> None:
            for source in "2001:db8::1", "2001:db8:1:7fff::1":
                self.assertTrue(self.isServed(service, source), source)
            for source in "2001:db8:1:8000::", "2001:db8:1:ffff::1", "2001:db8:2::1", "::1":
                self.assertTrue(isRefused(self.dial, service, source), source)

        await deferToThread(run)
