"""
Tests for L{tlstunnel.program.sourcemistakes}: limits by source that do something else than was
meant.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.program.configurations import TUNNEL, ConfigurationTests
from tlstunnel.address import InheritedAddress, TCPAddress, UNIXAddress, parseListening
from tlstunnel.net.networks import Networks, parseNetwork
from tlstunnel.program.mistakes import mistakes
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.limits import Limits


class SourceMistakesTests(SynchronousTestCase):
    """
    What is said of a tunnel of a server, unless a test says otherwise.
    """

    def said(
        self,
        allow: str = "",
        deny: str = "",
        local: str = ":443",
        mode: Mode = Mode.SERVER,
        **limits: Any,
    ) -> list[str]:
        """
        What is said of a tunnel with these words, separated by spaces.
        """
        tunnel = Tunnel(
            mode,
            tuple(map(parseListening, local.split())),
            (TCPAddress("127.0.0.1", 4000),),
            find("none"),
            allow=Networks.of(map(parseNetwork, allow.split())),
            deny=Networks.of(map(parseNetwork, deny.split())),
            limits=Limits(**limits),
        )
        return list(map(str, mistakes(tunnel)))

    def assertSays(self, words: str, *given: Any, **settings: Any) -> None:
        """
        There is one sentence, with C{words}.
        """
        (sentence,) = self.said(*given, **settings)
        self.assertIn(words, sentence)

    def test_whatMakesSenseIsNotMentioned(self) -> None:
        """
        Wherever it listens.
        """
        for given in (
            ("", ""),
            ("192.0.2.0/24",),
            ("192.0.2.0/24", "192.0.2.7"),
            ("", "0.0.0.0/0"),
            ("", "::/0"),
            ("127.0.0.1", "", "127.0.0.1:443"),
            ("::1", "", "[::1]:443"),
            ("192.0.2.1", "", "[::]:443"),
            ("192.0.2.1 2001:db8::/32", "", "192.0.2.9:443 [2001:db8::9]:443"),
            ("192.0.2.1", "", "systemd:web"),
            ("192.0.2.1", "", "www.example.org:443"),
            ("192.0.2.1", "", ":443 /run/socket"),
        ):
            self.assertEqual(self.said(*given), [], given)
        self.assertEqual(self.said(perAddress=20, ipv4Prefix=24, ipv6Prefix=48), [])
        self.assertEqual(self.said(ratePerAddress=1, ipv6Prefix=64), [])

    def test_denyTakesAllThatAllowGives(self) -> None:
        """
        However both are written.
        """
        for allow, deny in (
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7 192.0.2.200", "192.0.0.0/16"),
            ("192.0.2.0/24", "192.0.2.0/25 192.0.2.128/25"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ):
            self.assertSays("--deny: has all that --allow has; no client can connect", allow, deny)
        self.assertSays("--deny: has all addresses; no client", "", "0.0.0.0/0 ::/0")

    def test_nobodyCouldComeToAnAddress(self) -> None:
        """
        As those who may come are of another family, or on other hosts; or of this very address.
        """
        for allow, deny, local in (
            ("192.0.2.0/24", "", "[2001:db8::1]:443"),
            ("2001:db8::/32", "", "192.0.2.1:443"),
            ("::/0", "", "0.0.0.0:443"),
            ("192.0.2.0/24", "", "127.0.0.1:443"),
            ("2001:db8::/32", "", "[::1]:443"),
            ("", "::/0", "[2001:db8::1]:443"),
            ("", "127.0.0.0/8", "127.0.0.1:443"),
        ):
            key = "allow" if allow else "deny"
            self.assertSays(
                f"--{key}: keeps out everybody who could connect to {local};", allow, deny, local
            )
        self.assertSays(
            "who could connect to [2001:db8::1]:443;", "192.0.2.0/24", "", ":8443 [2001:db8::1]:443"
        )

    def test_theyAreNotForUNIXSockets(self) -> None:
        """
        Which is worth saying where there is nothing else.
        """
        for allow, deny in ("192.0.2.1", ""), ("", "192.0.2.1"):
            self.assertSays(
                f"--{'allow' if allow else 'deny'}: does not apply to UNIX sockets",
                allow,
                deny,
                "/run/socket",
            )

    def test_aPrefixAloneDoesNothing(self) -> None:
        """
        There is nothing that it says something of.
        """
        self.assertSays("--ipv4-prefix: says what is one source, and nothing", ipv4Prefix=24)
        self.assertSays("--ipv6-prefix: says what is one source, and nothing", ipv6Prefix=48)

    def test_aHostOfIPv6IsManySources(self) -> None:
        """
        Where a source is smaller than what it has.
        """
        for limits, key in (
            ({"perAddress": 5}, "max-per-address"),
            ({"ratePerAddress": 5}, "max-rate-per-address"),
        ):
            self.assertSays(f"so that --{key} does not bind it", ipv6Prefix=128, **limits)

    def test_allOfThisHostAreOneSource(self) -> None:
        """
        At loopback addresses and UNIX sockets.
        """
        for local in "127.0.0.1:443", "[::1]:443", "localhost:443", "/run/socket":
            for mode in Mode:
                self.assertSays(
                    f"counts all who connect to {local} as one source",
                    local=local,
                    perAddress=5,
                    mode=mode,
                )

    def test_oneSourceCouldHaveAllPlaces(self) -> None:
        """
        Of those who are not verified.
        """
        self.assertSays("have all the 4000 places", perAddress=4001)
        self.assertSays("have all the 10 places", perAddress=11, unverified=10)
        self.assertEqual(self.said(perAddress=10, unverified=10), [])

    def test_addressesThatAreNotKnownYetAreNotJudged(self) -> None:
        """
        Those of sockets that are handed down.
        """
        self.assertIsInstance(parseListening("systemd:web"), InheritedAddress)
        self.assertIsInstance(parseListening("/run/socket"), UNIXAddress)
        self.assertEqual(self.said("::1", "", "systemd:web", perAddress=1), [])


class FileTests(ConfigurationTests):
    """
    In a file.
    """

    def test_aNetworkThatIsNoneIsNamed(self) -> None:
        """
        With its line, and what was probably meant.
        """
        text = TUNNEL + "deny = [\n  '192.0.2.0/24',\n  '198.51.100.1/24',\n]\n"
        (problem,) = self.problems(text)
        self.assertIn("deny", problem)
        self.assertIn("write 198.51.100.0/24 for the network", problem)

    def test_allTunnelsCanHaveTheSame(self) -> None:
        """
        Unless they say something else; an empty list lets everybody in.
        """
        text = "[defaults]\nallow = ['192.0.2.0/24']\n" + TUNNEL
        (tunnel,) = self.read(text).tunnels
        self.assertEqual(tunnel.allow, Networks.of([parseNetwork("192.0.2.0/24")]))
        (tunnel,) = self.read(text + "allow = []\n").tunnels
        self.assertFalse(tunnel.allow)
