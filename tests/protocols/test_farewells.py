"""
Tests for L{tlstunnel.protocols.farewells}, and for what waits for a farewell in the relay.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tlstunnel.errors import Farewell, ServerSpokeFirst, TunnelError
from tlstunnel.interfaces import IFilter
from tlstunnel.protocols.farewells import isLine, isReply
from tlstunnel.protocols.guards import MAX_FAREWELL_BYTES, SilenceBeforeApp


def judged(judge: Callable[[bytes], bool | None], said: bytes) -> bool | None:
    """
    What is thought of C{said}, after all that is thought on the way there has been the same for
    every split: until the end it may become a farewell, or has ceased to.
    """
    opinions = [judge(said[:end]) for end in range(len(said))]
    outcome = judge(said)
    first = next((each for each in opinions if each is not None), None)
    if outcome is not False:
        assert first is None, (said, opinions)
    return outcome


class LineTests(SynchronousTestCase):
    """
    L{isLine}.
    """

    def test_wholeWordsAndNothingBehind(self) -> None:
        """
        In any case, and with either end of a line.
        """
        for said, outcome in (
            (b"* BYE\r\n", True),
            (b"* bye and farewell\n", True),
            (b"* BYE", None),
            (b"* BYE x\r", None),
            (b"", None),
            (b"* B", None),
            (b"* BYES\r\n", False),
            (b"* OK x\r\n", False),
            (b"* PREAUTH", False),
            (b"\r\n* BYE\r\n", False),
            (b"* BYE\r\n* OK\r\n", False),
            (b"* BYE\r\n ", False),
            (b"* BYE x\r* OK\r\n", False),
            (b"* BYE \0\r\n", False),
        ):
            self.assertIs(judged(lambda text: isLine(text, b"* BYE"), said), outcome, said)


class ReplyTests(SynchronousTestCase):
    """
    L{isReply}.
    """

    def test_allLinesHaveTheCode(self) -> None:
        """
        And the last one alone has no hyphen behind it.
        """
        for said, outcome in (
            (b"421 x\r\n", True),
            (b"421\n", True),
            (b"421-x\r\n421-y\n421 z\r\n", True),
            (b"421-x\r\n", None),
            (b"421-x", None),
            (b"42", None),
            (b"421-x\r\n42", None),
            (b"4210 x\r\n", False),
            (b"220 x\r\n", False),
            (b"421-x\r\n220 x\r\n", False),
            (b"421-x\r\ny\r\n421 z\r\n", False),
            (b"421 x\r\n421 x\r\n", False),
            (b"421 x\r\n2", False),
            (b"421-x\r220 x\r\n421 y\r\n", False),
            (b"421 x\r220 x\r\n", False),
        ):
            self.assertIs(judged(lambda text: isReply(text, b"421"), said), outcome, said)

    @settings(deadline=None)
    @given(st.lists(st.sampled_from((b"421-", b"421 ", b"x", b"\r\n", b"\n")), max_size=9))
    def test_whatHasBecomeNoneNeverBecomesOne(self, pieces: list[bytes]) -> None:
        """
        And no farewell is longer than another.
        """
        said, seen = b"", []
        for piece in pieces:
            said += piece
            seen.append(isReply(said, b"421"))
        if True in seen or False in seen:
            decided = seen.index(next(each for each in seen if each is not None))
            self.assertNotIn(True, seen[decided + 1 :])


class SilenceTests(SynchronousTestCase):
    """
    L{SilenceBeforeApp}, the filter.
    """

    def setUp(self) -> None:
        self.ended: list[TunnelError] = []
        self.silence = SilenceBeforeApp(lambda said: isLine(said, b"-ERR"), self.ended.append)

    def test_itIsAFilter(self) -> None:
        """
        Like all others.
        """
        verifyObject(IFilter, self.silence)

    def test_onceTheAppHasSpokenAllPasses(self) -> None:
        """
        It is done.
        """
        self.silence.lift()
        self.assertTrue(self.silence.done)
        self.assertEqual(self.silence.feed(b"+OK"), b"+OK")

    def test_aFarewellPassesWhenItIsWhole(self) -> None:
        """
        And ends the connection.
        """
        self.assertEqual(self.silence.feed(b"-ERR by"), b"")
        self.assertEqual(self.silence.feed(b"e\r\n"), b"-ERR bye\r\n")
        self.assertEqual([type(each) for each in self.ended], [Farewell])
        self.assertRaises(ServerSpokeFirst, self.silence.feed, b"+OK\r\n")

    def test_whatWasBegunBeforeTheAppSpokeIsJudgedAllTheSame(self) -> None:
        """
        It cannot be an answer.
        """
        self.assertEqual(self.silence.feed(b"-ERR by"), b"")
        self.silence.lift()
        self.assertFalse(self.silence.done)
        self.assertRaises(ServerSpokeFirst, self.silence.feed, b"e\r\n+OK\r\n")

    def test_aFarewellWithoutItsEndIsNone(self) -> None:
        """
        Whether the server ends there, or goes on for ever.
        """
        self.silence.feed(b"-ERR by")
        self.assertRaises(ServerSpokeFirst, self.silence.flush)
        self.assertEqual(self.silence.feed(b"x" * (MAX_FAREWELL_BYTES - 7)), b"")
        self.assertRaises(ServerSpokeFirst, self.silence.feed, b"x")
        self.assertEqual(self.ended, [])
