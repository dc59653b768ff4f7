"""
TLS from the first byte: tunnels without a dialect.
"""

from __future__ import annotations

import gc
import weakref

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import Address, TCPAddress, UNIXAddress
from tlstunnel.errors import Reset, TimedOut
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.registry import builtIn, find
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import Dialogue, client, isFiltered
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import SERVER_FIRST, Prepared


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = implicit
    dialogue: Dialogue = []
    silent = False


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s.
    """

    dialect = implicit
    dialogue: Dialogue = []
    # They are for the TLS engine to recognise.
    foreign = ()


class GreetingTests(SynchronousTestCase):
    """
    Where a protocol has the server speak first, one that does not is not what it should be: TLS may
    have been asked for in clear by somebody on the way (rule 10).
    """

    def connected(self, awaitsGreeting: bool = True) -> Driver:
        """
        A client tunnel inside TLS.
        """
        driver = client(implicit)
        driver.prepared.awaitsGreeting = awaitsGreeting
        driver.handshake()
        self.assertEqual(driver.stage, "relay")
        return driver

    def test_aServerThatDoesNotGreetIsLeft(self) -> None:
        """
        After the time for greetings, whatever the app says meanwhile.
        """
        driver = self.connected()
        driver.plain.feed(b"a1 LOGIN\r\n")
        driver.clock.advance(58)
        self.assertIsNone(driver.error)
        driver.clock.advance(3)
        self.assertIsInstance(driver.error, TimedOut)
        self.assertEqual((driver.plain.written, driver.plain.ending), (b"", "closed"))

    def test_aServerThatGreetsIsWaitedForNoMore(self) -> None:
        """
        One byte will do.
        """
        driver = self.connected()
        driver.clock.advance(50)
        driver.network.feed(b"*")
        driver.clock.advance(1e6)
        self.assertIsNone(driver.error)
        self.assertEqual(driver.plain.written, b"*")
        self.assertFalse(isFiltered(driver.network))

    def test_anAppThatLeavesBeforeIsForgotten(self) -> None:
        """
        Nothing is kept until the greeting would have been due.
        """
        driver = self.connected()
        driver.plain.reset()
        self.assertIsInstance(driver.error, Reset)
        clock, network = driver.clock, weakref.ref(driver.network)
        del driver
        gc.collect()
        self.assertIsNone(network())
        clock.advance(1e6)

    def test_elsewhereNobodyIsWaitedFor(self) -> None:
        """
        Most protocols have the client speak first.
        """
        driver = self.connected(awaitsGreeting=False)
        driver.clock.advance(1e6)
        self.assertIsNone(driver.error)

    def prepared(self, dialect: str, *remote: Address) -> Prepared:
        """
        What a client tunnel to C{remote} knows.
        """
        who = Identity(None, "example.org")
        return Prepared(
            Tunnel(Mode.CLIENT, (), remote, find(dialect), remoteID=who, skipResolve=True)
        )

    def test_thePortSaysWhetherTheServerGreets(self) -> None:
        """
        Where there is no dialect to say so.
        """
        imaps, https = TCPAddress("example.org", 993), TCPAddress("example.org", 443)
        self.assertTrue(self.prepared("none", imaps).awaitsGreeting)
        self.assertTrue(self.prepared("none", imaps, TCPAddress("::1", 995)).awaitsGreeting)
        self.assertFalse(self.prepared("none", https).awaitsGreeting)
        self.assertFalse(self.prepared("none", imaps, https).awaitsGreeting)
        self.assertFalse(self.prepared("none", UNIXAddress("/run/imaps")).awaitsGreeting)
        self.assertFalse(self.prepared("imap", imaps).awaitsGreeting)

    def test_thosePortsAreOfProtocolsWhoseServerGreets(self) -> None:
        """
        As the dialects have them.
        """
        greeting = ("smtp", "imap", "pop3", "nntp", "ftp")
        ports = {each.implicitPort for each in builtIn() if each.name in greeting}
        self.assertEqual(ports, SERVER_FIRST)
