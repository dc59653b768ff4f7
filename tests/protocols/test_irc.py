"""
The irc dialect.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Malformed, Oversize, Quit, Refused, TooManyErrors, TunnelError
from tlstunnel.protocols.irc import irc, parse
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, inside, said, server

GO = b":irc.example.org 670 * :STARTTLS successful, proceed with TLS handshake\r\n"
CLIENT = [
    ("C", b"STARTTLS\r\n"),
    ("S", b":irc.example.org NOTICE * :*** Looking up your hostname...\r\n"),
    ("S", b"NOTICE AUTH :*** Found it\r\n" + GO),
]
SERVER = [
    ("C", b"CAP LS 302\r\n"),
    ("S", b":tunnel.example.net CAP * LS :tls\r\n"),
    ("C", b"STARTTLS\r\n"),
    ("S", b":tunnel.example.net 670 * :STARTTLS successful, proceed with TLS handshake\r\n"),
]


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = irc
    dialogue = CLIENT
    silent = False
    variants = [
        (2, GO),
        (2, b"670\n"),
        (2, b"@time=12 :x 670 me :go\r\n"),
        (2, b":x notice a\r\n" * 100 + b":x 670 me :go\r\n"),
        (2, b"\r\n \r\n" + GO),
        (2, b":x 020 * :Please wait while we process your connection.\r\n" + GO),
        (2, b":x 439 * :Please wait while we process your connection.\r\n" + GO),
    ]
    failures = [
        (2, b":x 691 * :not now\r\n", Refused),
        (2, b":x 421 * STARTTLS :Unknown command\r\n", Refused),
        (2, b":x 451 * :register first\r\n", Refused),
        (2, b"ERROR :Closing Link\r\n", Refused),
        (2, b":x 001 me :Welcome\r\n", Refused),
        (2, b":x 6700 * :go\r\n", Malformed),
        (2, b":x 67 * :go\r\n", Malformed),
        (2, b":670 * :go\r\n", Malformed),
        (2, b":x :670 go\r\n", Malformed),
        (2, b" 670 * :go\r\n", Malformed),
        (2, b"220 mx ESMTP\r\n", Refused),
        (2, b"+OK ready\r\n", Malformed),
        (2, b"NOTICE a\rb\r\n", Malformed),
        (2, b"NOTICE a\0b\r\n", Malformed),
        (2, b"NOTICE a\r\n" * 129, Oversize),
        (2, b"NOTICE " + b"x" * 2048 + b"\r\n", Oversize),
    ]
    endless = [(1, b":x NOTICE * :***\r\n"), (2, b"\r\n"), (2, b"PING :\r\n")]

    def test_aServerMayAskWhetherItIsHeard(self) -> None:
        """
        Before it answers; it gets a short word back, and nothing else.
        """
        for asked, answer in (
            (b"PING :cookie\r\n", b"PONG :cookie\r\n"),
            (b":x ping C00KIE \n", b"PONG C00KIE\r\n"),
            (b"PING :two words\r\n", b""),
            (b"PING \x1b\r\n", b""),
            (b"PING " + b"x" * 65 + b"\r\n", b""),
            (b"PING\r\n", b""),
        ):
            driver = self.start(1)
            self.assertEqual(said(driver, asked), answer)
            self.assertEqual(said(driver, GO), b"")
            self.assertSwitched(driver, asked)

    def test_noticesMayComeFirstInsideTLS(self) -> None:
        """
        The server looks up names whenever it likes, and the app hears of it.
        """
        driver = inside(client(irc), CLIENT)
        driver.network.feed(b"NOTICE * :***\r\n")
        self.assertEqual(driver.plain.written, b"NOTICE * :***\r\n")

    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes) -> None:
        """
        Whatever a server says, the switch is reached by 670 only.
        """
        driver = client(irc)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        if b"670" not in garbage:
            self.assertIsInstance(driver.error, TunnelError)


START = b":tunnel.example.net "
UNREGISTERED = START + b"451 * :STARTTLS first\r\n"
UNKNOWN = START + b"421 * :Unknown command\r\n"


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s.
    """

    dialect = irc
    dialogue = SERVER
    variants = [(2, b"starttls\n"), (2, b":me STARTTLS \r\n"), (0, b"cap ls\n")]
    answers = {
        b"cap ls\r\n": START + b"CAP * LS :tls\r\n",
        b"CAP REQ :tls\r\n": START + b"CAP * NAK :tls\r\n",
        b"CAP REQ :sasl -batch\r\n": START + b"CAP * NAK :sasl -batch\r\n",
        b"CAP REQ :" + b"long-name " * 100 + b"\r\n": (
            START + b"CAP * NAK :" + b"long-name " * 20 + b"\r\n"
        ),
        b"CAP REQ :\x1b[31m\r\n": UNKNOWN,
        b"CAP REQ\r\n": UNKNOWN,
        b"CAP LIST\r\n": UNKNOWN,
        b"CAP END\r\n": b"",
        b"\r\n": b"",
        b"  \r\n": b"",
        b"PING x\r\n": START + b"PONG tunnel.example.net :x\r\n",
        b"PING :x y\r\n": START + b"PONG tunnel.example.net :x y\r\n",
        b"STARTTLS now\r\n": UNKNOWN,
        b"\xff\xfe\r\n": UNKNOWN,
    }
    needsTLS = {
        b"PASS x\r\n": UNREGISTERED,
        b"NICK x\r\n": UNREGISTERED,
        b"USER x 0 * :x\r\n": UNREGISTERED,
        b"PASS x\r\nNICK y\r\n": UNREGISTERED * 2,
        b"JOIN #x\r\n": UNKNOWN,
        b"PRIVMSG x :y\r\n": UNKNOWN,
    }
    farewells = [
        (b"QUIT :bye\r\n", b"ERROR :bye\r\n", Quit),
        (b"A\r\nB\r\nC\r\n", UNKNOWN * 2 + b"ERROR :too many errors\r\n", TooManyErrors),
    ]
    endless = [(0, b"PING x\r\n"), (0, b"\r\n"), (0, b"CAP END\r\n")]

    def test_theBackendMaySpeakFirst(self) -> None:
        """
        Its notices reach the client, inside TLS.
        """
        driver = inside(server(irc), SERVER)
        driver.plain.feed(b"NOTICE * :***\r\n")
        self.assertEqual(driver.network.written, b"NOTICE * :***\r\n")


class ParserTests(SynchronousTestCase):
    """
    L{parse}.
    """

    def test_messages(self) -> None:
        """
        Tags and prefix are passed over.
        """
        for line, parsed in (
            (b"NICK a", (b"NICK", b"a")),
            (b"nick", (b"NICK", b"")),
            (b":a!b@c PRIVMSG d :e f ", (b"PRIVMSG", b"d :e f")),
            (b"@x=y;z  :a  001  b", (b"001", b"b")),
            (b"", (b"", b"")),
            (b":a", (b"", b"")),
            (b"A1", (b"", b"")),
            (b"0012", (b"", b"")),
        ):
            self.assertEqual(parse(line), parsed, line)

    @settings(deadline=None)
    @given(st.binary(max_size=60))
    def test_anyLineCanBeParsed(self, line: bytes) -> None:
        """
        Without a failure, into a command of the right form or none.
        """
        command, _ = parse(line)
        self.assertTrue(not command or command.isalpha() or command.isdigit())
