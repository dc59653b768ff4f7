"""
Tests for L{tlstunnel.reveal.mysqlcommands}: nobody becomes another user later.
"""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.mysqllogins import packet
from tests.reveal.mysqlsessions import QUERY, WHOLE, change
from tlstunnel.errors import Malformed, Refused, TunnelError
from tlstunnel.protocols.filters import PIECE_BYTES
from tlstunnel.reveal.mysqlcommands import Commands
from tlstunnel.reveal.mysqllogin import LARGEST_BYTES, readChange
from tlstunnel.testing.dialogues import filtered, split

LOCAL = packet(0, b"\3LOAD DATA LOCAL INFILE 'x' INTO TABLE t")
CONTENT = b"".join(packet(number, b"\x11ann\0\0line\n") for number in range(2, 256))
EMPTY = packet(0, b"")

# Streams that pass as they are.
PASSES = {
    "a query": QUERY,
    "the own user": change(b"alice") + packet(2, b"\x11ann\0") + QUERY,
    "the other own user": change(b"alice@example.org"),
    "many commands": QUERY * 3 + packet(0, b"\x0e") + packet(0, b"\1"),
    "the content of a file": LOCAL + CONTENT + packet(0, b"line") + packet(1, b"\x11ann\0") + EMPTY,
    "no content": LOCAL + packet(2, b"") + QUERY,
    "long data of a statement": packet(0, b"\x18\1\0\0\0\0\0\x11ann\0") * 3,
    "an empty command": EMPTY + QUERY,
    "a user in the content of a query": packet(0, b"\3" + change(b"ann")) + QUERY,
}

# Streams whose end is refused, with what passes.
REFUSED_COMMANDS = {
    "another user": (QUERY, change(b"ann")),
    "no user": (b"", change(b"")),
    "another case": (b"", change(b"ALICE")),
    "apostrophes": (b"", change(b"'alice'")),
    "a long user": (b"", change(b"a" * 100)),
    "a user without an end": (b"", packet(0, b"\x11alice")),
    "no user at all": (b"", packet(0, b"\x11")),
    "a user in the next packet": (b"", packet(0, b"\x11ali") + packet(1, b"ce\0\0")),
    "behind the own user": (change(b"alice"), change(b"ann")),
    "behind an empty command": (EMPTY, change(b"ann")),
    "behind a file": (LOCAL + packet(2, b"x") + packet(3, b""), change(b"ann")),
    "behind a file with all numbers": (LOCAL + CONTENT, change(b"ann")),
    "behind what no server takes": (packet(7, b"\3SELECT 1"), change(b"ann")),
    "several commands in one": (b"", packet(0, b"\xfe\x05" + b"\x11ann\0")),
    "several that look like a good one": (b"", packet(0, b"\xfe" + change(b"alice")[5:])),
}


# What messages begin with.
STARTS = st.sampled_from([b"", b"\x11", b"\x11alice\0", b"\3"])


class CommandsTests(SynchronousTestCase):
    """
    What is said in a session.
    """

    def change(self, message: bytes) -> bytes:
        """
        To Alice alone.
        """
        user, _ = readChange(message, 0)
        if user not in (b"alice", b"alice@example.org"):
            raise Refused("not Alice")
        return message

    def test_commandsPass(self) -> None:
        """
        As they are, cut in two anywhere, and in bytes.
        """
        for title, said in PASSES.items():
            for pieces in [(said,), *(split(said) if len(said) < 400 else [])]:
                self.assertEqual(filtered(Commands(self.change), pieces), said, title)
            self.assertEqual(filtered(Commands(self.change), map(bytes, zip(said))), said)

    def test_nobodyBecomesSomebodyElse(self) -> None:
        """
        Nothing of the command is passed, wherever it is cut.
        """
        for title, (passes, said) in REFUSED_COMMANDS.items():
            for pieces in [(said,), *split(said)]:
                each = Commands(self.change)
                passed = each.feed(passes)
                error = None
                for piece in pieces:
                    try:
                        passed += each.feed(piece)
                    except TunnelError as refusal:
                        error = refusal
                        break
                self.assertIsInstance(error, (Refused, Malformed), title)
                self.assertEqual(passed, passes, title)

    def test_whatIsHalfACommandIsForNobody(self) -> None:
        """
        At the end of the stream.
        """
        for cut in range(1, len(change(b"alice"))):
            passed = filtered(Commands(self.change), [change(b"alice")[:cut]])
            self.assertIn(passed, (b"", change(b"alice")[:cut]))

    def test_aLongMessageIsSkippedByItsLengths(self) -> None:
        """
        Whatever is in it; what follows is a command, or is not, as the last packet has it.
        """
        whole = b"\xff\xff\xff\0\3" + b"x" * (WHOLE - 1)
        for end, more, error in (
            (packet(1, b""), QUERY, None),
            (packet(1, b"\x11ann\0\0"), QUERY, None),
            # The id goes on, so that a part may have 0; nobody takes it for a command.
            (packet(0, b"\x11ann\0\0"), QUERY, None),
            (packet(1, b""), change(b"ann"), Refused),
            (packet(0, b""), change(b"ann"), Refused),
            (b"\xff\xff\xff\1" + b"\x11" * WHOLE + packet(2, b"\x11"), change(b"ann"), Refused),
        ):
            each = Commands(self.change)
            self.assertEqual(each.feed(whole), whole)
            self.assertEqual(each.feed(end), end)
            if error is None:
                self.assertEqual(each.feed(more), more)
            else:
                self.assertRaises(error, each.feed, more)

    def test_aChangeOfUserThatIsTooLongIsNone(self) -> None:
        """
        It is not waited for.
        """
        for length in (LARGEST_BYTES + 1, WHOLE):
            head = length.to_bytes(3, "little") + b"\0\x11alice\0\0"
            self.assertRaises(Refused, Commands(self.change).feed, head)

    def test_aMessageThatIsContentMayEndASession(self) -> None:
        """
        If it is like a command in all respects; it is never the other way round.
        """
        stream = LOCAL + CONTENT
        each = Commands(self.change)
        self.assertEqual(each.feed(stream), stream)
        self.assertRaises(Refused, each.feed, packet(0, b"\x11ann\0\0line\n"))

    def test_messagesAreCounted(self) -> None:
        """
        A turn of the reactor is measured by them.
        """
        each = Commands(self.change)
        each.feed(QUERY * 5)
        self.assertEqual(each.messages, 5)

    def test_whatIsSkippedMayComeAtOnce(self) -> None:
        """
        Up to where the next message begins.
        """
        each = Commands(self.change)
        each.feed(QUERY)
        self.assertEqual(each.pieceBytes, PIECE_BYTES)
        each.feed(packet(0, b"\3" + b"x" * 99_999)[:128])
        self.assertEqual(each.pieceBytes, 100_004 - 128)
        each.feed(b"x" * each.pieceBytes)
        self.assertEqual(each.pieceBytes, PIECE_BYTES)
        self.assertRaises(Refused, each.feed, change(b"ann"))

    def test_itIsLinear(self) -> None:
        """
        In pieces of any size.
        """
        content = packet(2, b"x" * 1_000_000)
        start = time.process_time()
        each = Commands(self.change)
        for at in range(0, len(content), 128):
            each.feed(content[at : at + 128])
        self.assertLess(time.process_time() - start, 2.0)
        filtered(Commands(self.change), [EMPTY * 100_000])
        self.assertLess(time.process_time() - start, 4.0)

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 3), st.binary(max_size=8), st.sampled_from([b"", b"\x11", b"\3"])
            )
        ),
        st.data(),
    )
    def test_whatPassesHasNoCommandOfSomebodyElse(
        self, messages: list[tuple[int, bytes, bytes]], data: st.DataObject
    ) -> None:
        """
        Whatever there is, and however it is cut, a server that reads what passes sees none.
        """
        stream = b"".join(packet(number, start + rest) for number, rest, start in messages)
        each = Commands(self.change)
        passed, at = b"", 0
        try:
            while at < len(stream):
                size = data.draw(st.integers(1, len(stream) - at))
                passed += each.feed(stream[at : at + size])
                at += size
        except (Refused, Malformed):
            pass
        else:
            self.assertEqual(passed, stream)
        self.assertTrue(stream.startswith(passed))
        while len(passed) > 4:
            size = int.from_bytes(passed[:3], "little")
            if passed[3] == 0 and passed[4:5] == b"\x11" and size:
                self.assertTrue(self.change(passed[4 : 4 + size]))
            passed = passed[4 + size :]
