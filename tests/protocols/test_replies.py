"""
Tests for L{tlstunnel.protocols.replies}.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Malformed, Oversize, Refused, Temporary, TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.replies import Continuation, expectReply, readReply, refusal
from tlstunnel.testing.dialogues import split
from tlstunnel.testing.legs import MemoryLeg

NONE, CODED, FREE = Continuation


class ReplyTests(SynchronousTestCase):
    """
    Numeric replies of all three kinds.
    """

    def read(
        self,
        pieces: tuple[bytes, ...],
        reading: Callable[[Conversation], Coroutine[Any, Any, object]],
    ) -> Any:
        """
        What C{reading} makes of C{pieces}: the result, or the error.
        """
        leg = MemoryLeg()
        conversation = leg.speaker = Conversation(Deadlines(Clock()))
        conversation.makeConnection(leg)
        results: list[Any] = []
        Deferred.fromCoroutine(reading(conversation)).addBoth(results.append)
        for piece in pieces:
            leg.feed(piece)
        leg.end()
        (result,) = results
        return result.value if isinstance(result, Failure) else result

    def test_replies(self) -> None:
        """
        What is one, in whatever pieces it comes, and what is none.
        """
        for text, kinds, expected in (
            (b"220 ready\r\n", (NONE, CODED, FREE), (b"220", b"220 ready")),
            (b"220\r\n", (NONE, CODED, FREE), (b"220", b"220")),
            (b"220 \n", (NONE, CODED, FREE), (b"220", b"220 ")),
            (b"220 a\r\n220 b\r\n", (NONE, CODED, FREE), (b"220", b"220 a")),
            (b"220-a\r\n220 b\r\n", (CODED, FREE), (b"220", b"220 b")),
            (b"220-a\r\n220-\r\n220\r\n", (CODED, FREE), (b"220", b"220")),
            (b"220-a\r\n221 b\r\n\r\n220x\r\n220-\r\n220 c\r\n", (FREE,), (b"220", b"220 c")),
            (b"220-a\r\n220 b\r\n", (NONE,), Malformed),
            (b"220-a\r\n221 b\r\n220 c\r\n", (CODED,), Malformed),
            (b"220-a\r\n\r\n220 c\r\n", (CODED,), Malformed),
            (b"220-a\r\n220x\r\n220 c\r\n", (CODED,), Malformed),
            (b"220=\r\n", (NONE, CODED, FREE), Malformed),
            (b"2200\r\n", (NONE, CODED, FREE), Malformed),
            (b"22\r\n", (NONE, CODED, FREE), Malformed),
            (b"2x0 a\r\n", (NONE, CODED, FREE), Malformed),
            (b" 220 a\r\n", (NONE, CODED, FREE), Malformed),
            (b"\r\n", (NONE, CODED), Malformed),
            (b"\r\n \r\n220 a\r\n", (NONE, CODED), Malformed),
            (b"\r\n \r\n220 a\r\n", (FREE,), (b"220", b"220 a")),
            (b"\r\n" * 129, (FREE,), Oversize),
            (b"220-a\r\n" * 129, (CODED, FREE), Oversize),
        ):
            for kind in kinds:
                for pieces in ((text,), *(split(text) if len(text) < 99 else ())):
                    result = self.read(pieces, partial(readReply, continuation=kind))
                    if isinstance(expected, tuple):
                        self.assertEqual(result, expected, (kind, pieces))
                    else:
                        self.assertIsInstance(result, expected)

    def test_whatIsExpected(self) -> None:
        """
        One of some codes; another that starts with 4 is a refusal for now.
        """
        for text, error in (
            (b"220 a\r\n", None),
            (b"221-a\r\n221 b\r\n", None),
            (b"421 a\r\n", Temporary),
            (b"521 a\r\n", Refused),
            (b"222 a\r\n", Refused),
        ):
            result = self.read((text,), lambda peer: expectReply(peer, b"220", b"221"))
            if error is None:
                self.assertIsNone(result)
            else:
                self.assertIs(type(result), error)
                self.assertEqual(result.detail, "expected 220 or 221")
                self.assertEqual(result.said, text.strip())

    def test_aRefusalMayHaveAHint(self) -> None:
        """
        Behind what was expected.
        """
        error: TunnelError = refusal(b"500", b"500 What?", b"382", hint="; a hint")
        self.assertEqual(error.detail, "expected 382; a hint")
