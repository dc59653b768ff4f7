"""
The telnet dialect.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import (
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    TunnelError,
)
from tlstunnel.protocols.telnet import MAX_CLEAR_BYTES, NOTICES_SECONDS, telnet
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, said
from tlstunnel.testing.memory import Driver

DO, DONT = b"\xff\xfd\x2e", b"\xff\xfe\x2e"
WILL, WONT = b"\xff\xfb\x2e", b"\xff\xfc\x2e"
FOLLOWS = b"\xff\xfa\x2e\x01\xff\xf0"

CLIENT = [("S", DO), ("C", WILL + FOLLOWS), ("S", FOLLOWS)]
SERVER = [("S", DO), ("C", WILL), ("S", FOLLOWS), ("C", FOLLOWS)]


BAD: list[tuple[bytes, type[TunnelError]]] = [
    (DONT, Refused),
    (WONT, Refused),
    (b"\xff\xfa\x18\x01\xff\xf0", Malformed),
    (b"\xff\xfa\x2e\x02\xff\xf0", Malformed),
    (b"\xff\xfa\x2e\xff\xf0", Malformed),
    (b"\xff\xfa\x2e\x01\xff\xff\xf0\xff\xf0", Malformed),
    (b"x" * (MAX_CLEAR_BYTES + 1), Oversize),
    (b"\xff\xfa" + b"x" * MAX_CLEAR_BYTES, Oversize),
]


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = telnet
    dialogue = CLIENT
    silent = False
    variants = [
        (0, b"Welcome\r\n\0\xff\xf1\xff\xff" + DO),
        (0, b"*" * (MAX_CLEAR_BYTES - len(DO + FOLLOWS)) + DO),
        (2, b"text\xff\xfd\x1f" + DO + FOLLOWS),
    ]
    failures = [(place, *bad) for place in (0, 2) for bad in BAD] + [(0, FOLLOWS, Malformed)]
    endless = [(0, b"Welcome "), (0, b"\xff\xf1"), (2, DO), (2, b"\xff\xfa\x2e\x01")]

    def test_otherOptionsAreRefusedUntilTheServerAsksForTLS(self) -> None:
        """
        Text is dropped, and so is what needs no answer; behind FOLLOWS nothing is answered.
        """
        driver = client(telnet)
        before = b"Welcome\r\n\xff\xfd\x18\xff\xfb\x01\xff\xfe\x03\xff\xfc\x05\xff\xf1\xff\xff"
        answer = said(driver, before + DO + b"\xff\xfd\x1f text" + DO)
        self.assertEqual(answer, b"\xff\xfc\x18\xff\xfe\x01" + WILL + FOLLOWS)
        driver.network.feed(FOLLOWS)
        self.assertSwitched(driver)

    def test_noticesMayTakeAWhile(self) -> None:
        """
        However many there are, in five seconds from the first.
        """
        driver = client(telnet)
        driver.clock.advance(50)
        for line in (b"Welcome\r\n", b"\xff\xfd\x18", b"to this host\r\n"):
            driver.network.feed(line)
            driver.clock.advance(NOTICES_SECONDS / 4)
        self.assertEqual(said(driver, DO), WILL + FOLLOWS)
        driver.clock.advance(NOTICES_SECONDS)
        driver.network.feed(FOLLOWS)
        self.assertSwitched(driver)

    def test_aServerThatBeginsItsSessionIsNotWaitedFor(self) -> None:
        """
        It asks for a name, and will not ask for TLS any more: that is said after a moment, however
        often it goes on asking.
        """
        for options, helps in (((), True), (("unasked",), False)):
            driver = client(telnet, *options)
            driver.clock.advance(10)
            driver.network.feed(b"\xff\xfd\x18\r\nDebian GNU/Linux 12\r\nhost login: ")
            driver.clock.advance(NOTICES_SECONDS - 1)
            driver.network.feed(b"\r\nhost login: ")
            self.assertIsNone(driver.error)
            driver.clock.advance(1)
            self.assertFailed(driver, NotOffered)
            self.assertIn("without offering START_TLS", str(driver.error))
            self.assertIn("host login: ", str(driver.error))
            self.assertEqual("--dialect-option unasked" in str(driver.error), helps)

    def test_tooManyNoticesAreNamed(self) -> None:
        """
        With what is missing, and how they began.
        """
        driver = client(telnet)
        driver.network.feed(b"Welcome " * MAX_CLEAR_BYTES)
        self.assertFailed(driver, Oversize)
        self.assertIn("4096 bytes without offering START_TLS", str(driver.error))
        self.assertIn('"Welcome Welcome ', str(driver.error))

    def test_itIsOfferedUnaskedWhereThatIsAskedFor(self) -> None:
        """
        Once: the server's DO is the answer to it.
        """
        driver = client(telnet, "unasked")
        self.assertEqual(driver.network.takeWritten(), WILL)
        self.assertEqual(said(driver, DO), FOLLOWS)
        driver.network.feed(FOLLOWS)
        self.assertSwitched(driver)

    @settings(deadline=None)
    @given(st.lists(st.sampled_from((DO, WILL, FOLLOWS, b"\xff", b"x", b"\xf0")), max_size=8))
    def test_noGarbageIsMistakenForConsent(self, garbage: list[bytes]) -> None:
        """
        Whatever a server says, the switch is reached by DO and FOLLOWS only.
        """
        driver = client(telnet)
        driver.network.feed(b"".join(garbage))
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        if DO not in garbage or garbage[-1:] != [FOLLOWS]:
            self.assertIsInstance(driver.error, TunnelError)


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s.
    """

    dialect = telnet
    dialogue = SERVER
    tlsMayFollow = True
    answers = {
        b"\xff\xf1": b"",
        b"\xff\xfb\x25": b"\xff\xfe\x25",
        b"\xff\xfd\x03": b"\xff\xfc\x03",
        b"\xff\xfc\x25\xff\xfe\x03": b"",
    }
    needsTLS = {b"login: x\r\n": b"", b"\0": b""}
    farewells = [
        (WONT, b"", Refused),
        (DONT, b"", Refused),
        (FOLLOWS, b"", Malformed),
        (b"\xff\xfa\x18\x01\xff\xf0", b"", Malformed),
        (WILL + WONT, FOLLOWS, Refused),
        (WILL + b"login\r\n", FOLLOWS, Malformed),
    ]
    endless = [(1, b"\xff\xf1"), (3, b"\xff\xf1"), (1, b"\xff\xfd\x03")]

    def checkFollowed(self, driver: Driver, extra: bytes) -> None:
        """
        Only TLS may follow.
        """
        if extra[:1] == b"\x16":
            super().checkFollowed(driver, extra)
        else:
            self.assertFailed(driver, PlaintextAfterStartTLS, extra)
            self.assertEqual(driver.network.ending, "aborted")

    def test_nothingMayFollowWhereTheClientIsReadyFirst(self) -> None:
        """
        Where the client said FOLLOWS first: not even TLS.  Ours is its go-ahead, and it does not
        get it.
        """
        for extra in (b"x", b" ", WILL, b"\r\n", b"\x16\x03\x01"):
            driver = self.start(1)
            answer = said(driver, WILL + FOLLOWS + extra)
            self.assertFailed(driver, PlaintextAfterStartTLS)
            self.assertEqual(answer, b"")

    def test_otherOptionsAreRefusedUntilTheClientAgrees(self) -> None:
        """
        As C-Kermit has it: it offers START_TLS and more before it is asked.
        """
        driver = self.start(1)
        answer = said(
            driver, b"\xff\xfb\x25\xff\xfd\x03" + WILL + b"\xff\xfb\x26\xff\xf1" + FOLLOWS
        )
        self.assertEqual(answer, b"\xff\xfe\x25\xff\xfc\x03" + FOLLOWS)
        self.assertSwitched(driver)

    @settings(deadline=None)
    @given(st.lists(st.sampled_from((WILL, WONT, FOLLOWS, b"\xff", b"\xfa", b"x")), max_size=8))
    def test_noGarbageIsMistakenForConsent(self, garbage: list[bytes]) -> None:
        """
        Whatever a client says, the switch is reached by WILL and FOLLOWS only.
        """
        driver = self.start(1)
        driver.network.feed(b"".join(garbage))
        driver.network.end()
        if WILL not in garbage or garbage[-1:] != [FOLLOWS]:
            self.assertIsInstance(driver.error, TunnelError)
