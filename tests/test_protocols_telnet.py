"""
The telnet dialect.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.roles import ClientRules, ServerRules, client, said
from tlstunnel.errors import (
    ForeignProtocol,
    Malformed,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    TunnelError,
)
from tlstunnel.protocols.telnet import telnet

DO, DONT = b"\xff\xfd\x2e", b"\xff\xfe\x2e"
WILL, WONT = b"\xff\xfb\x2e", b"\xff\xfc\x2e"
FOLLOWS = b"\xff\xfa\x2e\x01\xff\xf0"

CLIENT = [("S", DO), ("C", WILL + FOLLOWS), ("S", FOLLOWS)]
SERVER = [("S", DO), ("C", WILL), ("S", FOLLOWS), ("C", FOLLOWS)]


class ClientTests(ClientRules, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = telnet
    clientDialogue = CLIENT
    silent = False

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

    def test_itIsOfferedUnaskedWhereThatIsAskedFor(self) -> None:
        """
        Once: the server's DO is the answer to it.
        """
        driver = client(telnet, "unasked")
        self.assertEqual(driver.network.takeWritten(), WILL)
        self.assertEqual(said(driver, DO), FOLLOWS)
        driver.network.feed(FOLLOWS)
        self.assertSwitched(driver)

    def test_failures(self) -> None:
        """
        Before the server asks, and after it.
        """
        for bad, error in (
            (DONT, Refused),
            (WONT, Refused),
            (b"\xff\xfa\x18\x01\xff\xf0", Malformed),
            (b"\xff\xfa\x2e\x02\xff\xf0", Malformed),
            (b"\xff\xfa\x2e\xff\xf0", Malformed),
            (b"\xff\xfa\x2e\x01\xff\xff\xf0\xff\xf0", Malformed),
            (b"x" * 300, Oversize),
            (b"\xff\xfa" + b"x" * 300, Oversize),
        ):
            for before in (b"", DO):
                driver = client(telnet)
                driver.network.feed(before + bad)
                self.assertFailed(driver, error)
        driver = client(telnet)
        driver.network.feed(FOLLOWS)
        self.assertFailed(driver, Malformed)

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


class ServerTests(ServerRules, SynchronousTestCase):
    """
    Mode -s.
    """

    dialect = telnet
    serverDialogue = SERVER
    needsTLS = b"login\r\n"

    def test_nothingMayFollowTheClientsRequest(self) -> None:
        """
        Where the client said FOLLOWS first: not even TLS.  Ours is its go-ahead, and it does not
        get it.
        """
        for extra in (b"x", b" ", WILL, b"\r\n", b"\x16\x03\x01"):
            driver = self.start(1)
            answer = said(driver, WILL + FOLLOWS + extra)
            self.assertFailed(driver, PlaintextAfterStartTLS)
            self.assertEqual(answer, b"")

    def test_onlyTLSMayFollowTheClientsLastMessage(self) -> None:
        """
        Where we said FOLLOWS first, nothing more of ours stands between the client's and TLS.
        """
        for extra in (b"x", b" ", WILL, b"\r\n"):
            driver = self.start(3)
            driver.network.feed(FOLLOWS + extra)
            self.assertFailed(driver, PlaintextAfterStartTLS)
        driver = self.start(3)
        driver.network.feed(FOLLOWS + b"\x16\x03\x01")
        self.assertSwitched(driver)
        self.assertEqual(driver.network.pendingInput(3), b"\x16\x03\x01")

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

    def test_failures(self) -> None:
        """
        Before the client agrees, and after it.
        """
        for bad, error in (
            (WONT, Refused),
            (DONT, Refused),
            (b"login: x\r\n", Malformed),
            (b"\xff\xfa\x18\x01\xff\xf0", Malformed),
            (b"GET / HTTP/1.1\r\n\r\n", ForeignProtocol),
            (b"\x16\x03\x01\x02\x00", ForeignProtocol),
            (b"\xff\xf1" * 200, Oversize),
        ):
            for before in (b"", WILL):
                driver = self.start(1)
                driver.network.feed(before + bad)
                self.assertFailed(driver, error)
        driver = self.start(1)
        driver.network.feed(FOLLOWS)
        self.assertFailed(driver, Malformed)

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
