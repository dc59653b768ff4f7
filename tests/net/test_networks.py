"""
Tests for L{tlstunnel.net.networks}: what is in a network, as the standard library says it.
"""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.net.networks import EVERYBODY, LAST, Network, Networks, numberOf, parseNetwork

_ADDRESSES = st.ip_addresses() | st.integers(0, 300).map(
    lambda n: ip_address(f"10.0.{n // 256}.{n % 256}")
)


def _around(address: IPv4Address | IPv6Address, bits: int) -> Network:
    """
    The network of an address, whose prefix is shorter by C{bits}, if it has so many.
    """
    most = address.max_prefixlen
    return ip_network((address, max(0, most - bits)), strict=False)


_NETWORKS = st.builds(_around, _ADDRESSES, st.integers(0, 40) | st.integers(0, 128))


def _isIn(address: IPv4Address | IPv6Address, network: Network) -> bool:
    """
    What C{Networks} must say, as the standard library has it: of IPv6 that stands for IPv4 too.
    """
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address) in network


class NumberTests(SynchronousTestCase):
    """
    L{numberOf}.
    """

    def test_IPv4IsTheSameInBothForms(self) -> None:
        """
        Whichever way it is written.
        """
        for text in "192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201":
            self.assertEqual(numberOf(text), 0xFFFFC0000201)

    def test_theInterfaceDoesNotMatter(self) -> None:
        """
        Of an address of a link.
        """
        self.assertEqual(numberOf("fe80::1%eth0"), numberOf("fe80::1"))

    def test_whatIsNoAddress(self) -> None:
        """
        Is refused, and never taken for another one.
        """
        for text in "", "example.org", "192.0.2", "0300.0.2.1", "::g", "1.2.3.4.5":
            self.assertRaises(OSError, numberOf, text)

    @given(st.ip_addresses(v=6))
    def test_itIsTheNumberOfTheStandardLibrary(self, address: IPv6Address) -> None:
        """
        For every address of IPv6.
        """
        self.assertEqual(numberOf(str(address)), int(address))


class ParseTests(SynchronousTestCase):
    """
    L{parseNetwork}.
    """

    def test_networksAndAddresses(self) -> None:
        """
        Of both families.
        """
        for text, network in (
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ):
            self.assertEqual(parseNetwork(text), ip_network(network), text)

    def test_whatIsWrongIsSaidWithWhatIsMeant(self) -> None:
        """
        As far as anybody could tell.
        """
        for text, meant in (
            ("192.0.2.1/24", "write 192.0.2.0/24 for the network, or 192.0.2.1 for the one"),
            ("2001:db8::1/32", "write 2001:db8::/32 for the network, or 2001:db8::1 for"),
            ("192.0.2.0/33", "more than 32 bits; write a number up to 32"),
            ("::/129", "write a number up to 128"),
            ("192.0.2.0/1234567890123", "write a number up to 32"),
            ("192.0.2.0/255.255.255.0", "write 192.0.2.0/24"),
            ("192.0.2.0/", "write a number there"),
            ("192.0.2.0/+24", "write a number there"),
            ("192.0.2.0/-1", "write a number there"),
            ("192.0.2.0/٢", "write a number there"),
            ("192.0.2.1:25", "write 192.0.2.1"),
            ("[2001:db8::1]:443", "write 2001:db8::1"),
            ("[2001:db8::]/32", "write 2001:db8::/32"),
            ("fe80::1%eth0", "leave out what is between % and /"),
            ("fe80::%eth0/64", "leave out what is between % and /"),
            ("example.org", "write 192.0.2.0/24, 2001:db8::/32, or an address"),
            ("10/8", "write 192.0.2.0/24, 2001:db8::/32, or an address"),
            ("192.0.2.1-192.0.2.9", "write 192.0.2.0/24, 2001:db8::/32, or an address"),
            ("3221225985", "write 192.0.2.0/24, 2001:db8::/32, or an address"),
            ("a:1", "write 192.0.2.0/24, 2001:db8::/32, or an address"),
        ):
            error = self.assertRaises(ValueError, parseNetwork, text)
            self.assertIn(repr(text), str(error))
            self.assertIn(f"; {meant}" if meant.startswith("write") else meant, str(error), text)

    @given(st.text() | st.text("0123456789./:abf%[]") | _NETWORKS.map(str))
    def test_anythingIsANetworkOrASentence(self, text: str) -> None:
        """
        Whatever stands there.
        """
        try:
            network = parseNetwork(text)
        except ValueError as error:
            self.assertIn("; ", str(error))
        else:
            self.assertEqual(parseNetwork(str(network)), network)


class NetworksTests(SynchronousTestCase):
    """
    L{Networks}.
    """

    @given(st.lists(_NETWORKS, max_size=20), st.lists(_ADDRESSES, max_size=20))
    def test_theyHaveTheAddressesOfEach(
        self, networks: list[Network], addresses: list[IPv4Address | IPv6Address]
    ) -> None:
        """
        And no others, at both ends of each network too; nothing of IPv4 in a network of IPv6,
        unless that is what it is.
        """
        known = Networks.of(networks)
        self.assertEqual(bool(known), bool(networks))
        ends = [end for each in networks for end in (each[0], each[-1])]
        beside = [
            type(end)(number)
            for end in ends
            for number in (int(end) - 1, int(end) + 1)
            if 0 <= number < 1 << end.max_prefixlen
        ]
        for address in (*addresses, *ends, *beside):
            number = numberOf(str(address))
            self.assertEqual(number in known, any(_isIn(address, each) for each in networks))

    @given(st.lists(_NETWORKS, max_size=8), st.lists(_NETWORKS, max_size=8))
    def test_whatIsInBoth(self, ours: list[Network], theirs: list[Network]) -> None:
        """
        And whether one has all that the other has.
        """
        one, other = Networks.of(ours), Networks.of(theirs)
        both = one & other
        self.assertEqual(both, other & one)
        self.assertTrue(one.covers(both) and other.covers(both))
        self.assertEqual(one.covers(other), both == other)
        self.assertEqual(one & one, one)
        self.assertEqual(one & EVERYBODY, one)
        self.assertEqual(one & Networks(), Networks())

    @given(st.lists(_NETWORKS, max_size=8))
    def test_theOrderDoesNotMatter(self, networks: list[Network]) -> None:
        """
        Nor does it to say something twice: they are equal if they have the same addresses.
        """
        self.assertEqual(Networks.of(networks), Networks.of([*reversed(networks), *networks]))

    def test_allOfIPv6HasNothingOfIPv4(self) -> None:
        """
        Though these stand among its numbers.
        """
        six = Networks.of([IPv6Network("::/0")])
        self.assertNotIn(numberOf("192.0.2.1"), six)
        self.assertIn(numberOf("::fffe:ffff:ffff"), six)
        self.assertIn(numberOf("::1:0:0:0"), six)
        self.assertFalse(six.covers(EVERYBODY))
        self.assertEqual(Networks.of([IPv6Network("::/0"), IPv4Network("0.0.0.0/0")]), EVERYBODY)

    def test_theEndsOfAllAddresses(self) -> None:
        """
        Nothing is before the first or behind the last.
        """
        self.assertIn(0, EVERYBODY)
        self.assertIn(LAST, EVERYBODY)
        one = Networks.of([IPv4Network("192.0.2.1/32")])
        self.assertEqual(
            [numberOf(f"192.0.2.{each}") in one for each in (0, 1, 2)], [False, True, False]
        )
