"""
The munin dialect.
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
from tlstunnel.protocols.munin import WholeLines, munin
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, filtered, inside, server, split
from tlstunnel.tls.records import RECORD_BYTES

GREETING = b"# munin node at node.example.org\n"
CLIENT = [("S", GREETING), ("C", b"STARTTLS\n"), ("S", b"TLS OK\n")]
SERVER = [
    ("S", b"# munin node at tunnel.example.net\n"),
    ("C", b"STARTTLS\n"),
    ("S", b"TLS OK\n"),
]

#: What is said inside TLS comes in whole lines.
SAID = b"cap multigraph\n", b"cap multigraph dirtyconfig\n"


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = munin
    dialogue = CLIENT
    inside = [("T", b"# munin node at server.example.org\n")]
    payload = SAID
    early = earlySent = b"list\nfetch load\n"
    variants = [
        (0, b"# munin node at x\r\n"),
        (0, b"# lrrd client at x\n"),
        (0, b"# Munin Node at x \n"),
        (2, b"tls ok\r\n"),
        (2, b"TLS OK \n"),
    ]
    failures = [
        (0, b"# munin node at\n", Malformed),
        (0, b"munin node at x\n", Malformed),
        (0, b"# munin node at x y\n", Malformed),
        (0, b"220 mx ESMTP\r\n", Malformed),
        (0, b"\n", Malformed),
        (0, b"# munin node at " + b"x" * 2048 + b"\n", Oversize),
        (2, b"TLS MAYBE\n", Refused),
        (2, b"tls maybe\n", Refused),
        (2, b"# Unknown command. Try cap, list, nodes, config, fetch, version or quit\n", Refused),
        (2, b"TLS\n", Malformed),
        (2, b"TLS OKAY\n", Malformed),
        (2, b"TLS OK NOW\n", Malformed),
        (2, b"OK\n", Malformed),
        (2, b"\n", Malformed),
        (2, b"TLS OK\0\n", Malformed),
        (2, b"TLS\rOK\n", Malformed),
        (2, b"TLS OK" + b" " * 2048 + b"\n", Oversize),
    ]

    def test_aNodeWithoutAKeyProvesNothing(self) -> None:
        """
        That is said, since it asks for the other side of the handshake.
        """
        driver = client(munin)
        driver.network.feed(GREETING + b"TLS MAYBE\n")
        self.assertIn("no key", str(driver.error))

    def test_aNodeThatClosesAtOnceMayNotAllowUs(self) -> None:
        """
        There is a hint for that, and the connection is closed as any other.
        """
        driver = client(munin)
        driver.network.end()
        assert isinstance(driver.error, TunnelError)
        self.assertEqual(driver.error.cause, "no greeting of a node")

    def test_eachLineHasARecordOfItsOwn(self) -> None:
        """
        From the switch on, and a line is passed as a whole.
        """
        driver = inside(client(munin), CLIENT)
        self.assertTrue(driver.network.separates)
        driver.network.takeWritten()
        driver.plain.feed(b"cap mul")
        self.assertEqual(driver.network.takeWritten(), b"")
        driver.plain.feed(b"tigraph\nlis")
        self.assertEqual(driver.network.takeWritten(), b"cap multigraph\n")
        driver.plain.end()
        self.assertEqual(driver.network.takeWritten(), b"lis")

    @settings(deadline=None)
    @given(
        st.one_of(st.binary(max_size=40), st.text("# muninodeat\n", max_size=30).map(str.encode))
    )
    def test_noGarbageIsMistakenForANode(self, garbage: bytes) -> None:
        """
        Nothing is said to whoever does not greet as one.
        """
        driver = client(munin)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertEqual(driver.network.written, b"")
        self.assertIsInstance(driver.error, TunnelError)

    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes) -> None:
        """
        Whatever a node says, the switch is reached by the whole line only.
        """
        driver = client(munin)
        driver.network.feed(GREETING)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        self.assertIsInstance(driver.error, TunnelError)


REFUSED = b"# I require TLS.\n"
UNKNOWN = b"# Unknown command. Try starttls or quit\n"


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s.
    """

    dialect = munin
    dialogue = SERVER
    inside = [("B", GREETING)]
    payload = SAID
    variants = [(1, b"starttls\r\n"), (1, b" StartTLS \n"), (3, b"# lrrd node at x\n")]
    answers = {
        b"STARTTLS now\n": UNKNOWN,
        b"STARTTLSX\n": UNKNOWN,
        b"\n": UNKNOWN,
        b"\xff\xfe\n": UNKNOWN,
    }
    needsTLS = {
        b"cap multigraph\n": REFUSED,
        b"list\n": REFUSED,
        b"LIST x\nfetch load\n": REFUSED * 2,
        b"config load\n": REFUSED,
        b"version\n": REFUSED,
        b"spoolfetch 0\n": REFUSED,
    }
    farewells = [
        (b"quit \n", b"", Quit),
        (b".\n", b"", Quit),
        (b"A\nB\nC\n", UNKNOWN * 2, TooManyErrors),
    ]
    failures = [
        (3, b"# Unknown service\n", BackendRefused),
        (3, b"220 mx\r\n", BackendRefused),
        (3, b"\n", BackendRefused),
    ]

    @settings(deadline=None)
    @given(st.binary(max_size=60).filter(lambda words: b"\n" not in words))
    def test_noGarbageIsMistakenForARequest(self, garbage: bytes) -> None:
        """
        Whatever a master says in a line.
        """
        driver = server(munin)
        driver.network.feed(garbage + b"\n")
        if garbage.strip().lower() != b"starttls":
            self.assertEqual(driver.stage, "clear")

    def test_eachLineHasARecordOfItsOwn(self) -> None:
        """
        However the backend's come.
        """
        driver = inside(server(munin), SERVER)
        driver.plain.feed(GREETING)
        self.assertTrue(driver.network.separates)
        driver.network.takeWritten()
        driver.network.feed(b"fetch load\n")
        driver.plain.feed(b"load.va")
        self.assertEqual(driver.network.takeWritten(), b"")
        driver.plain.feed(b"lue 1\n.\n")
        self.assertEqual(driver.network.takeWritten(), b"load.value 1\n.\n")


class WholeLinesTests(SynchronousTestCase):
    """
    L{WholeLines}.
    """

    @settings(deadline=None)
    @given(st.lists(st.one_of(st.binary(max_size=8), st.just(b"\n")), max_size=10))
    def test_anySplitGivesTheSame(self, pieces: list[bytes]) -> None:
        """
        Nothing is lost, and what is passed ends with a line, until the end.
        """
        text = b"".join(pieces)
        for cut in [pieces, *split(text)]:
            self.assertEqual(filtered(WholeLines(), cut), text)
        lines = WholeLines()
        passed = b"".join(lines.feed(each) for each in pieces)
        self.assertEqual(passed, text[: text.rfind(b"\n") + 1])

    def test_aLineThatFillsARecordIsNotAwaited(self) -> None:
        """
        No more is kept than a record has room for.
        """
        lines, passed = WholeLines(), 0
        for _ in range(1000):
            passed += len(lines.feed(b"x" * 128))
            self.assertLess(len(lines._kept), RECORD_BYTES)
        self.assertEqual(passed + len(lines.flush()), 128000)
