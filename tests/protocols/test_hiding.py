"""
Tests for L{tlstunnel.protocols.hiding}: what all its filters have in common, and the pair that
numeric replies need; the other pairs are tested with their dialects.
"""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tlstunnel.interfaces import IFilter
from tlstunnel.protocols.hiding import (
    MAX_LINE_BYTES,
    Commands,
    DottedLists,
    LineFilter,
    NumericLists,
    OrderedReplies,
)
from tlstunnel.testing.dialogues import filtered, split

LINES = st.lists(
    st.one_of(
        st.sampled_from(
            (
                b"250-mx",
                b"250-STARTTLS",
                b"250 STARTTLS",
                b"250 starttls x",
                b"250-SIZE",
                b"250 ok",
                b"250",
                b"354 go",
                b"220-STARTTLS",
                b"EHLO x",
                b"MAIL x",
                b"",
            )
        ),
        st.binary(max_size=8),
    ),
    max_size=10,
).flatmap(lambda lines: st.sampled_from((b"\r\n", b"\n")).map(lambda end: end.join(lines)))


class Lists(NumericLists):
    """
    Numeric replies to one command, and no end of them.
    """

    code = b"250"
    keyword = b"STARTTLS"
    listing = (b"EHLO",)

    def __init__(self) -> None:
        super().__init__()
        self.asked([b"EHLO"])

    def status(self, code: bytes) -> None:
        """
        The next reply is to the same command.
        """


class Dotted(DottedLists):
    """
    Lists without a keyword in them.
    """

    keyword = b"STLS"


class Login(OrderedReplies):
    """
    Replies of which one ends an authentication.
    """

    conversing = b"AUTH"


def hide(*pieces: bytes) -> bytes:
    """
    What passes of numeric replies.
    """
    return filtered(Lists(), pieces)


class LineFilterTests(SynchronousTestCase):
    """
    L{LineFilter}, which all others are.
    """

    def test_itIsAFilter(self) -> None:
        """
        So are its kinds.
        """
        replies = Dotted()
        for each in (LineFilter(), replies, Commands(replies), Lists()):
            verifyObject(IFilter, each)

    def test_itWaitsForOneLineOnly(self) -> None:
        """
        A line passes as soon as it is complete.
        """
        each = LineFilter()
        self.assertEqual(each.feed(b"one\ntwo"), b"one\n")
        self.assertEqual(each.feed(b"\n"), b"two\n")
        self.assertEqual(each.feed(b"three"), b"")
        self.assertEqual(each.flush(), b"three")
        self.assertEqual(each.flush(), b"")

    def test_itGivesUpAtAnOverlongLine(self) -> None:
        """
        In whatever pieces that comes; what was kept back of it passes at once.
        """
        longest = b"x" * MAX_LINE_BYTES
        for pieces in ((longest + b"x",), (longest, b"x"), (longest + b"x\n",), (longest, b"x\n")):
            each = LineFilter()
            self.assertEqual(b"".join(map(each.feed, pieces)), b"".join(pieces))
            self.assertTrue(each.done)
        for pieces in ((longest + b"\n",), (longest, b"\n")):
            each = LineFilter()
            self.assertEqual(b"".join(map(each.feed, pieces)), b"".join(pieces))
            self.assertFalse(each.done)

    def test_whatWasKeptPassesWhenItIsStopped(self) -> None:
        """
        In its place.
        """
        each = LineFilter()
        each.feed(b"part")
        each.stop()
        self.assertEqual(each.feed(b"ial\nand more"), b"partial\nand more")
        self.assertTrue(each.done)
        self.assertEqual(each.flush(), b"")

    def test_manyLinesAtOnceCostNoMoreThanOneByOne(self) -> None:
        """
        A filter looks at each byte a bounded number of times: a quarter of a megabyte of empty
        lines is what a peer can send in one turn.
        """
        seen = []

        class Counting(LineFilter):
            def line(self, line: bytes) -> bytes:
                seen.append(len(line))
                return line

        data = b"\n" * 262144
        self.assertEqual(Counting().feed(data), data)
        self.assertEqual(sum(seen), len(data))


class NumericListsTests(SynchronousTestCase):
    """
    L{NumericLists}.
    """

    def test_replies(self) -> None:
        """
        The keyword goes, wherever it stands in a reply of that code; nothing else does.
        """
        for reply, passed in (
            (b"250-mx\r\n250-STARTTLS\r\n250 HELP\r\n", b"250-mx\r\n250 HELP\r\n"),
            (b"250-mx\r\n250 STARTTLS\r\n", b"250 mx\r\n"),
            (b"250-mx\r\n250-A\r\n250 StartTLS \r\n", b"250-mx\r\n250 A\r\n"),
            (b"250-mx\n250 STARTTLS x\n", b"250 mx\n"),
            (b"250-mx\r\n250-STARTTLS\r\n250 STARTTLS\r\n", b"250 mx\r\n"),
            (b"250 STARTTLS\r\n", b"250 STARTTLS\r\n"),
            (b"250-mx\r\n250 XSTARTTLS\r\n", b"250-mx\r\n250 XSTARTTLS\r\n"),
            (b"250-mx\r\n250-A STARTTLS\r\n250 B\r\n", b"250-mx\r\n250-A STARTTLS\r\n250 B\r\n"),
            (b"251-mx\r\n251 STARTTLS\r\n", b"251-mx\r\n251 STARTTLS\r\n"),
            (b"250-mx\r\n500 STARTTLS\r\n", b"250-mx\r\n500 STARTTLS\r\n"),
            (b"250-mx\r\n", b"250-mx\r\n"),
            (b"250-mx\r\n250", b"250-mx\r\n250"),
        ):
            self.assertEqual(hide(reply), passed, reply)

    def test_theLastLineIsNotHeldBack(self) -> None:
        """
        Nobody waits for a line that will never come.
        """
        hiding = Lists()
        self.assertEqual(hiding.feed(b"250-mx\r\n250-A\r\n"), b"250-mx\r\n")
        self.assertEqual(hiding.feed(b"250 STARTTLS\r\n"), b"250 A\r\n")
        self.assertEqual(hiding.feed(b"250 ok\r\n"), b"250 ok\r\n")

    def test_whatIsNoReplyEndsIt(self) -> None:
        """
        What was kept back passes before it.
        """
        hiding = Lists()
        data = b"250-mx\r\n250-A\r\n25 x\r\n250 STARTTLS\r\n"
        self.assertEqual(hiding.feed(data), data)
        self.assertTrue(hiding.done)

    @settings(deadline=None)
    @given(LINES)
    def test_onlyTheKeywordsLinesAreEverMissing(self, data: bytes) -> None:
        """
        All others come in order, and at most the mark of a last line is changed in them.
        """
        passed = hide(data)
        kept = re.findall(rb"[^\n]*\n|[^\n]+", passed)
        for line in re.findall(rb"[^\n]*\n|[^\n]+", data):
            if kept and kept[0] in (line, line[:3] + b" " + line[4:]):
                del kept[0]
            else:
                self.assertRegex(line, rb"(?i)\A250[ -]\s*STARTTLS\s")
        self.assertEqual(kept, [])

    @settings(deadline=None)
    @given(LINES)
    def test_anySplitGivesTheSame(self, data: bytes) -> None:
        """
        Whole, in two pieces, in single bytes.
        """
        whole = hide(data)
        for pieces in split(data):
            self.assertEqual(hide(*pieces), whole)


class OrderedRepliesTests(SynchronousTestCase):
    """
    L{OrderedReplies} and L{Commands}.
    """

    def test_repliesBelongToCommandsInTurn(self) -> None:
        """
        In upper case; an empty line is a command too.
        """
        replies = OrderedReplies()
        Commands(replies).feed(b"capa\r\n\r\nList 1\r\nNOO")
        for command in (b"CAPA", b"", b"LIST", b"", b""):
            self.assertEqual(replies.command, command)
            replies.answered()

    def test_anAuthenticationIsNoSequenceOfCommands(self) -> None:
        """
        Until its reply has come.
        """
        replies = Login()
        commands = Commands(replies)
        commands.feed(b"AUTH PLAIN\r\nCAPA\r\nQUIT\r\n")
        replies.answered()
        self.assertEqual(replies.command, b"")
        commands.feed(b"CAPA\r\n")
        self.assertEqual(replies.command, b"CAPA")

    def test_aFloodOfCommandsEndsIt(self) -> None:
        """
        What awaits a reply is bounded, and so is what is kept of it.
        """
        replies = OrderedReplies()
        commands = Commands(replies)
        for _ in range(OrderedReplies.maxAwaited):
            commands.feed(b"NOOP\r\n")
        self.assertFalse(replies.isStopped)
        commands.feed(b"NOOP\r\n")
        self.assertTrue(replies.isStopped)
        commands.feed(b"NOOP\r\n")
        self.assertTrue(commands.done)

    def test_anOverlongCommandEndsIt(self) -> None:
        """
        And passes all the same.
        """
        replies = OrderedReplies()
        commands = Commands(replies)
        data = b"x" * (MAX_LINE_BYTES + 1)
        self.assertEqual(commands.feed(data), data)
        self.assertTrue(commands.done)
        self.assertTrue(replies.isStopped)

    def test_theEndOfTheHidingIsTheEndOfItsCommands(self) -> None:
        """
        There is nobody left to be told.
        """
        replies = Dotted()
        commands = Commands(replies)
        replies.feed(b"unexpected\r\n")
        self.assertTrue(replies.done)
        self.assertEqual(commands.feed(b"CAPA\r\nCA"), b"CAPA\r\nCA")
        self.assertTrue(commands.done)
        self.assertEqual(commands.flush(), b"")
