"""
The irc dialect.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.roles import ClientRules, ServerRules, client, inside, said, server
from tlstunnel.errors import (
    Malformed,
    Oversize,
    Quit,
    Refused,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.irc import irc, parse

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


class ClientTests(ClientRules, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = irc
    clientDialogue = CLIENT
    silent = False

    def test_answers(self) -> None:
        """
        Nothing but numeric 670 will do.
        """
        for answer, error in (
            (GO, None),
            (b"670\n", None),
            (b"@time=12 :x 670 me :go\r\n", None),
            (b":x notice a\r\n" * 100 + b":x 670 me :go\r\n", None),
            (b":x 691 * :not now\r\n", Refused),
            (b":x 421 * STARTTLS :Unknown command\r\n", Refused),
            (b":x 451 * :register first\r\n", Refused),
            (b"ERROR :Closing Link\r\n", Refused),
            (b"PING :cookie\r\n", Refused),
            (b":x 6700 * :go\r\n", Malformed),
            (b":x 67 * :go\r\n", Malformed),
            (b":670 * :go\r\n", Malformed),
            (b":x :670 go\r\n", Malformed),
            (b" 670 * :go\r\n", Malformed),
            (b"220 mx ESMTP\r\n", Refused),
            (b"+OK ready\r\n", Malformed),
            (b"\r\n", Malformed),
            (b"NOTICE a\rb\r\n", Malformed),
            (b"NOTICE a\0b\r\n", Malformed),
            (b"NOTICE a\r\n" * 129, Oversize),
            (b"NOTICE " + b"x" * 2048 + b"\r\n", Oversize),
        ):
            driver = client(irc)
            driver.network.feed(answer)
            if error is None:
                self.assertSwitched(driver)
            else:
                self.assertFailed(driver, error)

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


class ServerTests(ServerRules, SynchronousTestCase):
    """
    Mode -s, up to the switch.
    """

    dialect = irc
    serverDialogue = SERVER
    needsTLS = b"PASS secret\r\n"

    def test_answers(self) -> None:
        """
        The table of what is answered to what.
        """
        start = b":tunnel.example.net "
        unregistered = start + b"451 * :STARTTLS first\r\n"
        unknown = start + b"421 * :Unknown command\r\n"
        for line, answer in (
            (b"starttls", start + b"670 * :STARTTLS successful, proceed with TLS handshake\r\n"),
            (
                b":me STARTTLS ",
                start + b"670 * :STARTTLS successful, proceed with TLS handshake\r\n",
            ),
            (b"STARTTLS now", unknown),
            (b"cap ls", start + b"CAP * LS :tls\r\n"),
            (b"CAP REQ :tls", start + b"CAP * NAK :tls\r\n"),
            (b"CAP REQ :sasl -batch", start + b"CAP * NAK :sasl -batch\r\n"),
            (b"CAP REQ :\x1b[31m", unknown),
            (b"CAP REQ", unknown),
            (b"CAP LIST", unknown),
            (b"CAP END", b""),
            (b"", b""),
            (b"  ", b""),
            (b"PING x", start + b"PONG tunnel.example.net :x\r\n"),
            (b"PING :x y", start + b"PONG tunnel.example.net :x y\r\n"),
            (b"PASS x", unregistered),
            (b"NICK x", unregistered),
            (b"USER x 0 * :x", unregistered),
            (b"JOIN #x", unknown),
            (b"PRIVMSG x :y", unknown),
            (b"\xff\xfe", unknown),
        ):
            driver = server(irc)
            self.assertEqual(said(driver, line + b"\r\n"), answer, line)
            self.assertIsNone(driver.error)

    def test_aClientThatLeavesIsLetGo(self) -> None:
        """
        QUIT ends the connection, and nobody regards that as an attack.
        """
        driver = server(irc)
        self.assertEqual(said(driver, b"QUIT :bye\r\n"), b"ERROR :bye\r\n")
        self.assertFailed(driver, Quit)

    def test_threeSyntaxErrorsEndTheConnection(self) -> None:
        """
        And the client is told.
        """
        driver = server(irc)
        answer = said(driver, b"A\r\nB\r\nC\r\n")
        unknown = b":tunnel.example.net 421 * :Unknown command\r\n"
        self.assertEqual(answer, unknown * 2 + b"ERROR :too many errors\r\n")
        self.assertFailed(driver, TooManyErrors)

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
