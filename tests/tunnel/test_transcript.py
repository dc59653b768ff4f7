"""
Tests for L{tlstunnel.tunnel.transcript}: how a negotiation is shown.  That all of it is, of every
dialect, and nothing else, is a rule of L{tlstunnel.testing.rules}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.dialogues import ASK, dialogue
from tests.loopback import Encrypted, Plain, TunnelTests, wait
from tlstunnel.address import TCPAddress
from tlstunnel.chat.dialect import chatDialect
from tlstunnel.chat.parse import ScriptOptions, parseScript
from tlstunnel.errors import QUOTED
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.observers import Observer, Observers
from tlstunnel.tunnel.record import Record
from tlstunnel.tunnel.transcript import MAX_LINES, NegotiationLog, Transcript


class Listening(Observer):
    """
    Notes what is said.
    """

    def __init__(self) -> None:
        self.heard: list[tuple[bool, bytes]] = []

    def said(self, record: Record, isOurs: bool, words: bytes) -> None:
        """
        Note it.
        """
        self.heard.append((isOurs, words))


def recordWith(*observers: Observer, name: str = "") -> Record:
    """
    The record of a connection.
    """
    peer = TCPAddress("2001:db8::1", 40000)
    return Record(Clock(), Observers(observers), name, Mode.CLIENT, "smtp", peer)


class TranscriptTests(SynchronousTestCase):
    """
    L{Transcript}.
    """

    def setUp(self) -> None:
        """
        Listen.
        """
        self.listening = Listening()
        self.transcript = Transcript(recordWith(self.listening))

    def test_lineByLine(self) -> None:
        """
        However they arrive, and each before what is said next.
        """
        for piece in (b"220", b" mx\r", b"\n"):
            self.transcript.received(piece)
        self.transcript.sent(b"EHLO a\r\nSTARTTLS\r\n")
        self.transcript.received(b"250-mx\r\n250 \r\n\x01\x02")
        self.transcript.sent(b"\x03")
        self.transcript.received(b"rest")
        self.transcript.end(b" unread")
        self.assertEqual(
            self.listening.heard,
            [
                (False, b"220 mx\r\n"),
                (True, b"EHLO a\r\n"),
                (True, b"STARTTLS\r\n"),
                (False, b"250-mx\r\n"),
                (False, b"250 \r\n"),
                (False, b"\x01\x02"),
                (True, b"\x03"),
                (False, b"rest unread"),
            ],
        )

    def test_longLinesComeInPieces(self) -> None:
        """
        Each is as long as what a line of the log quotes, and nothing is kept beyond that.
        """
        self.transcript.received(b"x" * (2 * QUOTED + 7))
        self.assertEqual(self.listening.heard, [(False, b"x" * QUOTED)] * 2)
        self.transcript.received(b"\n")
        self.assertEqual(self.listening.heard[2:], [(False, b"x" * 7 + b"\n")])

    def test_thereIsAnEnd(self) -> None:
        """
        A peer that goes on and on fills no disk, and no memory.
        """
        for _ in range(3):
            self.transcript.received(b"\n" * 65536)
            self.transcript.received(b"x" * 65536)
        self.transcript.sent(b"\n")
        self.transcript.end(b"x")
        self.assertEqual(len(self.listening.heard), MAX_LINES)
        self.assertEqual(self.transcript._heard, b"")

    def test_nobodyListens(self) -> None:
        """
        What nobody wants to know costs nothing: there is no transcript.
        """
        self.assertFalse(recordWith().isOverheard)
        self.assertFalse(recordWith(ConnectionLog()).isOverheard)
        self.assertTrue(recordWith(ConnectionLog(), Listening()).isOverheard)


class NegotiationLogTests(SynchronousTestCase):
    """
    L{NegotiationLog}.
    """

    def test_aLineHasItsConnectionAndItsDirection(self) -> None:
        """
        What is said is escaped (rule 12).
        """
        events: list[LogEvent] = []
        log = NegotiationLog(Logger("ours", observer=events.append))  # type: ignore[arg-type]
        record = recordWith(log, name="mail")
        record.say(False, b"220 \x1b[2J\r\n")
        record.backend = TCPAddress("192.0.2.1", 587)
        record.say(True, b"EHLO a\r\n")
        self.assertEqual(
            [formatEvent(each) for each in events],
            [
                r'[2001:db8::1]:40000: smtp, received "220 \x1b[2J\x0d\x0a"',
                r'[2001:db8::1]:40000: smtp, sent "EHLO a\x0d\x0a"',
            ],
        )
        self.assertIs(events[0]["log_level"], LogLevel.debug)
        names = ("event", "tunnel", "peer", "backend", "dialect", "direction", "said")
        self.assertEqual(
            [events[1][name] for name in names],
            [
                "negotiation",
                "mail",
                "[2001:db8::1]:40000",
                "192.0.2.1:587",
                "smtp",
                "sent",
                r'"EHLO a\x0d\x0a"',
            ],
        )


class ChatTests(SynchronousTestCase):
    """
    Scripts, which have words of their own for the log.
    """

    def driver(self, script: bytes) -> Driver:
        """
        The client role of a script.
        """
        options = ScriptOptions("client")
        return Driver(chatDialect(lambda: parseScript(script, "t", options)), "client")

    def test_secretsAreNotShown(self) -> None:
        """
        Those that a script marks as such.
        """
        driver = self.driver(rb"login: \qsecret word: open go")
        for words in b"login:\r\n", b"word:\r\n", b"go\r\n":
            driver.network.feed(words)
        told = [words for isOurs, words in driver.told if isOurs]
        self.assertEqual(told, [b"??????", b"open\r"])
        self.assertIn(b"secret\ropen", driver.network.written)

    def test_reportsHaveTheirConnection(self) -> None:
        """
        Behind which they are as ever.
        """
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, events.append)  # type: ignore[arg-type]
        driver = self.driver(b"REPORT CONN x y z")
        driver.network.feed(b"aCONNECT 9600\r\nx\r\n")
        (event,) = (each for each in events if each.get("event") == "chat")
        peer = str(driver.plain.peer)
        self.assertEqual(formatEvent(event), f'{peer}: chat report: "CONNECT 9600"')
        self.assertEqual((event["peer"], event["report"]), (peer, '"CONNECT 9600"'))


class TunnelsTests(TunnelTests):
    """
    Tunnels in which one looks for a fault, and others.
    """

    async def test_aVerboseTunnelShowsWhatIsSaidBeforeTLS(self) -> None:
        """
        And nothing of what is said inside, nor to the backend.
        """
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, events.append)  # type: ignore[arg-type]

        def script(client: Encrypted, server: Plain) -> None:
            server.write(b"220 backend\r\n")
            client.write(b"AUTH secret\r\n")
            assert server.read(13) == b"AUTH secret\r\n"

        for self.isVerbose in True, False:
            events.clear()
            await self.through(script, "smtp", lambda sock: dialogue(sock, *ASK))
            await wait(lambda: bool(self.ends))
            self.ends.clear()
            said = [
                (each["direction"], each["said"])
                for each in events
                if each.get("event") == "negotiation"
            ]
            expected = [
                ("sent", r'"220 server.example.org ESMTP\x0d\x0a"'),
                ("received", r'"EHLO client\x0d\x0a"'),
                ("sent", r'"250-server.example.org\x0d\x0a"'),
                ("sent", r'"250 STARTTLS\x0d\x0a"'),
                ("received", r'"STARTTLS\x0d\x0a"'),
                ("sent", r'"220 2.0.0 Ready to start TLS\x0d\x0a"'),
            ]
            self.assertEqual(said, expected if self.isVerbose else [])
