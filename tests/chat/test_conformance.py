"""
A chat script obeys the rules that hold in every dialect, as its own coroutine in the proxy runs it.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.chat.dialect import ChatDialect, chatDialect
from tlstunnel.chat.escapes import Values
from tlstunnel.chat.parse import EXPECT_SECONDS, ScriptOptions, parseScript
from tlstunnel.chat.source import makeScript
from tlstunnel.chat.steps import Side
from tlstunnel.errors import Closed, TimedOut, TunnelError
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import OURS, THEIRS

SERVE = rb"""
SWALLOW "220 "
"" "220 \U ESMTP\r\n\c"
"EHLO " "\c"
"\n" "250-\U\r\n250 STARTTLS\r\n\c"
"STARTTLS\r\n" "220 2.0.0 Ready to start TLS\r\n\c"
"""


def optionsOf(mode: Side) -> ScriptOptions:
    """How a tunnel in that mode reads a script."""
    return ScriptOptions(mode, Values(THEIRS, OURS))


def ready(name: str) -> ChatDialect:
    """The dialect of a ready script."""
    return chatDialect(lambda: makeScript(name, [], optionsOf("client")))


class ScriptedClient(ClientConformance):
    """
    A script has a limit for each thing it expects; the ready ones give a greeting more.
    """

    def test_whoDripsGetsNoMoreTime(self) -> None:
        """
        What is not expected does not count.
        """
        place = self.heard()[0]
        driver = self.start(place)
        for _ in range(int(self.limitAt(place)) + 1):
            driver.network.feed(b"x")
            driver.clock.advance(1)
        self.assertFailed(driver, TimedOut)


class SMTPTests(ScriptedClient, SynchronousTestCase):
    """
    A script with a GREETING.
    """

    dialect = ready("smtp")
    dialogue = [
        ("S", b"220-mx.example.org\r\n220 ready\r\n"),
        ("C", b"EHLO tunnel.example.net\r\n"),
        ("S", b"250-mx.example.org\r\n250 STARTTLS\r\n"),
        ("C", b"STARTTLS\r\n"),
        ("S", b"220 2.0.0 Ready to start TLS\r\n"),
    ]
    inside = [("T", b"220 server.example.org ESMTP\r\n")]
    variants = [(0, b"220-Relaying is answered with 554 here\r\n220 421 454 \r\n")]
    failures = [
        (2, b"502 what\r\n", TunnelError),
        (4, b"454 not now\r\n", TunnelError),
    ]

    def test_aRefusalInTheGreetingShowsWhenTheServerCloses(self) -> None:
        """
        It cannot be told from text; the end can.
        """
        driver = self.start()
        driver.network.feed(b"554 no\r\n")
        self.assertGoesOn(driver)
        driver.network.end()
        self.assertFailed(driver, Closed)


class IMAPTests(ScriptedClient, SynchronousTestCase):
    """
    A script whose refusals are known from the first byte.
    """

    dialect = ready("imap")
    dialogue = [
        ("S", b"* OK ready\r\n"),
        ("C", b"t1 STARTTLS\r\n"),
        ("S", b"* CAPABILITY STARTTLS\r\nt1 OK go\r\n"),
    ]
    inside = [("T", b"* OK server.example.org ready\r\n")]
    variants = [(0, b"* OK t1 NO, t1 BAD, * BYE and * PREAUTH are what I say\r\n")]
    failures = [
        (0, b"* BYE full\r\n", TunnelError),
        (0, b"* PREAUTH hello\r\n", TunnelError),
        (2, b"* BYE full\r\n", TunnelError),
        (2, b"t1 NO\r\n", TunnelError),
        (2, b"t1 BAD\r\n", TunnelError),
    ]


class POP3Tests(ScriptedClient, SynchronousTestCase):
    """
    The same.
    """

    dialect = ready("pop3")
    dialogue = [("S", b"+OK ready\r\n"), ("C", b"STLS\r\n"), ("S", b"+OK go\r\n")]
    inside = [("T", b"+OK server.example.org ready\r\n")]
    variants = [(0, b"+OK -ERR is what I say\r\n")]
    failures = [(0, b"-ERR full\r\n", TunnelError), (2, b"-ERR what\r\n", TunnelError)]


class NNTPTests(ScriptedClient, SynchronousTestCase):
    """
    The same.
    """

    dialect = ready("nntp")
    dialogue = [("S", b"200 ready\r\n"), ("C", b"STARTTLS\r\n"), ("S", b"382 go\r\n")]
    inside = [("T", b"200 server.example.org ready\r\n")]
    variants = [(0, b"201 400 and 502 , 480 , 5\r\n")]
    failures = [
        (0, b"400 later\r\n", TunnelError),
        (0, b"502 never\r\n", TunnelError),
        *((2, b"%d no\r\n" % code, TunnelError) for code in (400, 480, 483, 500, 502, 580)),
    ]


WELCOME = b'"IMPLEMENTATION" "x"\r\nOK\r\n'


class SieveTests(ScriptedClient, SynchronousTestCase):
    """
    A script without: the server speaks again inside TLS.
    """

    dialect = ready("sieve")
    dialogue = [
        ("S", b'"IMPLEMENTATION" "x"\r\n"NOTIFY" "mailto"\r\n"STARTTLS"\r\nOK "ready"\r\n'),
        ("C", b"STARTTLS\r\n"),
        ("S", b'OK "Begin TLS negotiation now."\r\n'),
    ]
    silent = False
    inside = [("S", WELCOME), ("T", WELCOME)]
    variants = [(0, b'"IMPLEMENTATION" "GOODBYE BYE"\r\nOK "NO"\r\n')]
    failures = [(2, b"NO\r\n", TunnelError), (2, b"BYE\r\n", TunnelError)]


class LDAPTests(ScriptedClient, SynchronousTestCase):
    """
    A binary script: with the lengths as OpenLDAP writes them.
    """

    dialect = ready("ldap")
    dialogue = [
        ("C", b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"),
        ("S", b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
    ]
    silent = False

    def limitAt(self, place: int) -> float:
        """
        The limit of a script that names none.
        """
        return EXPECT_SECONDS


class ActiveDirectoryTests(LDAPTests):
    """
    The same with the lengths as Active Directory writes them.
    """

    dialogue = [
        LDAPTests.dialogue[0],
        ("S", bytes.fromhex("3084000000100201017884000000070a010004000400")),
    ]


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    A script that plays the server.
    """

    dialect = chatDialect(lambda: parseScript(SERVE, "serve.chat", optionsOf("server")))
    dialogue = [
        ("S", b"220 tunnel.example.net ESMTP\r\n"),
        ("C", b"EHLO me.example\r\n"),
        ("S", b"250-tunnel.example.net\r\n250 STARTTLS\r\n"),
        ("C", b"STARTTLS\r\n"),
        ("S", b"220 2.0.0 Ready to start TLS\r\n"),
    ]
    inside = [("B", b"220-a\r\n220 b\r\n")]
    needsTLS = {b"MAIL FROM:<a@example.org>\r\n": b""}

    def test_aClientThatKeepsAskingIsCutOff(self) -> None:
        """
        A script does not answer what it does not expect, so that time decides.
        """
        driver = self.start(self.opening)
        for second in range(30):
            self.assertIsNone(driver.error, second)
            driver.network.feed(b"MAIL FROM:<a@example.org>\r\n")
            driver.clock.advance(1)
        self.assertFailed(driver, TimedOut)
        self.assertIn("code 3: its total of 30 s is over", str(driver.error))
