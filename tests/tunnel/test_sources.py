"""
Tests for L{tlstunnel.tunnel.sources}.  Those with connections are in L{tests.test_sources}.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.net.networks import Networks, numberOf, parseNetwork
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.sources import DENIED, TOO_FAST, TOO_MANY, Sources

UNIX = UNIXAddress("")


def networks(*texts: str) -> Networks:
    """
    All of C{texts}.
    """
    return Networks.of(map(parseNetwork, texts))


def tunnel(allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), **limits: Any) -> Tunnel:
    """
    A tunnel that limits its sources.
    """
    return Tunnel(
        Mode.SERVER,
        (TCPAddress("", 443),),
        (TCPAddress("127.0.0.1", 80),),
        find("none"),
        allow=networks(*allow),
        deny=networks(*deny),
        limits=Limits(**limits),
    )


def peer(host: str) -> TCPAddress | UNIXAddress:
    """
    Somebody at C{host}, or at a UNIX socket.
    """
    return TCPAddress(host, 50000) if host else UNIX


class SourcesTests(SynchronousTestCase):
    """
    L{Sources}.
    """

    def setUp(self) -> None:
        """
        It is now.
        """
        self.clock = Clock()

    def sources(self, *args: Any, **settings: Any) -> Sources:
        """
        Those of a tunnel like that.
        """
        return Sources(self.clock, tunnel(*args, **settings))

    def assertLetsIn(self, sources: Sources, *hosts: str) -> None:
        """
        All may come in.
        """
        for each in hosts:
            self.assertEqual(sources.enter(peer(each)), "", each)

    def assertRefuses(self, sources: Sources, reason: str, *hosts: str) -> None:
        """
        None may come in.
        """
        for each in hosts:
            self.assertEqual(sources.enter(peer(each)), reason, each)

    # Lists

    def test_whoIsDeniedStaysOutside(self) -> None:
        """
        Others do not.
        """
        sources = self.sources(deny=("192.0.2.0/24", "2001:db8::/32"))
        self.assertRefuses(sources, DENIED, "192.0.2.0", "192.0.2.255", "2001:db8:ffff::1")
        self.assertLetsIn(sources, "192.0.3.0", "192.0.1.255", "2001:db9::", "::1")

    def test_withAnyAllowedAllOthersStayOutside(self) -> None:
        """
        Those of the other family too.
        """
        sources = self.sources(allow=("192.0.2.0/24",))
        self.assertLetsIn(sources, "192.0.2.7")
        self.assertRefuses(sources, DENIED, "192.0.3.7", "2001:db8::1", "::1", "127.0.0.1")

    def test_allowingAllOfIPv6AllowsNothingOfIPv4(self) -> None:
        """
        However that comes.
        """
        sources = self.sources(allow=("::/0",))
        self.assertLetsIn(sources, "2001:db8::1", "fe80::1%eth0")
        self.assertRefuses(sources, DENIED, "192.0.2.7", "::ffff:192.0.2.7")

    def test_denyWins(self) -> None:
        """
        Whichever of both is the closer.
        """
        sources = self.sources(
            allow=("10.0.0.0/8", "192.0.2.1"), deny=("10.1.0.0/16", "192.0.2.0/24")
        )
        self.assertLetsIn(sources, "10.2.0.1")
        self.assertRefuses(sources, DENIED, "10.1.2.3", "192.0.2.1")

    def test_IPv4InIPv6IsIPv4(self) -> None:
        """
        In lists and in counts.
        """
        sources = self.sources(deny=("192.0.2.0/24",), perAddress=1)
        self.assertRefuses(sources, DENIED, "::ffff:192.0.2.1", "::ffff:c000:201")
        self.assertLetsIn(sources, "192.0.3.1")
        self.assertRefuses(sources, TOO_MANY, "::ffff:192.0.3.1")
        self.assertLetsIn(sources, "::ffff:192.0.3.2")

    def test_theInterfaceIsNoPartOfANetwork(self) -> None:
        """
        An address of a link is denied on every one.
        """
        sources = self.sources(deny=("fe80::/10",))
        self.assertRefuses(sources, DENIED, "fe80::1", "fe80::1%eth0", "fe80::1%2")

    def test_UNIXSocketsAreInNoNetwork(self) -> None:
        """
        Their permissions say who may come.
        """
        self.assertLetsIn(self.sources(allow=("192.0.2.1",)), "")
        self.assertLetsIn(self.sources(deny=("0.0.0.0/0", "::/0")), "")

    # Connections

    def test_aSourceHasSoManyConnections(self) -> None:
        """
        Whoever goes makes room; others do not matter.
        """
        sources = self.sources(perAddress=2)
        self.assertLetsIn(sources, "192.0.2.1", "192.0.2.1", "192.0.2.2", "::1")
        self.assertRefuses(sources, TOO_MANY, "192.0.2.1")
        sources.leave(peer("192.0.2.1"))
        self.assertLetsIn(sources, "192.0.2.1")
        self.assertRefuses(sources, TOO_MANY, "192.0.2.1")

    def test_UNIXSocketsAreOneSource(self) -> None:
        """
        Whatever their paths.
        """
        sources = self.sources(perAddress=1)
        self.assertLetsIn(sources, "")
        self.assertEqual(sources.enter(UNIXAddress("/run/app")), TOO_MANY)
        sources.leave(UNIX)
        self.assertEqual(sources.enter(UNIXAddress("/run/app")), "")

    def test_a64IsOneSource(self) -> None:
        """
        Of IPv6; of IPv4 each address is one.
        """
        sources = self.sources(perAddress=1)
        self.assertLetsIn(sources, "2001:db8:0:1::1", "2001:db8:0:2::1", "192.0.2.1", "192.0.2.2")
        self.assertRefuses(sources, TOO_MANY, "2001:db8:0:1:ffff:ffff:ffff:ffff")

    def test_thePrefixesSayWhatASourceIs(self) -> None:
        """
        To the last bit; each family has its own.
        """
        sources = self.sources(perAddress=1, ipv4Prefix=23, ipv6Prefix=47)
        self.assertLetsIn(sources, "192.0.2.1", "192.0.4.1", "2001:db8::1", "2001:db8:2::1")
        self.assertRefuses(
            sources, TOO_MANY, "192.0.3.255", "2001:db8:1:ffff::1", "2001:db8:3:ffff::1"
        )

    def test_linksAreSourcesOfTheirOwn(self) -> None:
        """
        The addresses there are the same.
        """
        sources = self.sources(perAddress=1)
        self.assertLetsIn(sources, "fe80::1%eth0", "fe80::1%eth1")
        self.assertRefuses(sources, TOO_MANY, "fe80::2%eth0", "fe80::2%eth1")
        sources.leave(peer("fe80::9%eth1"))
        self.assertLetsIn(sources, "fe80::2%eth1")

    @given(
        st.integers(1, 32),
        st.integers(1, 128),
        st.lists(st.tuples(st.ip_addresses() | st.none(), st.booleans()), max_size=50),
    )
    def test_everySourceIsCountedRight(
        self, ipv4Prefix: int, ipv6Prefix: int, steps: list[tuple[Any, bool]]
    ) -> None:
        """
        Whatever the order, as a simple count of networks says; and nothing is left in the end.
        """
        sources = self.sources(perAddress=2, ipv4Prefix=ipv4Prefix, ipv6Prefix=ipv6Prefix)
        count: Counter[str] = Counter()
        inside: list[str] = []
        for address, goes in steps:
            host = "" if address is None else str(address)
            name = sources.nameOf(sources.sourceOf(peer(host)))
            if host:
                self.assertIn(numberOf(host), networks(name))
            if goes and inside:
                gone = inside.pop(0)
                count[sources.nameOf(sources.sourceOf(peer(gone)))] -= 1
                sources.leave(peer(gone))
            reason = sources.enter(peer(host))
            self.assertEqual(reason, TOO_MANY if count[name] >= 2 else "")
            if not reason:
                count[name] += 1
                inside.append(host)
        for each in inside:
            sources.leave(peer(each))
        self.assertEqual(sources._open, {})

    # Rates

    def test_aSourceComesSoOften(self) -> None:
        """
        In a second; others do not matter.
        """
        sources = self.sources(ratePerAddress=2)
        self.assertLetsIn(sources, "192.0.2.1", "192.0.2.1", "192.0.2.2")
        self.assertRefuses(sources, TOO_FAST, "192.0.2.1", "192.0.2.1")
        self.clock.advance(0.5)
        self.assertLetsIn(sources, "192.0.2.1")
        self.assertRefuses(sources, TOO_FAST, "192.0.2.1")

    def test_whoHasTooManyLosesNothingOfTheRate(self) -> None:
        """
        What is refused is no new connection.
        """
        sources = self.sources(ratePerAddress=2, perAddress=1)
        self.assertLetsIn(sources, "192.0.2.1")
        self.assertRefuses(sources, TOO_MANY, *["192.0.2.1"] * 10)
        sources.leave(peer("192.0.2.1"))
        self.assertLetsIn(sources, "192.0.2.1")

    def test_whoComesTooFastIsNotCounted(self) -> None:
        """
        There is nothing that could leave.
        """
        sources = self.sources(ratePerAddress=1, perAddress=5)
        self.assertLetsIn(sources, "192.0.2.1")
        self.assertRefuses(sources, TOO_FAST, "192.0.2.1")
        sources.leave(peer("192.0.2.1"))
        self.assertEqual(sources._open, {})

    def test_anAttackerWithA32GetsWhatItsSourcesGet(self) -> None:
        """
        And the memory that they take has a bound, which is reached for those alone that are not
        full again.
        """
        sources = self.sources(ratePerAddress=1)
        for number in range(3000):
            self.assertLetsIn(sources, f"2001:db8:{number:x}:1::1")
        self.assertRefuses(sources, TOO_FAST, "2001:db8:0:1::2", "2001:db8:bb7:1::2")
        for _ in range(2):
            self.clock.advance(1.5)
            self.assertLetsIn(sources, "192.0.2.1")
        assert sources._buckets is not None
        self.assertLessEqual(len(sources._buckets), 2)

    # Reloads

    def test_aReloadForgetsNothing(self) -> None:
        """
        Neither connections nor rates.
        """
        before = self.sources(perAddress=1, ratePerAddress=1)
        self.assertLetsIn(before, "192.0.2.1", "192.0.2.2")
        before.leave(peer("192.0.2.2"))
        now = Sources(
            self.clock, tunnel(("192.0.2.0/24",), perAddress=1, ratePerAddress=1), (), before
        )
        self.assertRefuses(now, TOO_MANY, "192.0.2.1")
        self.assertRefuses(now, TOO_FAST, "192.0.2.2")
        self.assertRefuses(now, DENIED, "192.0.3.1")
        now.leave(peer("192.0.2.1"))
        self.clock.advance(1)
        self.assertLetsIn(now, "192.0.2.1", "192.0.2.2")

    def test_whatIsASourceMayBecomeAnother(self) -> None:
        """
        Those connections that are there are counted anew.
        """
        before = self.sources(perAddress=2)
        hosts = ("192.0.2.1", "192.0.2.2", "192.0.3.1", "")
        self.assertLetsIn(before, *hosts)
        now = Sources(self.clock, tunnel(perAddress=2, ipv4Prefix=24), map(peer, hosts), before)
        self.assertRefuses(now, TOO_MANY, "192.0.2.3")
        self.assertLetsIn(now, "192.0.3.2")
        for each in (*hosts, "192.0.3.2"):
            now.leave(peer(each))
        self.assertEqual(now._open, {})

    def test_theFirstLimitCountsThoseThatAreThere(self) -> None:
        """
        Though nobody counted them before.
        """
        for before in None, self.sources(deny=("::/0",)):
            now = Sources(self.clock, tunnel(perAddress=1), [peer("192.0.2.1")], before)
            self.assertRefuses(now, TOO_MANY, "192.0.2.1")
            now.leave(peer("192.0.2.1"))
            self.assertLetsIn(now, "192.0.2.1")

    def test_whereNothingIsLimitedNobodyIsAsked(self) -> None:
        """
        What says nothing by itself does not count.
        """
        self.assertFalse(Sources.areLimited(tunnel(ipv4Prefix=24, ipv6Prefix=48)))
        for limited in (
            tunnel(("::1",)),
            tunnel((), ("::1",)),
            tunnel(perAddress=1),
            tunnel(ratePerAddress=0.5),
        ):
            self.assertTrue(Sources.areLimited(limited))

    # What people call them

    def test_names(self) -> None:
        """
        As they would be written in a list.
        """
        for limits, host, name in (
            ({}, "192.0.2.1", "192.0.2.1"),
            ({}, "::ffff:192.0.2.1", "192.0.2.1"),
            ({}, "2001:db8::1", "2001:db8::/64"),
            ({}, "fe80::1%eth0", "fe80::%eth0/64"),
            ({"ipv4Prefix": 24}, "192.0.2.1", "192.0.2.0/24"),
            ({"ipv6Prefix": 128}, "2001:db8::1", "2001:db8::1"),
            ({}, "", "UNIX sockets"),
        ):
            sources = self.sources(**limits)
            self.assertEqual(sources.nameOf(sources.sourceOf(peer(host))), name)
