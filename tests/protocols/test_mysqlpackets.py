"""
Tests for L{tlstunnel.protocols.mysqlpackets}: greetings, and what filters make of packets.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.mysqllogins import (
    ERR,
    IMPOSSIBLE,
    LOGIN,
    LONG,
    MARIADB,
    MYSQL,
    OK,
    PLUGIN_AUTH,
    SSL,
    SWITCH,
    packet,
    withFlags,
)
from tlstunnel.errors import Malformed
from tlstunnel.protocols.filters import PIECE_BYTES
from tlstunnel.protocols.mysql import Login
from tlstunnel.protocols.mysqlpackets import Greeting, Renumbered, Verdict
from tlstunnel.testing.dialogues import filtered, split


class GreetingTests(SynchronousTestCase):
    """
    Greetings, read and written.
    """

    def test_realOnesAreMadeAnewAsTheyWere(self) -> None:
        """
        Byte for byte.
        """
        self.assertEqual(Greeting.parse(MYSQL).payload(), MYSQL)
        self.assertEqual(Greeting.parse(MARIADB).payload(), MARIADB)

    def test_theFieldsAreFound(self) -> None:
        """
        Those of MariaDB beyond 32 bits, too.
        """
        greeting = Greeting.parse(MARIADB)
        self.assertEqual(greeting.version, b"5.5.5-10.11.6-MariaDB-0+deb12u1")
        self.assertEqual(greeting.salt, b"abcdefghijklmnopqrst")
        self.assertEqual(greeting.plugin, b"mysql_native_password")
        self.assertEqual((greeting.thread, greeting.charset, greeting.status), (5, 45, 2))
        self.assertEqual((greeting.capabilities, greeting.extended), (0x81BFFFFE, 0x1D))

    def test_onlyTheWholeIsBounded(self) -> None:
        """
        Not the version, the salt or the name of the plugin.
        """
        greeting = Greeting.parse(LONG)
        self.assertEqual(greeting.payload(), LONG)
        self.assertEqual(len(greeting.version), 88)
        self.assertEqual(len(greeting.salt), 254)
        self.assertEqual(len(greeting.plugin), 115)

    def test_freeBytesAreDropped(self) -> None:
        """
        Of what is reserved, and in MySQL has no meaning, nothing is passed on.
        """
        at = MYSQL.index(bytes(10))
        dirty = MYSQL[:at] + b"0123456789" + MYSQL[at + 10 :]
        self.assertEqual(Greeting.parse(dirty).payload(), MYSQL)

    def test_oldServersAreUnderstood(self) -> None:
        """
        Those that forgot the last NUL, and those without plugins.
        """
        self.assertEqual(Greeting.parse(MYSQL[:-1]).payload(), MYSQL)
        head = Greeting.parse(MYSQL)
        old = replace(head, capabilities=head.capabilities & ~PLUGIN_AUTH, plugin=b"").payload()
        self.assertTrue(old.endswith(b"\x1c\0"))
        self.assertEqual(Greeting.parse(old + b"<b>"), Greeting.parse(old))
        # A length of the salt, which nobody reads there.
        at = MYSQL.index(bytes(10)) - 1
        longer = old[:at] + b"\xff" + old[at + 1 :] + bytes(300)
        self.assertEqual(Greeting.parse(longer), Greeting.parse(old))

    def test_impossibleOnesAreRefused(self) -> None:
        """
        Whatever is wrong in them.
        """
        for what, payload in IMPOSSIBLE.items():
            with self.assertRaises(Malformed, msg=what):
                Greeting.parse(payload)

    @given(st.one_of(st.binary(max_size=120), st.binary(max_size=90).map(MYSQL[:25].__add__)))
    def test_whateverIsReadCanBeWritten(self, payload: bytes) -> None:
        """
        And reads as the same again; else the error is ours.
        """
        try:
            greeting = Greeting.parse(payload)
        except Malformed:
            return
        self.assertEqual(Greeting.parse(greeting.payload()), greeting)


class FilterTests(SynchronousTestCase):
    """
    The numbering, and its end.
    """

    def test_segmentsDoNotMatter(self) -> None:
        """
        Of what either side says.
        """
        packets = (
            packet(2, SWITCH) + packet(255, b"") + packet(4, b"\x01x") + packet(5, OK) + b"end"
        )
        wanted = packet(3, SWITCH) + packet(0, b"") + packet(5, b"\x01x") + packet(6, OK) + b"end"
        for pieces in ((packets,), *split(packets)):
            answers = Renumbered(-1)
            verdict = Verdict(+1, answers)
            self.assertEqual(filtered(verdict, pieces), wanted)
            self.assertTrue(verdict.done and answers.done)
        for pieces in ((packets,), *split(packets)):
            stream = packet(1, SWITCH) + packet(254, b"") + packet(3, b"\x01x") + packet(4, OK)
            self.assertEqual(filtered(Renumbered(-1), pieces), stream + b"end")

    def test_whatIsLeftOfAPacketIsTakenAtOnce(self) -> None:
        """
        Else a client that sends megabytes before its login is over costs a turn for each few bytes.
        """
        numbered = Renumbered(+1)
        stream = packet(3, bytes(1 << 20))
        numbered.feed(stream[:100])
        self.assertEqual(numbered.pieceBytes, len(stream) - 100)
        numbered.feed(stream[100:])
        self.assertEqual(numbered.pieceBytes, PIECE_BYTES)

    def test_theFirstOKOrErrorEndsItWhenItIsComplete(self) -> None:
        """
        Not one byte earlier, nor later; also where it is the first packet of all.
        """
        for last in (OK, ERR, b"\0", b"\xff"):
            answers = Renumbered(+1)
            verdict = Verdict(-1, answers)
            verdict.feed(packet(3, last)[:-1])
            self.assertFalse(verdict.done or answers.done)
            verdict.feed(packet(3, last)[-1:])
            self.assertTrue(verdict.done and answers.done)

    def test_whatIsNoVerdictDoesNotEndIt(self) -> None:
        """
        Whatever plugins say, and a NUL further inside.
        """
        verdict = Verdict(-1, Renumbered(+1))
        for first in range(1, 255):
            verdict.feed(packet(3, bytes((first, 0, 255))))
        verdict.feed(packet(3, b""))
        self.assertFalse(verdict.done)

    def test_whatWasKeptOfTheAnswersPassesAtTheEnd(self) -> None:
        """
        Before what follows it.
        """
        answers = Renumbered(+1)
        self.assertEqual(answers.feed(b"\x01\0"), b"")
        answers.done = True
        self.assertEqual(answers.feed(b"\0\0x"), b"\x01\0\0\0x")
        self.assertEqual(answers.flush(), b"")

    def test_theLoginIsReadHoweverItComes(self) -> None:
        """
        And passes from then on as it comes.
        """
        login = packet(2, withFlags(LOGIN, SSL))
        for pieces in ((login,), *split(login)):
            self.assertEqual(filtered(Login(), pieces), packet(2, LOGIN))

    def test_aPacketThatIsNoLoginIsNotAwaited(self) -> None:
        """
        Its header is enough.
        """
        for header in (b"\x1f\0\0\x02", b"\0\0\0\x02", b"\x60\0\0\x01"):
            each = Login()
            each.feed(header[:3])
            self.assertRaises(Malformed, each.feed, header[3:])

    @given(st.lists(st.binary(max_size=30)), st.integers(-1, 1))
    def test_nothingIsLostOrAdded(self, pieces: list[bytes], step: int) -> None:
        """
        Whatever comes has as many bytes afterwards, and without a step it is the same.
        """
        stream = b"".join(pieces)
        for each in (Renumbered(step), Verdict(step, Renumbered(-step))):
            passed = filtered(each, pieces)
            self.assertEqual(len(passed), len(stream))
            if not step:
                self.assertEqual(passed, stream)
