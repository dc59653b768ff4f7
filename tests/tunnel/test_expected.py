"""
Tests for L{tlstunnel.tunnel.expected}: whom a client tunnel expects.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.program.addressvalues import target
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.expected import checkRemoteID, identityOfRemote


def client(*remotes: str, remoteID: Identity | None = None, dialect: str = "none") -> Tunnel:
    """
    A client tunnel to some addresses.
    """
    addresses = tuple(map(target, remotes))
    return Tunnel(Mode.CLIENT, (), addresses, find(dialect), remoteID=remoteID)


class IdentityOfRemoteTests(SynchronousTestCase):
    """
    L{identityOfRemote}.
    """

    def test_theFirstNameIsExpected(self) -> None:
        """
        Addresses and UNIX sockets have none.
        """
        for remotes, expected in (
            (("a.example:1",), Identity(None, "a.example")),
            (("a.example.:1",), Identity(None, "a.example")),
            (("192.0.2.1:1", "/run/x", "[::1]:1", "b.example:1"), Identity(None, "b.example")),
            (("192.0.2.1:1", "/run/x"), None),
            # Never what the DNS says.
            (("srv:_submission._tcp.a.example",), Identity(None, "a.example")),
        ):
            self.assertEqual(identityOfRemote(client(*remotes).remote), expected)


class CheckRemoteIDTests(SynchronousTestCase):
    """
    L{checkRemoteID}.
    """

    def assertMistake(self, message: str, *remotes: str) -> None:
        """
        Nobody says whom to expect at C{remotes}.
        """
        error = self.assertRaises(ConfigurationError, checkRemoteID, client(*remotes))
        assert isinstance(error, ConfigurationError)
        self.assertEqual(error.key, "remote-id")
        self.assertIn(message, str(error))

    def test_aNameIsEnough(self) -> None:
        """
        Also the same one several times.
        """
        checkRemoteID(client("a.example:1", "a.example:2", "a.example.:3"))

    def test_addressesHaveNone(self) -> None:
        """
        Of all remote addresses each has to have one.
        """
        self.assertMistake("192.0.2.1:1 does not name the server", "192.0.2.1:1")
        self.assertMistake("[::1]:1 does not name the server", "a.example:1", "[::1]:1")
        self.assertMistake("/run/x does not name the server", "/run/x")

    def test_severalNamesAreTooMany(self) -> None:
        """
        One of them would be verified at the other one.
        """
        self.assertMistake(
            "--remote has several names (a.example, b.example)", "b.example:1", "a.example:1"
        )

    def test_anIdentityThatIsGivenDecides(self) -> None:
        """
        Whatever the addresses are.
        """
        expected = Identity(None, "c.example")
        checkRemoteID(client("192.0.2.1:1", "a.example:1", "/run/x", remoteID=expected))

    def test_theAppMaySayIt(self) -> None:
        """
        In a dialect where it does.
        """
        checkRemoteID(client("192.0.2.1:1", dialect="xmpp-client"))
