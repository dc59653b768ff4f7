"""
The pop3 dialect.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import (
    BackendRefused,
    Malformed,
    Oversize,
    Quit,
    Refused,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.hiding import Commands
from tlstunnel.protocols.pop3 import Capabilities, pop3
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import (
    client,
    filtered,
    inside,
    isFiltered,
    missingLines,
    server,
    split,
)
from tlstunnel.testing.memory import Driver

GREETING = b"+OK ready <1896.697170952@host>\r\n"
CLIENT = [("S", GREETING), ("C", b"STLS\r\n"), ("S", b"+OK Begin TLS negotiation\r\n")]
SERVER = [
    ("S", b"+OK tunnel.example.net ready\r\n"),
    ("C", b"CAPA\r\n"),
    ("S", b"+OK\r\nSTLS\r\nRESP-CODES\r\n.\r\n"),
    ("C", b"STLS\r\n"),
    ("S", b"+OK Begin TLS negotiation\r\n"),
]


REPLIES: list[tuple[bytes, type[TunnelError]]] = [
    (b"-ERR no\r\n", Refused),
    (b"-err [SYS/TEMP] later\r\n", Refused),
    (b"+OKAY\r\n", Malformed),
    (b"+ OK\r\n", Malformed),
    (b" +OK\r\n", Malformed),
    (b"OK\r\n", Malformed),
    (b"-ERRO\r\n", Malformed),
    (b"220 mx ESMTP\r\n", Malformed),
    (b"\r\n", Malformed),
    (b"+OK a\rb\r\n", Malformed),
    (b"+OK a\0b\r\n", Malformed),
    (b"+OK " + b"x" * 2048 + b"\r\n", Oversize),
]


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = pop3
    dialogue = CLIENT
    inside = [("T", b"+OK server.example.org ready\r\n")]
    variants = [(0, b"+OK\r\n"), (0, b"+ok yes\n"), (2, b"+OK\r\n"), (2, b"+ok yes\n")]
    failures = [(place, *reply) for place in (0, 2) for reply in REPLIES]
    farewells = [b"-ERR Disconnected for inactivity.\r\n", b"-err\r\n"]

    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes) -> None:
        """
        Whatever a server says, the switch is reached by +OK only.
        """
        driver = client(pop3)
        driver.network.feed(GREETING)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        if not garbage.lower().startswith(b"+ok"):
            self.assertIsInstance(driver.error, TunnelError)


REFUSED = b"-ERR [SYS/PERM] STLS first\r\n"
UNKNOWN = b"-ERR unknown command\r\n"


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s, up to the switch.
    """

    dialect = pop3
    dialogue = SERVER
    inside = [("B", b"+OK Dovecot ready. <1.2@x>\r\n")]
    variants = [(3, b"stls\n"), (3, b"STLS \r\n"), (5, b"+ok\n")]
    answers = {
        b"capa\r\n": b"+OK\r\nSTLS\r\nRESP-CODES\r\n.\r\n",
        b"XYZZY\r\n": UNKNOWN,
        b"STLS now\r\n": UNKNOWN,
        b"STLSX\r\n": UNKNOWN,
        b"CAPA x\r\n": UNKNOWN,
        b"\r\n": UNKNOWN,
        b" STLS\r\n": UNKNOWN,
    }
    needsTLS = {
        b"USER x\r\n": REFUSED,
        b"PASS x\r\n": REFUSED,
        b"APOP x y\r\n": REFUSED,
        b"auth PLAIN AGEAYg==\r\n": REFUSED,
        b"AUTH\r\n": REFUSED,
        b"USER x\r\nPASS y\r\n": REFUSED * 2,
        b"NOOP\r\n": UNKNOWN,
        b"STAT\r\n": UNKNOWN,
        b"RETR 1\r\n": UNKNOWN,
    }
    farewells = [
        (b"QUIT\r\n", b"+OK bye\r\n", Quit),
        (b"A\r\nB\r\nC\r\n", UNKNOWN * 2 + b"-ERR too many errors\r\n", TooManyErrors),
    ]
    refusals = [
        (
            5,
            b"-ERR [SYS/PERM] no\r\n",
            b"CAPA\r\nUSER a\r\nQUIT\r\n",
            2 * b"-ERR [SYS/PERM] no\r\n" + b"+OK bye\r\n",
        ),
    ]
    failures = [
        (5, b"+OKAY\r\n", BackendRefused),
        (5, b"220 mx\r\n", BackendRefused),
        (5, b"\r\n", BackendRefused),
    ]
    endless = [(1, b"CAPA\r\n")]


class BackendTests(SynchronousTestCase):
    """
    Mode -s, behind the switch.
    """

    def meet(self) -> Driver:
        """
        A tunnel that has met its backend.
        """
        driver = inside(server(pop3), SERVER)
        driver.plain.feed(b"+OK hello\r\n")
        self.assertEqual(driver.stage, "relay")
        return driver

    def exchange(self, driver: Driver, asked: bytes, answered: bytes) -> bytes:
        """
        What the client gets of an answer.
        """
        driver.network.feed(asked)
        self.assertEqual(driver.plain.takeWritten(), asked)
        driver.plain.feed(answered)
        return driver.network.takeWritten()

    def test_hiding(self) -> None:
        """
        STLS is taken out of lists of capabilities, wherever it stands in them.
        """
        for answer, passed in (
            (b"+OK\r\nTOP\r\nSTLS\r\nUIDL\r\n.\r\n", b"+OK\r\nTOP\r\nUIDL\r\n.\r\n"),
            (b"+OK STLS\r\nstls\n.\n", b"+OK STLS\r\n.\n"),
            (b"+ok\r\nSTLS x\r\nXSTLS\r\n.\r\n", b"+ok\r\nXSTLS\r\n.\r\n"),
            (b"-ERR STLS\r\n", b"-ERR STLS\r\n"),
        ):
            self.assertEqual(self.exchange(self.meet(), b"capa\r\n", answer), passed)

    def test_hidingGoesOnUntilSomebodyIsAuthenticated(self) -> None:
        """
        Through failures of every kind.
        """
        offer, hidden = b"+OK\r\nSTLS\r\n.\r\n", b"+OK\r\n.\r\n"
        driver = self.meet()
        for asked, answered in (
            (b"USER x\r\nPASS y\r\n", b"+OK\r\n-ERR wrong\r\n"),
            (b"AUTH PLAIN\r\n", b"+ \r\n"),
            (b"AGEAYg==\r\n", b"-ERR wrong\r\n"),
            (b"FOO\r\n", b"-ERR what\r\n"),
            (b"UTF8\r\n", b"+OK UTF8 enabled\r\n"),
            (b"UTF8 USER\r\n", b"+OK\r\n"),
            (b"LANG de\r\n", b"+OK de Sprache\r\n"),
            (b"lang\r\n", b"+OK languages:\r\nde Deutsch\r\n.\r\n"),
            (b"LANG\r\n", b"-ERR none\r\n"),
            (b"auth\r\n", b"+OK\r\nPLAIN\r\n.\r\n"),
            (b"AUTH\r\n", b"-ERR which?\r\n"),
            (b"APOP x y\r\n", b"-ERR wrong\r\n"),
        ):
            self.assertEqual(self.exchange(driver, asked, answered), answered)
            if not answered.startswith(b"+ "):
                self.assertEqual(self.exchange(driver, b"CAPA\r\n", offer), hidden, asked)
        self.exchange(driver, b"USER x\r\nPASS z\r\n", b"+OK\r\n+OK welcome\r\n")
        self.assertEqual(self.exchange(driver, b"CAPA\r\n", offer), offer)
        self.exchange(driver, b"NOOP\r\n", b"+OK\r\n")
        self.assertFalse(isFiltered(driver.network))
        self.assertFalse(isFiltered(driver.plain))

    def test_commandsInARowKeepTheirOrder(self) -> None:
        """
        A mail that contains the keyword is not touched.
        """
        driver = self.meet()
        asked = b"CAPA\r\nUSER x\r\nPASS y\r\nRETR 1\r\n"
        mail = b"+OK\r\nSTLS\r\n.\r\n"
        passed = self.exchange(driver, asked, b"+OK\r\nSTLS\r\n.\r\n+OK\r\n+OK\r\n" + mail)
        self.assertEqual(passed, b"+OK\r\n.\r\n+OK\r\n+OK\r\n" + mail)

    def test_whatNobodyAskedForEndsTheHiding(self) -> None:
        """
        A reply too many: nobody knows any more what belongs to what.
        """
        driver = self.meet()
        offer = b"+OK\r\nSTLS\r\n.\r\n"
        driver.plain.feed(b"+OK hello again\r\n")
        driver.network.takeWritten()
        self.assertEqual(self.exchange(driver, b"CAPA\r\n", offer), offer)


LINES = st.lists(
    st.one_of(
        st.sampled_from(b"CAPA USER PASS AUTH STLS +OK -ERR . + NOOP stls".split()),
        st.binary(max_size=8),
    ),
    max_size=10,
).map(b"\r\n".join)


class HidingTests(SynchronousTestCase):
    """
    The filters as such.
    """

    @settings(deadline=None)
    @given(LINES, LINES)
    def test_anySplitGivesTheSameAndLosesNothingElse(self, asked: bytes, answered: bytes) -> None:
        """
        Lines that are missing begin with the keyword.
        """
        results = set()
        for pieces in [(answered,), *split(answered)]:
            hiding = Capabilities()
            self.assertEqual(filtered(Commands(hiding), [asked]), asked)
            results.add(filtered(hiding, pieces))
        for pieces in split(asked):
            hiding = Capabilities()
            self.assertEqual(filtered(Commands(hiding), pieces), asked)
            results.add(filtered(hiding, [answered]))
        (passed,) = results
        for line in missingLines(answered, passed):
            self.assertEqual(line.split()[0].upper(), b"STLS")
