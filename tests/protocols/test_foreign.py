"""
Tests for L{tlstunnel.protocols.foreign}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import ForeignProtocol, Malformed
from tlstunnel.protocols.base import Dialect
from tlstunnel.protocols.foreign import foreign
from tlstunnel.protocols.ftp import ftp
from tlstunnel.protocols.http import ALLOW_UPGRADE_DESYNC, http
from tlstunnel.protocols.imap import imap
from tlstunnel.protocols.irc import irc
from tlstunnel.protocols.ldap import ldap
from tlstunnel.protocols.munin import munin
from tlstunnel.protocols.nbd import nbd
from tlstunnel.protocols.nntp import nntp
from tlstunnel.protocols.nut import nut
from tlstunnel.protocols.pop3 import pop3
from tlstunnel.protocols.sieve import sieve
from tlstunnel.protocols.smtp import lmtp, smtp
from tlstunnel.protocols.vnc import vnc
from tlstunnel.protocols.xmpp import xmppClient, xmppServer
from tlstunnel.testing.dialogues import CLIENT_HELLO, SSL2_HELLO, server, split
from tlstunnel.testing.memory import Driver

#: Dialects in which a client speaks in lines.
LINES: tuple[Dialect, ...] = (
    *(ftp, http, imap, irc, lmtp, munin, nntp, nut, pop3, sieve),
    smtp,
)

#: Binary protocols, as their clients begin; there is no line end in any of them.
BINARY = {
    "RDP": bytes.fromhex("030000130ee000000000000100080003000000"),
    "SOCKS 5": bytes.fromhex("050100"),
    "LDAP": bytes.fromhex("300c0201016007020103040080 00"),
    "PostgreSQL": bytes.fromhex("0000000804d2162f"),
    "MQTT": bytes.fromhex("100c00044d515454040200 3c0000"),
    "a CR that ends no line": b"EHLO x\rMAIL",
}


class ForeignTests(SynchronousTestCase):
    """
    What is told by the first bytes.
    """

    def test_noMoreIsAwaitedThanIsNeeded(self) -> None:
        """
        What nothing foreign begins with is known by its first byte, mostly.
        """
        for start in (b"EHLO", b"H\n", b"ST", b"PA", b"\xff", b"\x80\x1c\2", b"\x80\x1c\1\4"):
            self.assertEqual(foreign(start), "", start)
        for start in (b"", b"G", b"SSH", b"P", b"OPTIONS", b"\x80", b"\x81\x1c\1", b"\x80\x1c\1\3"):
            self.assertIsNone(foreign(start), start)
        for start in (b"GET ", b"PRI * HTTP/2.0", b"SSH-", b"\x16", SSL2_HELLO[:5]):
            self.assertTrue(foreign(start), start)

    def test_aHeaderOfThePROXYProtocolIsNamed(self) -> None:
        """
        Of both versions, from somebody who is not to send one.
        """
        for start in (b"\r\n\r\n\0\r\nQUIT\n!\x11", b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n"):
            self.assertIn("PROXY", foreign(start) or "", start)

    def test_otherMethodsOfHTTPShowAtTheEndOfTheLine(self) -> None:
        """
        Whatever has arrived behind it.
        """
        line = b"PROPFIND / HTTP/1.1"
        self.assertEqual(foreign(line[:-1]), "")
        for end in (b"", b"\r", b"\n", b"\r\n", b"\r\nHost: a\r\n\r\n"):
            self.assertTrue(foreign(line + end), end)
        self.assertEqual(foreign(b"EHLO a\r\nMAIL HTTP/1.1"), "")

    def test_theOldestFormOfAHelloIsNamed(self) -> None:
        """
        Such clients, too, have taken this port for one with TLS from the first byte.
        """
        self.assertIn("TLS at once", str(foreign(SSL2_HELLO)))
        self.assertIn("SSL 2", str(foreign(SSL2_HELLO)))
        self.assertIn("TLS at once", str(foreign(CLIENT_HELLO)))


class ServerTests(SynchronousTestCase):
    """
    The server roles.
    """

    def started(self, dialect: Dialect) -> Driver:
        """
        One to which a client has connected.
        """
        driver = server(dialect, ALLOW_UPGRADE_DESYNC)
        driver.network.takeWritten()
        return driver

    def test_TLSAtOnceIsNamedHoweverItComes(self) -> None:
        """
        Without the end of a line, and without an answer.
        """
        for dialect in (*LINES, ldap, nbd, vnc, xmppClient, xmppServer):
            for hello in (CLIENT_HELLO, SSL2_HELLO[:7]):
                for pieces in ((hello,), *split(hello)):
                    driver = self.started(dialect)
                    for piece in pieces:
                        driver.network.feed(piece)
                    self.assertIsInstance(driver.error, ForeignProtocol, dialect.name)
                    self.assertEqual(driver.network.written, b"")

    def test_whoeverSpeaksBinaryIsNamedAtOnce(self) -> None:
        """
        Where lines are due: nobody waits for the end of one.
        """
        for dialect in LINES:
            for what, start in BINARY.items():
                for pieces in ((start,), *split(start)):
                    driver = self.started(dialect)
                    for piece in pieces:
                        driver.network.feed(piece)
                    self.assertIsInstance(driver.error, Malformed, (dialect.name, what))
                    self.assertEqual(driver.network.written, b"")
