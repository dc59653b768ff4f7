"""
Tests for filters that say something of their own: L{tlstunnel.interfaces.ISpontaneous}.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.tunnel.filterstage import Direction, Turns, Upper
from tlstunnel.errors import TooManyErrors, TunnelError
from tlstunnel.interfaces import ISpontaneous
from tlstunnel.protocols.filters import Filter
from tlstunnel.tunnel.filtering import MAX_BYTES_PER_TURN, Filtering


@implementer(ISpontaneous)
class Speaking(Filter):
    """
    Passes everything, and says its own words between two pieces.
    """

    wake: Callable[[], None]

    def __init__(self) -> None:
        super().__init__()
        self.words = b""

    def say(self, words: bytes) -> None:
        """
        Have something to say.
        """
        self.words += words
        self.wake()

    def feed(self, data: bytes) -> bytes:
        """
        What there is to say, and what came.
        """
        words, self.words = self.words, b""
        if words == b"fail":
            raise TooManyErrors("a word")
        return words + data


class SpontaneousTests(SynchronousTestCase):
    """
    L{Filtering} of those.
    """

    def setUp(self) -> None:
        self.clock = Turns()
        self.direction = Direction()
        self.source, self.sink = self.direction.source, self.direction.sink
        self.errors: list[TunnelError] = []
        self.speaking = Speaking()

    def start(self, *behind: Filter) -> Filtering:
        """
        Filter the direction.
        """
        filters = (self.speaking, *behind)
        filtering = Filtering(self.direction, filters, self.clock, self.errors.append)
        self.source.resumeProducing()
        return filtering

    def finish(self) -> None:
        """
        Let all turns happen that there are.
        """
        while self.clock.calls or self.source.deliver():
            self.clock.turn()

    def test_itIsAskedThoughNothingArrives(self) -> None:
        """
        In the next turn, and the source may go on.
        """
        filtering = self.start()
        self.speaking.say(b"words")
        self.assertEqual(self.sink.written, b"")
        self.finish()
        self.assertEqual(self.sink.written, b"words")
        self.assertFalse(self.source.paused)
        del filtering

    def test_whatItSaysPassesTheFiltersBehindIt(self) -> None:
        """
        As what arrives does.
        """
        filtering = self.start(Upper())
        self.speaking.say(b"words\n")
        self.finish()
        self.assertEqual(self.sink.written, b"WORDS\n")
        del filtering

    def test_othersAreNotAsked(self) -> None:
        """
        They need not know what to do with nothing.
        """

        class Proud(Filter):
            def feed(self, data: bytes) -> bytes:
                assert data
                return data

        filtering = self.start(Proud())
        self.speaking.words = b""
        self.speaking.wake()
        self.finish()
        self.assertEqual((self.errors, self.sink.written), ([], b""))
        del filtering

    def test_itWaitsForASlowPeer(self) -> None:
        """
        Until it takes more.
        """
        filtering = self.start()
        filtering.pauseProducing()
        self.speaking.say(b"words")
        self.finish()
        self.assertEqual(self.sink.written, b"")
        filtering.resumeProducing()
        self.finish()
        self.assertEqual(self.sink.written, b"words")

    def test_itsWordsFindTheirTurnAmongOthers(self) -> None:
        """
        Nothing is lost where there is a backlog.
        """
        filtering = self.start()
        self.source.readSize = 1 << 20
        self.source.feed(bytes(MAX_BYTES_PER_TURN + 1))
        self.speaking.say(b"words")
        self.finish()
        self.assertEqual(self.sink.written, bytes(MAX_BYTES_PER_TURN) + b"words" + b"\0")
        del filtering

    def test_whatItSaysBeforeTheEndIsSaid(self) -> None:
        """
        And the end comes behind it.
        """
        filtering = self.start()
        self.speaking.say(b"words")
        self.source.speaker.readConnectionLost()
        self.assertEqual(self.direction.told, [])
        self.finish()
        self.assertEqual((self.sink.written, self.direction.told), (b"words", ["end"]))
        del filtering

    def test_afterTheEndItSaysNothing(self) -> None:
        """
        The peer was told that there is no more.
        """
        filtering = self.start()
        self.direction.ended = True
        self.speaking.say(b"words")
        self.finish()
        self.assertEqual(self.sink.written, b"")
        del filtering

    def test_itMayEndTheConnection(self) -> None:
        """
        As with what arrives.
        """
        filtering = self.start()
        self.speaking.say(b"fail")
        self.finish()
        self.assertEqual([error.reason for error in self.errors], ["too-many-errors"])
        del filtering

    def test_itKeepsNothing(self) -> None:
        """
        What it wakes goes when the legs do, and is not waited for.
        """
        filtering = weakref.ref(self.start())
        gc.disable()
        self.addCleanup(gc.enable)
        del self.direction, self.source.speaker, self.sink.producer
        self.assertIsNone(filtering())
        self.speaking.say(b"words")
        self.assertEqual(self.clock.calls, [])
