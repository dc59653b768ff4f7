"""
Tests for L{tlstunnel.protocols.nbd}.
"""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import (
    BackendRefused,
    ForeignProtocol,
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Quit,
    Refused,
    ServerSpokeFirst,
    Temporary,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.nbd import MAX_CLEAR_BYTES, nbd
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, inside, said, server, split

ERROR = 1 << 31


def greeting(flags: int) -> bytes:
    """
    That of a server which knows options.
    """
    return b"NBDMAGICIHAVEOPT" + struct.pack(">H", flags)


def option(kind: int, data: bytes = b"", length: int | None = None) -> bytes:
    """
    One option.

    @param length: what it claims to have of data, if not what it has.
    """
    count = len(data) if length is None else length
    return b"IHAVEOPT" + struct.pack(">II", kind, count) + data


def reply(kind: int, verdict: int, data: bytes = b"", length: int | None = None) -> bytes:
    """
    One reply, likewise.
    """
    count = len(data) if length is None else length
    return bytes.fromhex("0003e889045565a9") + struct.pack(">III", kind, verdict, count) + data


# As nbd 2.8 greeted: the size of the export follows at once.
OLDSTYLE = b"NBDMAGIC" + bytes.fromhex("0000420281861253") + struct.pack(">QI", 1 << 20, 1)

FLAGS = b"\0\0\0\1"
OLD_FLAGS = bytes(4)
STARTTLS = option(5)
ACK = reply(5, 1)
NAME = b"a disk"
GO = option(7, struct.pack(">I", len(NAME)) + NAME + struct.pack(">HH", 1, 3))
CLIENT = [
    ("S", greeting(1)),
    ("C", FLAGS + STARTTLS),
    ("S", ACK),
]


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = nbd
    dialogue = CLIENT
    inside = [("T", greeting(1)), ("A", FLAGS)]
    early = GO
    # The server waits for what it is asked.
    pipelined = False
    variants = [
        (0, greeting(3)),
        (0, greeting(0xFFFF)),
        (4, OLD_FLAGS),
    ]
    failures = [
        (0, OLDSTYLE, NotOffered),
        (0, greeting(0), NotOffered),
        (0, greeting(2), NotOffered),
        (0, b"NBDMAGICNBDMAGIC\0\1", Malformed),
        (0, b"IHAVEOPTNBDMAGIC\0\1", Malformed),
        (0, b"nbdmagicIHAVEOPT\0\1", Malformed),
        (0, b"220 mail.example.org ESMTP\r\n", Malformed),
        (2, reply(5, ERROR + 1), Refused),
        (2, reply(5, ERROR + 2, b"TLS not configured"), Refused),
        (2, reply(5, ERROR + 3), Refused),
        (2, reply(5, ERROR + 4), Refused),
        (2, reply(5, ERROR + 5), Refused),
        (2, reply(5, ERROR + 7, b"bye"), Temporary),
        (2, reply(5, 0xFFFFFFFF), Refused),
        (2, reply(5, ERROR + 2, b"\x1b[2J\0\r\n"), Refused),
        (2, reply(5, 0), Malformed),
        (2, reply(5, 2, b"\0\0\0\0"), Malformed),
        (2, reply(5, 3, b"\0\0"), Malformed),
        (2, reply(5, 1, b"x"), Malformed),
        (2, reply(5, 1, length=0xFFFFFFFF), Malformed),
        (2, reply(7, 1), Malformed),
        (2, reply(0, 1), Malformed),
        (2, b"\0" + ACK[:-1], Malformed),
        (2, STARTTLS + bytes(4), Malformed),
        (2, reply(5, ERROR + 2, length=MAX_CLEAR_BYTES), Oversize),
        (2, reply(5, ERROR + 2, length=0xFFFFFFFF), Oversize),
    ]

    def test_aFloodOfTheAppIsHeldBack(self) -> None:
        """
        As everywhere, where the app does not wait until it is greeted.
        """
        count = (1 << 18) // len(GO)
        driver = client(nbd)
        driver.plain.feed(FLAGS + GO * count)
        self.assertLess(len(driver.role.plain.unread), 1 << 17)
        self.assertTrue(driver.plain.paused)
        inside(driver, CLIENT)
        self.assertEqual(driver.plain.takeWritten(), greeting(1))
        self.checkEarly(driver, count)

    def test_theServerDoesNotSpeakBeforeItIsAsked(self) -> None:
        """
        Not even in clear.
        """
        for extra in (b"\0", ACK):
            driver = client(nbd)
            driver.network.feed(greeting(1) + extra)
            self.assertFailed(driver, PlaintextAfterStartTLS)
            self.assertSilent(driver.network, "the server")

    def test_refusalsAreExplained(self) -> None:
        """
        In words, and with what the server has said.
        """
        for code, why in (
            (1, "does not know STARTTLS"),
            (2, "does not speak TLS"),
            (3, "up already"),
            (4, "built without"),
            (9, "error 9"),
        ):
            driver = client(nbd)
            driver.network.feed(greeting(3))
            driver.network.feed(reply(5, ERROR + code, b"no and never"))
            self.assertIn(why, str(driver.error))
            self.assertIn("no and never", str(driver.error))

    def test_theAppAndTheServerHaveTheSameFlags(self) -> None:
        """
        Whatever the server offers: neither hears of the zeroes that could be left out.
        """
        for offered in (1, 3, 0xFFFF):
            driver = client(nbd)
            driver.network.feed(greeting(offered))
            self.assertEqual(driver.network.takeWritten(), FLAGS + STARTTLS)
            driver.network.feed(ACK)
            driver.handshake()
            self.assertEqual(driver.plain.takeWritten(), greeting(1))
            driver.plain.feed(FLAGS + GO)
            self.assertEqual(driver.network.takeWritten(), GO)

    def test_anAppThatTakesUpWhatWasNotOfferedIsCutOff(self) -> None:
        """
        It would not read the zeroes that the server sends, for one.
        """
        for flags in (b"\0\0\0\3", b"\0\0\0\2", b"\0\0\1\1", b"\x80\0\0\1", b"GET ", b"IHAV"):
            driver = inside(client(nbd), CLIENT)
            driver.network.takeWritten()
            driver.plain.takeWritten()
            driver.plain.feed(flags + GO)
            self.assertFailed(driver, Malformed, flags)
            self.assertBlames(driver, "A")
            self.assertSilent(driver.network, "the server")

    def test_aServerThatSpeaksBeforeTheFirstOptionIsCutOff(self) -> None:
        """
        Before the app has said its flags, and behind them, as these are not for the server.
        """
        for flags in ((), (FLAGS,)):
            driver = inside(client(nbd), CLIENT)
            driver.plain.takeWritten()
            for each in flags:
                driver.plain.feed(each)
            driver.network.feed(greeting(3))
            driver.plain.feed((b"" if flags else FLAGS) + GO)
            self.assertIsInstance(driver.error, ServerSpokeFirst)
            self.assertEqual(driver.plain.written, b"")

    def test_anAppThatAsksForTLSIsAnsweredByTheServer(self) -> None:
        """
        It may go on without.
        """
        driver = inside(client(nbd), CLIENT)
        driver.network.takeWritten()
        driver.plain.takeWritten()
        driver.plain.feed(FLAGS + STARTTLS)
        self.assertEqual(driver.network.takeWritten(), STARTTLS)
        answer = reply(5, ERROR + 3, b"TLS already enabled")
        driver.network.feed(answer)
        self.assertEqual(driver.plain.written, answer)

    @settings(deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=40),
            st.builds(reply, st.integers(0, 9), st.integers(0, 2**32 - 1), st.binary(max_size=9)),
        ).filter(lambda garbage: not garbage.startswith(ACK))
    )
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes) -> None:
        """
        Whatever a server says, the switch is reached by the one reply only.
        """
        for start in (b"", greeting(1)):
            driver = client(nbd)
            for each in (start, garbage):
                driver.network.feed(each)
            driver.network.end()
            self.assertEqual(driver.plain.written, b"")
            self.assertIsInstance(driver.error, TunnelError)
            self.assertEqual(driver.network.written, FLAGS + STARTTLS if start else b"")


REQUIRED = b"TLS required"
SERVER = [
    ("S", greeting(1)),
    ("C", FLAGS),
    ("C", STARTTLS),
    ("S", ACK),
]


def required(kind: int) -> bytes:
    """
    How an option is answered that needs TLS.
    """
    return reply(kind, ERROR + 5, REQUIRED)


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s.
    """

    dialect = nbd
    dialogue = SERVER
    inside = [("B", greeting(3)), ("T", FLAGS)]
    variants = [(4, greeting(1)), (4, greeting(0xFFFF))]
    needsTLS = {
        option(3): required(3),
        option(6, GO[16:]): required(6),
        GO: required(7),
        option(8): required(8),
        option(9, bytes(8)) + option(10, bytes(8)): required(9) + required(10),
        option(4): required(4),
        option(0): required(0),
        option(0xFFFFFFFF, b"x" * 1000): required(0xFFFFFFFF),
        option(1, NAME): b"",
    }
    answers = {
        option(5, b"x"): reply(5, ERROR + 3, b"STARTTLS has no data"),
        option(5, STARTTLS): reply(5, ERROR + 3, b"STARTTLS has no data"),
    }
    farewells = [
        (option(2), reply(2, 1), Quit),
        (option(2, b"bye"), reply(2, 1), Quit),
        (option(1), b"", Refused),
        (b"ihaveopt" + STARTTLS[8:], b"", Malformed),
        (FLAGS + STARTTLS[:12], b"", Malformed),
        (reply(5, 1)[:16], b"", Malformed),
        (option(3) * 10, required(3) * 10, TooManyErrors),
        (option(7, length=0xFFFFFFFF), b"", Oversize),
        (option(5, length=0xFFFFFFFF), b"", Oversize),
        (option(7, length=MAX_CLEAR_BYTES), b"", Oversize),
    ]
    failures = [
        (4, OLDSTYLE, BackendRefused),
        (4, greeting(0), BackendRefused),
        (4, greeting(2), BackendRefused),
        (4, b"220 mail.example.org ESMTP\r\n", Malformed),
        (4, b"NBDMAGICNBDMAGIC\0\1", Malformed),
    ]
    behindFlags = True

    @property
    def opening(self) -> int:
        """
        What is tried comes behind the client's flags, which are said once.
        """
        return 2 if self.behindFlags else 1

    def test_foreignProtocolsGetNoAnswer(self) -> None:
        """
        As everywhere, where the flags are due.
        """
        self.behindFlags = False
        super().test_foreignProtocolsGetNoAnswer()

    def test_flagsThatWereNotOfferedEndTheConnection(self) -> None:
        """
        And those without which a client has no other option than to go without TLS.
        """
        for flags, error in (
            (bytes(4), Refused),
            (b"\0\0\0\2", Malformed),
            (b"\0\0\0\3", Malformed),
            (b"\0\0\1\1", Malformed),
            (b"\xff\xff\xff\xff", Malformed),
            (b"IHAV", Malformed),
        ):
            for pieces in ((flags,), *split(flags)):
                driver = server(nbd)
                driver.network.takeWritten()
                for piece in pieces:
                    driver.network.feed(piece)
                self.assertFailed(driver, error, flags)
                self.assertSilent(driver.network, "the client")

    def test_allOptionsTogetherHaveALimit(self) -> None:
        """
        Nothing is kept of those that were read, and what exceeds it is not read.
        """
        driver = server(nbd)
        driver.network.takeWritten()
        self.assertEqual(said(driver, FLAGS + option(7, bytes(9000))), required(7))
        self.assertEqual(driver.role.unread, b"")
        self.assertEqual(said(driver, option(7, length=9000)), b"")
        self.assertFailed(driver, Oversize)

    def test_nothingMayFollowTheRequest(self) -> None:
        """
        Another option, half of one, or a ClientHello.
        """
        for extra in (GO, b"I", b"\x16\x03\x01"):
            driver = server(nbd)
            driver.network.takeWritten()
            self.assertEqual(said(driver, FLAGS + STARTTLS + extra), b"")
            self.assertIsInstance(driver.error, PlaintextAfterStartTLS)

    def test_theClientAndTheBackendHaveTheSameFlags(self) -> None:
        """
        Whatever the backend offers; what it answers passes as it is.
        """
        for offered in (1, 3, 0xFFFF):
            driver = inside(server(nbd), SERVER)
            self.assertEqual(driver.plain.written, b"")
            driver.network.takeWritten()
            driver.plain.feed(greeting(offered))
            self.assertEqual(driver.plain.takeWritten(), FLAGS)
            self.assertEqual(driver.network.written, b"")
            driver.network.feed(option(1, NAME))
            self.assertEqual(driver.plain.takeWritten(), option(1, NAME))
            answer = struct.pack(">QH", 1 << 20, 1) + bytes(124)
            driver.plain.feed(answer)
            self.assertEqual(driver.network.written, answer)

    def test_foreignProtocolsAreNamed(self) -> None:
        """
        However short they are.
        """
        for wrong in (b"GET ", b"SSH-", b"\x16\x03\x01\0"):
            driver = server(nbd)
            self.assertEqual(said(driver, wrong), b"")
            self.assertIs(type(driver.error), ForeignProtocol, wrong)

    @settings(deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=30),
                st.builds(option, st.integers(0, 2**32 - 1), st.binary(max_size=30)),
            ),
            max_size=5,
        )
    )
    def test_noGarbageIsMistakenForARequest(self, garbage: list[bytes]) -> None:
        """
        Whatever a client says; and nothing of it reaches the backend, which is not there.
        """
        words = FLAGS + b"".join(garbage)
        driver = server(nbd)
        driver.network.feed(words)
        self.assertFalse(driver.backendDialled)
        if STARTTLS not in words:
            self.assertIn(driver.stage, ("clear", "ended"))
            self.assertNotIn(ACK, driver.network.written)
