"""
Tests for L{tlstunnel.protocols.registry}: which dialects there are, and what they are called.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tlstunnel.errors import ConfigurationError
from tlstunnel.interfaces import IDialect
from tlstunnel.protocols.registry import (
    ALIASES,
    BUILT_IN,
    IMPLICIT_PORTS,
    STARTTLS_PORTS,
    builtIn,
    find,
)

#: IANA's service names, with ports, the port with TLS from the first byte, and the ids for ALPN.
REGISTERED: dict[str, tuple[tuple[int, ...], int | None, tuple[bytes, ...]]] = {
    "none": ((), None, ()),
    "smtp": ((25, 587), 465, ()),
    "lmtp": ((24,), None, ()),
    "imap": ((143,), 993, (b"imap",)),
    "pop3": ((110,), 995, (b"pop3",)),
    "nntp": ((119, 433), 563, (b"nntp",)),
    "sieve": ((4190,), None, (b"managesieve",)),
    "ftp": ((21,), 990, (b"ftp",)),
    "xmpp-client": ((5222,), 5223, (b"xmpp-client",)),
    "xmpp-server": ((5269,), 5270, (b"xmpp-server",)),
    "ldap": ((389,), 636, ()),
    "postgresql": ((5432,), 5432, (b"postgresql",)),
    "mysql": ((3306,), None, ()),
    "irc": ((6667,), 6697, (b"irc",)),
    "telnet": ((23,), 992, ()),
    "nats": ((4222,), None, ()),
    "nut": ((3493,), None, ()),
    "munin": ((4949,), None, ()),
    "nbd": ((10809,), None, ()),
    "vnc": ((5900,), None, ()),
    "http": ((80, 631), 443, (b"http/1.1",)),
}


class RegistryTests(SynchronousTestCase):
    """
    The built-in dialects.
    """

    def test_portsAndALPN(self) -> None:
        """
        As they are registered (rule 11): a wrong id would be refused by servers, and one too many
        would let other protocols in.
        """
        found = {each.name: (each.ports, each.implicitPort, each.alpn) for each in builtIn()}
        self.assertEqual(found, REGISTERED)

    def test_whoseAPortIs(self) -> None:
        """
        The tables have what the dialects say, without loading them.
        """
        dialects = list(builtIn())
        self.assertEqual(
            STARTTLS_PORTS, {port: each.name for each in dialects for port in each.ports}
        )
        self.assertEqual(
            IMPLICIT_PORTS,
            {each.implicitPort: each.name for each in dialects if each.implicitPort},
        )

    def test_theyAreWhatTheInterfaceSays(self) -> None:
        """
        And are found under their own name, in any case.
        """
        for name in BUILT_IN:
            dialect = find(name)
            self.assertTrue(verifyObject(IDialect, dialect))
            self.assertEqual(dialect.name, name)
            self.assertIs(find(name.upper()), dialect)
            self.assertTrue(dialect.summary)

    def test_aliases(self) -> None:
        """
        The table that spares loading all dialects says what they say of themselves.
        """
        said = {alias: each.name for each in builtIn() for alias in each.aliases}
        self.assertEqual(said, ALIASES)
        self.assertEqual(find("PostgreS").name, "postgresql")

    def test_anUnknownNameHasTheNearestOne(self) -> None:
        """
        Typing errors are the usual case.
        """
        error = self.assertRaises(ConfigurationError, find, "imapp")
        self.assertIn("did you mean imap?", str(error))
        error = self.assertRaises(ConfigurationError, find, "zzzzzz")
        self.assertIn("--list-protocols", str(error))
