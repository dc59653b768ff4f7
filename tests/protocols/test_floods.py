"""
That no peer holds up the others by what it sends to a filter: the work of each turn of the reactor
is counted in messages, whatever arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.mysqllogins import LOGIN, MYSQL, REQUEST, SSL, cleared, withFlags
from tests.protocols.test_postgresql import startup
from tlstunnel.errors import Oversize, ServerSpokeFirst, TooManyErrors, TunnelError
from tlstunnel.protocols.filters import PIECE_BYTES
from tlstunnel.protocols.ftp import ftp
from tlstunnel.protocols.guards import MAX_FAREWELL_BYTES
from tlstunnel.protocols.imap import imap
from tlstunnel.protocols.munin import munin
from tlstunnel.protocols.mysql import mysql
from tlstunnel.protocols.mysqlpackets import packet
from tlstunnel.protocols.nntp import nntp
from tlstunnel.protocols.pop3 import pop3
from tlstunnel.protocols.postgresql import postgresql
from tlstunnel.protocols.sieve import sieve
from tlstunnel.protocols.smtp import SMTPClient, lmtp, smtp
from tlstunnel.protocols.xmlstream import Tags
from tlstunnel.protocols.xmpp import xmppClient
from tlstunnel.testing.dialogues import client, server
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.filtering import MAX_MESSAGES_PER_TURN, Filtering

#: Bytes of a flood.
FLOOD_BYTES = 1 << 18


class Turns:
    """
    Counts the messages that the filters of a connection look at in each turn of the reactor.

    @ivar messages: of each turn, how many.
    """

    def __init__(self, driver: Driver, leg: MemoryLeg) -> None:
        """
        @param leg: where the flood arrives.
        """
        self.messages: list[int] = []
        self._filters = [
            each
            for side in (driver.network, driver.plain)
            if isinstance(side.speaker, Filtering)
            for each in side.speaker._filters
        ]
        self._received = leg.speaker.dataReceived
        leg.speaker = self
        callLater = driver.clock.callLater
        clock: Any = driver.clock
        clock.callLater = lambda delay, call, *args: callLater(delay, self._turn, call, *args)

    def _turn(self, call: Callable[..., object], *args: object) -> None:
        before = sum(each.messages for each in self._filters)
        call(*args)
        self.messages.append(sum(each.messages for each in self._filters) - before)

    def dataReceived(self, data: memoryview) -> None:
        """
        A turn in which something is read.
        """
        self._turn(self._received, data)


class FloodTests(SynchronousTestCase):
    """
    One flood after the other.
    """

    def flood(
        self, driver: Driver, leg: MemoryLeg, piece: bytes, ends: type[TunnelError] | None = None
    ) -> None:
        """
        Let C{piece} arrive very often on C{leg}.

        @param ends: why the connection ends, if it does.
        """
        self.assertEqual(driver.stage, "relay", str(driver.error))
        driver.network.takeWritten()
        driver.plain.takeWritten()
        turns = Turns(driver, leg)
        count = FLOOD_BYTES // len(piece)
        leg.feed(piece * count)
        most = MAX_MESSAGES_PER_TURN + PIECE_BYTES
        self.assertLessEqual(max(turns.messages), most)
        if ends is None:
            self.assertIsNone(driver.error)
            self.assertGreaterEqual(sum(turns.messages), count)
        else:
            self.assertIsInstance(driver.error, ends)

    def meet(self, driver: Driver, request: bytes, greeting: bytes) -> Driver:
        """
        Take a server role to the relay.
        """
        driver.network.feed(request)
        driver.handshake()
        driver.plain.feed(greeting)
        return driver

    def test_smtp(self) -> None:
        """
        Of an authentication that does not end, and of a list.
        """
        for dialect in (smtp, lmtp):
            driver = self.meet(server(dialect), b"STARTTLS\r\n", b"220 ready\r\n")
            driver.network.feed(b"AUTH PLAIN\r\n")
            self.flood(driver, driver.network, b"\n")
            self.flood(driver, driver.plain, b"334\n")
            driver = self.meet(server(dialect), b"STARTTLS\r\n", b"220 ready\r\n")
            driver.network.feed(b"EHLO x\r\nLHLO x\r\n")
            self.flood(driver, driver.plain, b"250-\n")

    def test_imap(self) -> None:
        """
        Lines that are no commands, and answers that say nothing.
        """
        for leg, piece in (("network", b"\n"), ("plain", b"* OK\n")):
            driver = self.meet(server(imap), b"a STARTTLS\r\n", b"* OK ready\r\n")
            self.flood(driver, getattr(driver, leg), piece)

    def test_pop3(self) -> None:
        """
        Of an authentication that does not end.
        """
        driver = self.meet(server(pop3), b"STLS\r\n", b"+OK ready\r\n")
        driver.network.feed(b"AUTH PLAIN\r\n")
        self.flood(driver, driver.network, b"\n")
        self.flood(driver, driver.plain, b"+\n")

    def test_nntp(self) -> None:
        """
        The same.
        """
        driver = self.meet(server(nntp), b"STARTTLS\r\n", b"200 ready\r\n")
        driver.network.feed(b"AUTHINFO SASL PLAIN\r\n")
        self.flood(driver, driver.network, b"\n")
        self.flood(driver, driver.plain, b"383\n")

    def test_sieve(self) -> None:
        """
        The same.
        """
        driver = self.meet(server(sieve), b"STARTTLS\r\n", b"")
        driver.plain.feed(b'OK "ready"\r\n')
        driver.network.feed(b'AUTHENTICATE "PLAIN"\r\n')
        self.flood(driver, driver.network, b"\n")
        self.flood(driver, driver.plain, b'""\n')

    def test_aFarewellThatDoesNotEnd(self) -> None:
        """
        All of it is looked at again with each piece, but not with many in one turn.
        """
        judged = [0]
        isFarewell = SMTPClient.isFarewell

        def judging(role: SMTPClient, said: bytes) -> bool | None:
            judged[-1] += len(said)
            return isFarewell(role, said)

        self.patch(SMTPClient, "isFarewell", judging)
        driver = client(smtp)
        for reply in (b"220 x\r\n", b"250 x\r\n", b"220 x\r\n"):
            driver.network.feed(reply)
        driver.handshake()
        clock: Any = driver.clock
        callLater = clock.callLater

        def later(*args: Any) -> object:
            judged.append(0)
            return callLater(*args)

        clock.callLater = later
        driver.network.feed(b"421-\n" * MAX_FAREWELL_BYTES)
        self.assertIsInstance(driver.error, ServerSpokeFirst)
        self.assertGreater(sum(judged), 4 * MAX_FAREWELL_BYTES)
        self.assertLessEqual(max(judged), MAX_FAREWELL_BYTES + PIECE_BYTES)

    def test_ftpCommands(self) -> None:
        """
        Line ends are commands that are refused, and so end it; those that are answered do not.
        """
        for piece, ends in ((b"\r\n", TooManyErrors), (b"\n", TooManyErrors), (b"PBSZ\n", None)):
            driver = self.meet(server(ftp), b"AUTH TLS\r\n", b"220 ready\r\n")
            self.flood(driver, driver.network, piece, ends)

    def test_ftpReplies(self) -> None:
        """
        One that has to wait has an end; others pass line by line.
        """
        for command, ends in ((b"PASV\r\n", Oversize), (b"HELP\r\n", None)):
            driver = client(ftp)
            driver.network.feed(b"220 ready\r\n")
            driver.network.feed(b"234 go\r\n")
            driver.handshake()
            driver.network.feed(b"200 ok\r\n200 ok\r\n")
            driver.plain.feed(command)
            driver.network.feed(b"227-\r\n" if ends else b"214-\r\n")
            self.flood(driver, driver.network, b"\r\n", ends)

    def test_munin(self) -> None:
        """
        Lines without words, of which each gets a record of its own: of a node, and of an app.
        """
        driver = self.meet(server(munin), b"STARTTLS\n", b"# munin node at x\n")
        self.flood(driver, driver.plain, b"\n")
        driver = client(munin)
        driver.network.feed(b"# munin node at x\n")
        driver.network.feed(b"TLS OK\n")
        driver.handshake()
        self.flood(driver, driver.plain, b"\n")

    def test_mysql(self) -> None:
        """
        Packets without a payload, of the client and of the server.
        """
        driver = server(mysql)
        driver.plain.feed(packet(0, cleared(MYSQL)))
        driver.network.feed(REQUEST)
        driver.handshake()
        driver.network.feed(packet(2, withFlags(LOGIN, SSL)))
        self.flood(driver, driver.network, packet(3, b""))
        self.flood(driver, driver.plain, packet(2, b""))
        driver = client(mysql)
        driver.network.feed(packet(0, MYSQL))
        driver.plain.feed(packet(1, LOGIN))
        driver.handshake()
        self.flood(driver, driver.network, packet(3, b""))
        self.flood(driver, driver.plain, packet(2, b""))

    def test_postgresql(self) -> None:
        """
        Notices in which there is nothing.
        """
        driver = client(postgresql)
        driver.plain.feed(startup())
        driver.network.feed(b"S")
        driver.handshake()
        self.flood(driver, driver.network, b"N\0\0\0\4")

    def test_lineEndsInAStream(self) -> None:
        """
        They are told together, and not one by one.
        """
        told: list[str] = []
        read = Tags._read

        def reading(tags: Tags, text: str) -> None:
            told.append(text)
            read(tags, text)

        self.patch(Tags, "_read", reading)
        tags = Tags()
        tags.feed(b"<a>")
        tags.feed(b"<b>")
        tags.feed(b"\n" * 1000)
        self.assertEqual(tags.text, "\n" * 1000)
        self.assertEqual(len(told), 1)

    def test_xmpp(self) -> None:
        """
        Tags end the hiding before long; white space is looked at as it comes.
        """
        header = (
            b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
            b" version='1.0' to='tunnel.example.net'>"
        )
        for piece in (b"<a>", b"<a/>", b"<", b">", b"</a>", b" ", b"<a/> ", b"\n<\n"):
            for start in (b"", header):
                driver = server(xmppClient)
                driver.network.feed(header + b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
                driver.handshake()
                driver.plain.feed(start)
                turns = Turns(driver, driver.plain)
                driver.plain.feed(piece * (FLOOD_BYTES // len(piece)))
                self.assertIsNone(driver.error)
                self.assertLessEqual(max(turns.messages), MAX_MESSAGES_PER_TURN + PIECE_BYTES)
