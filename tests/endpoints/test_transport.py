"""
Tests for L{tlstunnel.endpoints.transport}: what a protocol may do with its transport, and what it
does to nobody but itself.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.endpoints.stage import HalfTalker, Talker
from tlstunnel.endpoints.leg import CAPACITY_BYTES
from tlstunnel.endpoints.producing import WAITING_BYTES
from tlstunnel.endpoints.transport import PIECE_BYTES, Transport
from tlstunnel.errors import Truncated
from tlstunnel.testing.farend import Listener, Producer

BULK = b"x" * (WAITING_BYTES + 1)


class Pull(Producer):
    """
    Says one thing each time that it is resumed.
    """

    def __init__(self, transport: Any, *things: bytes) -> None:
        super().__init__()
        self._transport = transport
        self._things = list(things)
        self.stops = 0

    def resumeProducing(self) -> None:
        """
        The next one, or there is none.
        """
        super().resumeProducing()
        if self._things:
            self._transport.write(self._things.pop(0))
        else:
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """
        Remember.
        """
        self.stops += 1


class TransportTests(SynchronousTestCase):
    """
    A transport, with nothing behind its leg but the test.
    """

    def open(self, protocol: Any = None) -> None:
        """
        Let there be a protocol.
        """
        self.clock = Clock()
        self.protocol: Any = Talker() if protocol is None else protocol
        self.transport = Transport(self.clock, lambda: self.protocol)
        self.leg = self.transport.leg
        self.speaker = self.leg.speaker = Listener()
        self.transport.open()
        self.turn()

    def turn(self) -> None:
        """
        Of the reactor.
        """
        self.clock.advance(0)

    def end(self, error: Any = None) -> None:
        """
        What becomes of the leg and the transport when the connection is closed.
        """
        if error is None:
            self.leg.loseConnection()
        else:
            self.leg.abortConnection()
        self.transport.ended(error)

    # Hearing

    def test_theProtocolIsMadeInATurnOfItsOwn(self) -> None:
        """
        And hears in others.
        """
        clock = Clock()
        protocol = Talker()
        transport = Transport(clock, lambda: protocol)
        transport.leg.write(b"hello")
        self.assertEqual(protocol.calls, [])
        clock.advance(0)
        self.assertEqual((protocol.calls, protocol.heard), (["made", "data"], b"hello"))

    def test_itHearsInPieces(self) -> None:
        """
        Of a size that Twisted's own transports have.
        """
        self.open()
        sizes: list[int] = []
        self.protocol.dataReceived = lambda data: sizes.append(len(data))
        self.leg.write(b"x" * (PIECE_BYTES * 2 + 1))
        self.turn()
        self.assertEqual(sizes, [PIECE_BYTES, PIECE_BYTES, 1])

    def test_aPauseHoldsBackBytesAndTheEnd(self) -> None:
        """
        Also one that begins in the middle, or outlives the connection.
        """
        self.open()
        self.transport.pauseProducing()
        self.leg.write(b"one")
        self.leg.loseWriteConnection()
        self.turn()
        self.transport.ended(None)
        self.assertEqual(self.protocol.calls, ["made"])
        self.transport.resumeProducing()
        self.turn()
        self.assertEqual(self.protocol.heard, b"one")
        self.assertEqual(self.protocol.calls, ["made", "data", "lost"])

    def test_aFloodAgainstAPausedProtocolIsBounded(self) -> None:
        """
        By what the leg takes, and one read of its producer, which is paused.
        """
        self.open()
        self.transport.pauseProducing()
        producer = self.leg.producer = Producer()
        self.leg.write(b"x" * CAPACITY_BYTES)
        self.assertEqual(producer.pauses, 0)
        self.leg.write(b"x")
        self.turn()
        self.assertEqual((producer.pauses, producer.resumes), (1, 0))
        self.transport.resumeProducing()
        self.turn()
        self.assertEqual((producer.pauses, producer.resumes), (1, 1))

    def test_whoeverIsPausedHearsOfACutAtOnce(self) -> None:
        """
        There is nothing to wait for.
        """
        self.open()
        self.transport.pauseProducing()
        self.leg.write(b"half")
        self.turn()
        self.end(Truncated("by the test"))
        self.assertEqual(self.protocol.calls, ["made", "lost"])

    def test_whatCameBeforeACutIsHeard(self) -> None:
        """
        As with a socket; and that it was cut.
        """
        self.open()
        self.leg.write(b"half")
        error = Truncated("by the test")
        self.end(error)
        self.assertEqual(self.protocol.heard, b"half")
        reason = self.protocol.reason
        assert reason is not None and reason.check(ConnectionLost)
        self.assertIs(reason.value.__cause__, error)
        self.assertIn("truncated", str(reason.value))

    def test_bothEndsAreToldInOrder(self) -> None:
        """
        Where they come at once.
        """
        self.open(HalfTalker())
        self.transport.loseWriteConnection()
        self.leg.resumeProducing()
        self.turn()
        self.leg.write(b"bye")
        self.end()
        self.assertEqual(self.protocol.calls, ["made", "write lost", "data", "read lost", "lost"])

    def test_nothingIsLeftOfItInTheReactor(self) -> None:
        """
        Whatever was still to be done.
        """
        self.open()
        self.transport.loseConnection()
        self.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.transport.connected)

    # Saying

    def test_writingTakesBytes(self) -> None:
        """
        As everywhere.
        """
        self.open()
        self.assertRaises(TypeError, self.transport.write, "text")

    def test_aProducerIsPausedAndResumed(self) -> None:
        """
        While more waits than is good.
        """
        self.open()
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.assertRaises(RuntimeError, self.transport.registerProducer, producer, True)
        self.transport.write(BULK)
        self.transport.write(BULK)
        self.assertEqual((producer.pauses, producer.resumes), (1, 0))
        self.leg.readSize = 1 << 20
        self.leg.resumeProducing()
        self.turn()
        self.assertEqual((producer.pauses, producer.resumes), (1, 1))
        self.assertEqual(self.speaker.heard, BULK + BULK)

    def test_aPullProducerIsAskedForOneThingAfterTheOther(self) -> None:
        """
        When the one before was read; and an end waits for the last one.
        """
        self.open()
        producer = Pull(self.transport, b"one", b"two", b"three")
        self.transport.registerProducer(producer, False)
        self.transport.loseConnection()
        self.turn()
        self.assertEqual(producer.resumes, 1)
        self.leg.resumeProducing()
        self.turn()
        self.assertEqual((producer.resumes, self.speaker.heard), (4, b"onetwothree"))
        self.assertIn("end", self.speaker.calls)
        self.end()
        self.assertEqual(producer.stops, 0)

    def test_aProducerIsStoppedAtTheEnd(self) -> None:
        """
        Or when it comes too late.
        """
        self.open()
        producers = [Pull(self.transport, b"x"), Pull(self.transport)]
        self.transport.registerProducer(producers[0], True)
        self.end(Truncated())
        self.transport.registerProducer(producers[1], False)
        self.assertEqual([each.stops for each in producers], [1, 1])

    def test_whoeverLeavesTakesNoMore(self) -> None:
        """
        And what it has written is still read.
        """
        self.open()
        self.transport.write(b"bye")
        self.transport.stopProducing()
        self.leg.write(b"wait")
        self.turn()
        self.assertEqual(self.speaker.calls, ["refused"])
        self.leg.resumeProducing()
        self.turn()
        self.assertEqual(self.speaker.calls, ["refused", "data", "end"])
        self.end()
        self.assertEqual(self.protocol.calls, ["made", "lost"])

    def test_nothingIsDoneTwice(self) -> None:
        """
        Nor after the end.
        """
        self.open()
        for _ in range(2):
            self.transport.loseConnection()
            self.transport.abortConnection()
            self.transport.loseWriteConnection()
        self.turn()
        self.assertEqual(self.speaker.calls, ["lost"])
        self.end(Truncated())
        for call in ("loseConnection", "abortConnection", "loseWriteConnection"):
            getattr(self.transport, call)()
        self.transport.pauseProducing()
        self.transport.resumeProducing()
        self.transport.write(b"x")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    # Protocols that raise

    def test_whoeverRaisesEndsItsOwnConnection(self) -> None:
        """
        Wherever it does so; C{connectionLost} is called all the same, with what it has raised.
        """
        for name in ("connectionMade", "dataReceived", "readConnectionLost"):
            protocol = HalfTalker()

            def fail(*_: object) -> None:
                raise ZeroDivisionError

            setattr(protocol, name, fail)
            self.open(protocol)
            self.leg.resumeProducing()
            self.leg.write(b"x")
            self.leg.loseWriteConnection()
            self.turn()
            self.assertEqual(self.speaker.calls, ["lost"], name)
            self.assertTrue(self.leg.isReset)
            self.end(self.speaker.error)
            assert protocol.reason is not None
            self.assertTrue(protocol.reason.check(ZeroDivisionError), name)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_whoeverRaisesAtTheEndIsLogged(self) -> None:
        """
        And that is all.
        """
        self.open()

        def fail(reason: object) -> None:
            raise ZeroDivisionError

        self.protocol.connectionLost = fail
        self.end()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(self.transport.connected)

    def test_aProducerThatRaisesEndsItsConnection(self) -> None:
        """
        As its protocol would.
        """
        self.open()
        producer: Any = Producer()
        self.transport.registerProducer(producer, True)
        self.transport.write(BULK)

        def fail() -> None:
            raise ZeroDivisionError

        producer.resumeProducing = fail
        self.leg.readSize = 1 << 20
        self.leg.resumeProducing()
        self.turn()
        self.assertEqual(self.speaker.calls, ["data", "lost"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_whatRaisesBehindTheEndChangesNothing(self) -> None:
        """
        A clean end is one.
        """
        self.open()
        self.leg.write(b"x")
        self.transport.ended(None)
        self.leg.loseConnection()
        self.turn()
        assert self.protocol.reason is not None
        self.assertTrue(self.protocol.reason.check(ConnectionDone))
