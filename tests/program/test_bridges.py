"""
Tests for L{tlstunnel.program.bridges}: what makes a bridge, on the command line and in a file.
"""

from __future__ import annotations

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.program.configurations import ConfigurationTests
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.program.commandline import TunnelOptions
from tlstunnel.program.show import show
from tlstunnel.tunnel.description import Mode, Tunnel

_LINE = "-b -l :465 -L front.example.net -r mail.example.org:587"


class CommandLineTests(SynchronousTestCase):
    """
    C{tlstunnel -b}.
    """

    def parsed(self, more: str = "") -> Tunnel:
        """
        The tunnel of a command line.
        """
        options = TunnelOptions()
        options.parseOptions(f"{_LINE} {more}".split())
        tunnel = options["tunnel"]
        assert isinstance(tunnel, Tunnel)
        return tunnel

    def refusal(self, more: str) -> str:
        """
        What is wrong with it.
        """
        return str(self.assertRaises(usage.UsageError, self.parsed, more))

    def test_itHasTwoSides(self) -> None:
        """
        Each with an identity, a trust and a way to TLS of its own.
        """
        tunnel = self.parsed(
            "--starttls-out smtp --client-id @example.net --client-trust a.pem --trust b.pem "
            "-R relay.example.org --remote-as us@example.net"
        )
        onward = tunnel.onward
        assert onward is not None
        self.assertIs(tunnel.mode, Mode.BRIDGE)
        self.assertEqual((tunnel.dialect.name, onward.dialect.name), ("none", "smtp"))
        self.assertEqual(tunnel.localIDs, (Identity(None, "front.example.net"),))
        self.assertEqual(onward.localID, Identity("us", "example.net"))
        self.assertEqual(tunnel.remoteID, Selector.parse("@example.net"))
        self.assertEqual(onward.remoteID, Identity(None, "relay.example.org"))
        self.assertEqual((tunnel.trust, onward.trust), (("a.pem",), ("b.pem",)))
        self.assertEqual(tunnel.protocol, "smtp")

    def test_theServerIsTheHostOfTheRemoteAddress(self) -> None:
        """
        As in client mode; and an address names nobody.
        """
        onward = self.parsed().onward
        assert onward is not None
        self.assertIs(onward.remoteID, None)
        options = TunnelOptions()
        line = "-b -l :465 -L front.example.net -r 192.0.2.1:587".split()
        error = self.assertRaises(usage.UsageError, options.parseOptions, line)
        self.assertIn("--remote-id: is missing", str(error))

    def test_theLowestVersionHoldsOnBothSides(self) -> None:
        """
        Unless clients have one of their own; resumption has to be said for each.
        """
        for more, versions in (
            ("--minimum-tls 1.3", ("1.3", "1.3")),
            ("--minimum-tls 1.3 --client-minimum-tls 1.2", ("1.2", "1.3")),
        ):
            tunnel = self.parsed(more)
            assert tunnel.onward is not None
            self.assertEqual((tunnel.minimum, tunnel.onward.minimum), versions)
        for more, resumed in (
            ("", (False, True)),
            ("--resumption off", (False, False)),
            ("--client-resumption on", (True, True)),
        ):
            tunnel = self.parsed(more)
            assert tunnel.onward is not None
            self.assertEqual((tunnel.resumes, tunnel.onward.resumes), resumed)

    def test_bothSidesSelectTheProtocolThatOneOfThemSpeaks(self) -> None:
        """
        A client that begins with TLS may ask for it by ALPN.
        """
        tunnel = self.parsed("--starttls-out imap")
        assert tunnel.onward is not None
        self.assertEqual(tunnel.alpn, (b"imap",))
        self.assertEqual(tunnel.onward.alpn, (b"imap",))

    def test_anOptionOfTheProtocolIsForTheSideThatHasIt(self) -> None:
        """
        One that neither has is refused, once.
        """
        tunnel = self.parsed("--starttls-in imap --dialect-option hide-logindisabled")
        assert tunnel.onward is not None
        self.assertEqual(tunnel.options, {"hide-logindisabled"})
        self.assertEqual(tunnel.onward.options, frozenset())
        self.assertIn("--dialect-option x: ", self.refusal("--dialect-option x"))
        valued = "--starttls-in imap --dialect-option hide-logindisabled=1"
        self.assertIn("hide-logindisabled takes no value", self.refusal(valued))

    def test_whatIsOfOneModeIsNotOfABridge(self) -> None:
        """
        And what a bridge alone has is of no other mode.
        """
        for more in (
            "--starttls smtp",
            "--chat smtp",
            "--negotiate-only",
            "--remote-id-file f",
            "--proxy-out v1",
        ):
            key = more.split()[0]
            self.assertEqual(
                self.refusal(more), f"{key}: means nothing with --bridge; leave it out"
            )
        options = TunnelOptions()
        line = "-c -l :465 -r mail.example.org:587 --client-id @x.example".split()
        error = self.assertRaises(usage.UsageError, options.parseOptions, line)
        self.assertIn("--client-id: means nothing with --client", str(error))

    def test_mistakesHaveTheWordsOfTheirSide(self) -> None:
        """
        What is C{remote-id} of a server tunnel is C{client-id} here, and so on.
        """
        self.assertIn("--client-trust pins", self.refusal("--client-trust pins"))
        self.assertIn(
            "say with --client-id who may come", self.refusal("--deny-id nobody@example.org")
        )
        self.assertIn("--client-id", self.refusal("--client-id user@@x"))
        self.assertIn("--starttls-in", self.refusal("--starttls-in smtp --starttls-out imap"))

    def test_oneModeIsGiven(self) -> None:
        """
        No two, and no three.
        """
        self.assertIn("--server, --bridge: exclude each other", self.refusal("-s"))
        self.assertIn("--server, --client, --bridge: exclude each other", self.refusal("-s -c"))


class FileTests(ConfigurationTests):
    """
    C{mode = "bridge"}.
    """

    TEXT = """
[tunnel.front]
mode = "bridge"
local = [":465"]
local-id = ["front.example.net", "a.example.net"]
remote = ["mail.example.org:587"]
starttls-out = "smtp"
client-id = ["@example.net"]

[tunnel.front.name."a.example.net"]
remote = ["a.example.org:587"]
client-id = ["a@example.net"]
"""

    def test_aBridgeWithNames(self) -> None:
        """
        A name says who its clients are, and where they go.
        """
        configuration = self.read(self.TEXT)
        (tunnel,) = configuration.tunnels
        assert tunnel.onward is not None
        self.assertIs(tunnel.mode, Mode.BRIDGE)
        (name,) = tunnel.names
        self.assertEqual(name.remoteID, Selector.parse("a@example.net"))
        shown = show(configuration)
        self.assertIn('starttls-out = "smtp"', shown)
        self.assertNotIn("\nstarttls = ", shown)
        (again,) = self.read(shown).tunnels
        self.assertEqual(again, tunnel)

    def test_theKeyOfAnotherModeIsRefusedInTheTableOfAName(self) -> None:
        """
        With the one that is meant.
        """
        text = self.TEXT.replace('client-id = ["a@', 'remote-id = ["a@')
        self.assertIn("say with client-id who clients must be", self.problems(text)[0])

    def test_defaultsOfOtherModesAreLeftAlone(self) -> None:
        """
        What holds for all tunnels holds where it means something.
        """
        defaults = (
            "[defaults]\nstarttls = 'imap'\nclient-id = ['@example.com']\nrequire-staple = true\n"
            "any-name = true\nreveal = ['smtp']\n"
        )
        text = self.TEXT.replace('client-id = ["@example.net"]\n', "")
        (tunnel,) = self.read(defaults + text).tunnels
        assert tunnel.onward is not None
        self.assertEqual((tunnel.dialect.name, tunnel.onward.dialect.name), ("none", "smtp"))
        self.assertEqual(tunnel.remoteID, Selector.parse("@example.com"))
        self.assertTrue(tunnel.anyName and tunnel.onward.requireStaple)
        self.assertFalse(tunnel.requireStaple or tunnel.onward.anyName)
