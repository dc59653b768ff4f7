"""
What every leg does with bytes: the part of L{tlstunnel.testing.contract} that reads and writes.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from tlstunnel.testing.farend import FLOOD, LegCase, Producer


class Transfers(LegCase):
    """
    Reading, writing, and waiting until all is sent.
    """

    # Reading

    def test_nothingIsDeliveredUnasked(self) -> None:
        """
        A leg starts out paused.
        """
        self.open()
        self.far.send(b"early")
        self.turns()
        assert self.speaker.calls == []
        self.leg.resumeProducing()
        self.until(lambda: self.speaker.heard == b"early")

    def test_aPauseHoldsBackBytesAndTheEnd(self) -> None:
        """
        Until it is over.
        """
        self.open()
        self.speaker.then = lambda data: self.leg.pauseProducing()
        self.leg.resumeProducing()
        self.far.send(b"one")
        self.until(lambda: self.speaker.heard)
        self.far.send(b"two")
        self.far.end()
        self.turns()
        assert self.speaker.heard == b"one"
        assert not self.leg.inputEnded
        self.leg.resumeProducing()
        self.until(lambda: self.speaker.heard == b"onetwo")
        self.turns()
        assert self.speaker.calls == ["data"]
        self.leg.resumeProducing()
        self.until(lambda: self.leg.inputEnded)
        assert self.speaker.calls == ["data", "end"]

    def test_noMoreIsReadThanWasAskedFor(self) -> None:
        """
        In clear: the rest may be for somebody else.
        """
        self.open(inTLS=False)
        self.leg.readSize = 3
        self.speaker.then = lambda data: self.leg.pauseProducing()
        self.leg.resumeProducing()
        self.far.send(b"threefour")
        self.until(lambda: self.speaker.heard)
        self.turns()
        assert self.speaker.heard == b"thr"
        assert self.leg.pendingInput(100) == b"eefour"
        assert self.leg.pendingInput() == b"e"

    def test_whatIsPeekedAtStays(self) -> None:
        """
        And is counted when it is read.
        """
        self.open(inTLS=False)
        self.leg.isPeeking = True
        self.leg.readSize = 2
        self.speaker.then = lambda data: self.leg.pauseProducing()
        self.leg.resumeProducing()
        self.far.send(b"peek")
        self.until(lambda: self.speaker.heard == b"pe")
        assert self.leg.pendingInput(100) == b"peek"
        assert self.leg.received == 0
        self.leg.isPeeking = False
        self.leg.readSize = 100
        self.leg.resumeProducing()
        self.until(lambda: self.speaker.heard == b"pepeek")
        assert self.leg.received == 4

    def test_nothingComesAfterTheEnd(self) -> None:
        """
        It is told once.
        """
        self.open()
        self.leg.resumeProducing()
        self.far.send(b"last")
        self.far.end()
        self.until(lambda: self.leg.inputEnded)
        self.leg.resumeProducing()
        self.turns()
        assert self.speaker.calls == ["data", "end"]
        assert not self.leg.isClosed

    # Writing

    def test_whatIsWrittenArrivesInOrder(self) -> None:
        """
        Also behind what could not be sent at once.
        """
        self.open()
        pieces = [b"a", FLOOD, b"b", bytes(range(256)) * 100]
        for piece in pieces:
            self.leg.write(piece)
        self.leg.write(memoryview(b"c"))
        whole = b"".join(pieces) + b"c"
        assert self.received(len(whole)) == whole

    def test_theProducerIsPausedWhileThePeerIsSlow(self) -> None:
        """
        Once, and resumed once all is sent.
        """
        self.open()
        producer = self.leg.producer = Producer()
        self.leg.write(b"little")
        assert (producer.pauses, producer.resumes) == (0, 0)
        self.leg.write(FLOOD)
        self.leg.write(b"more")
        self.turns()
        assert (producer.pauses, producer.resumes) == (1, 0)
        assert not self.leg.isFlushed
        self.received(len(FLOOD) + 10)
        self.until(lambda: producer.resumes)
        assert (producer.pauses, producer.resumes) == (1, 1)
        assert self.leg.isFlushed

    def test_aClosedLegResumesNobody(self) -> None:
        """
        Its producer has to find out in another way.
        """
        self.open()
        producer = self.leg.producer = Producer()
        self.leg.write(FLOOD)
        self.leg.abortConnection()
        self.turns()
        assert (producer.pauses, producer.resumes) == (1, 0)

    def test_whoeverTakesNoMoreIsHeardToTheEnd(self) -> None:
        """
        The speaker is told once, and nothing more is sent.
        """
        self.open()
        self.far.send(b"last words")
        self.far.end()
        self.far.refuse()

        def refused() -> bool:
            self.leg.write(b"hello?")
            return "refused" in self.speaker.calls

        self.until(refused)
        self.leg.write(b"hello?")
        self.leg.loseWriteConnection()
        assert self.leg.isFlushed
        assert self.speaker.calls == ["refused"]
        self.leg.resumeProducing()
        self.until(lambda: self.leg.inputEnded)
        assert self.speaker.heard == b"last words"
        assert self.speaker.calls == ["refused", "data", "end"]

    def test_whatWaitsForWhoeverTakesNoMoreIsDropped(self) -> None:
        """
        And nobody waits with it.
        """
        self.open()
        producer = self.leg.producer = Producer()
        self.leg.write(FLOOD)
        flushed = self.leg.whenFlushed()
        self.far.send(b"last words")
        self.far.end()
        self.far.refuse()
        self.until(lambda: "refused" in self.speaker.calls)
        assert self.leg.isFlushed
        assert producer.resumes == 1
        self.assertFired(flushed)
        self.turns()
        assert self.speaker.calls == ["refused"]
        if not self.inTLS:
            # An implementation of TLS that fails in the middle of a write may not read on.
            self.leg.resumeProducing()
            self.until(lambda: self.leg.inputEnded)
            assert self.speaker.heard == b"last words"

    # Flushing

    def test_whatIsFlushedNeedsNoWaiting(self) -> None:
        """
        Open, with its output ended, or closed.
        """
        self.open()
        self.leg.write(b"little")
        self.assertFired(self.leg.whenFlushed())
        self.leg.loseWriteConnection()
        self.assertFired(self.leg.whenFlushed())
        self.leg.abortConnection()
        self.assertFired(self.leg.whenFlushed())

    def test_whoeverWaitsIsToldWhenAllIsSent(self) -> None:
        """
        However many they are; who has given up is not.
        """
        self.open()
        self.leg.write(FLOOD)
        told: list[str] = []
        waiting = [self.leg.whenFlushed() for _ in range(3)]
        for name, each in zip("abc", waiting, strict=True):
            each.addCallbacks(
                lambda _, name=name: told.append(name),
                lambda failure: failure.trap(CancelledError),
            )
        waiting[1].cancel()
        self.turns()
        assert told == []
        self.received(len(FLOOD))
        self.until(lambda: told)
        assert told == ["a", "c"]

    def test_whoeverIsToldMayCancelTheNext(self) -> None:
        """
        Who is cancelled meanwhile is not told.
        """
        self.open()
        self.leg.write(FLOOD)
        first, second = self.leg.whenFlushed(), self.leg.whenFlushed()
        told: list[object] = []
        second.addBoth(told.append)
        first.addCallback(lambda _: second.cancel())
        self.received(len(FLOOD))
        self.until(lambda: told)
        (failure,) = told
        assert isinstance(failure, Failure)
        assert failure.check(CancelledError)

    def test_theEndIsSentBeforeAnybodyIsTold(self) -> None:
        """
        What is flushed may be closed.
        """
        self.open()
        self.leg.write(FLOOD)
        self.leg.loseWriteConnection()
        flushed = self.leg.whenFlushed()
        flushed.addCallback(lambda _: self.leg.loseConnection())
        assert self.received(len(FLOOD)) == FLOOD
        self.farEnds()

    def test_nobodyWaitsForALegThatWasClosed(self) -> None:
        """
        What was not sent never will be.
        """
        self.open()
        self.leg.write(FLOOD)
        flushed = self.leg.whenFlushed()
        assert not flushed.called
        self.leg.abortConnection()
        self.assertFired(flushed)

    def test_nobodyWaitsForALegThatWasLost(self) -> None:
        """
        Nor does it matter who has closed it.
        """
        self.open()
        self.leg.resumeProducing()
        self.leg.write(FLOOD)
        flushed = self.leg.whenFlushed()
        self.far.reset()
        self.until(lambda: self.leg.isClosed)
        self.assertFired(flushed)
