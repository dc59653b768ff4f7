"""
Tests for L{tlstunnel.net.leg}: what only a leg on a socket does.  What every leg does is tested in
L{tests.testing.test_legs}.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.legs import SocketCase, SocketFarEnd, UNIXCase, clientCreator, creator
from tlstunnel.address import Address, TCPAddress, UNIXAddress, addressOf
from tlstunnel.errors import Closed, Reset, TLSFailed, TunnelError
from tlstunnel.net.leg import Leg
from tlstunnel.net.tlswire import TLS
from tlstunnel.net.turns import Turns
from tlstunnel.net.wire import NOTHING, WANTS_WRITE, Clear, Event
from tlstunnel.testing.farend import FLOOD, Producer


class _Below:
    """
    Stands for a stock transport that owns the socket.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def loseConnection(self) -> None:
        """
        Remember.
        """
        self.calls.append("lose")

    def abortConnection(self) -> None:
        """
        Remember.
        """
        self.calls.append("abort")


class _Blocked(Clear):
    """
    Stands for TLS that must write before it can read on, as it may when keys are renewed.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.isBlocked = True

    def read(self, size: int, isPeeking: bool) -> tuple[memoryview, Event | TunnelError | None]:
        """
        Not yet.
        """
        if self.isBlocked:
            self.isBlocked = False
            return NOTHING, WANTS_WRITE
        return super().read(size, isPeeking)

    def end(self) -> bool:
        """
        Nor can it end.
        """
        if self.isBlocked:
            self.isBlocked = False
            return False
        return super().end()


class _Late(TLS):
    """
    TLS whose last words of the handshake have to wait.
    """

    __slots__ = ("isLate",)

    def handshake(self) -> Event | None:
        """
        When it is complete, it is not yet.
        """
        event = super().handshake()
        if event is None and not hasattr(self, "isLate"):
            self.isLate = True
            return WANTS_WRITE
        return event


def _taken(
    turns: Turns, step: Callable[[], object], later: Callable[[], object], peer: Address
) -> bool:
    """
    There is always time for a step.
    """
    step()
    return True


class LegTests(SocketCase, SynchronousTestCase):
    """
    A leg over TCP.
    """

    leg: Leg
    far: SocketFarEnd

    def hangUp(self) -> None:
        """
        The reactor has seen a hang-up, and has forgotten the leg.
        """
        self.reactor.removeReader(self.leg)
        self.reactor.removeWriter(self.leg)
        self.leg.connectionLost(Failure(ConnectionDone()))

    def watched(self) -> tuple[bool, bool]:
        """
        Whether the reactor watches the leg, to be read and to be written.
        """
        return self.leg in self.reactor.getReaders(), self.leg in self.reactor.getWriters()

    # Addresses

    def test_itsOwnAddressIsLookedUpWhenAskedFor(self) -> None:
        """
        And known from then on.
        """
        self.open()
        local = self.leg.local
        self.assertEqual(local, addressOf(self.far.sock.getpeername()))
        self.leg.abortConnection()
        self.assertEqual(self.leg.local, local)

    def test_theAddressOfAClosedLegIsNotKnown(self) -> None:
        """
        If nobody has asked before.
        """
        self.open()
        self.leg.abortConnection()
        self.assertRaises(Closed, lambda: self.leg.local)

    def test_IPv4IsIPv4AlsoOverIPv6(self) -> None:
        """
        Where a socket of IPv6 serves both.
        """
        with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
            port = listener.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                near, peer = listener.accept()
        leg = Leg(self.reactor, self.linger, near, addressOf(peer))
        self.addCleanup(leg.abortConnection)
        self.assertEqual(leg.local, TCPAddress("127.0.0.1", port))

    # Closing

    def test_nothingIsLeftWithTheReactor(self) -> None:
        """
        The number of its descriptor is somebody else's next.
        """
        self.open()
        self.leg.resumeProducing()
        self.leg.write(FLOOD)
        self.assertEqual(self.watched(), (True, True))
        self.leg.abortConnection()
        self.assertEqual(self.reactor.removeAll(), [])
        self.assertEqual(self.leg.fileno(), -1)

    def test_aPeerThatMayStillTalkIsNotReset(self) -> None:
        """
        The socket lingers until it has heard all.
        """
        self.open()
        self.leg.write(b"last words")
        self.far.send(b"unread")
        self.leg.loseConnection()
        self.far.send(b"more")
        self.turns()
        self.assertEqual(self.received(10), b"last words")
        self.farEnds()

    def test_aSocketThatLingersIsNotTheLegsAnyMore(self) -> None:
        """
        Whoever lets the reactor forget the leg does not mean who waits on its socket now.
        """
        self.open()
        self.leg.resumeProducing()
        self.leg.loseConnection()
        self.assertEqual(self.leg.fileno(), -1)
        self.reactor.removeReader(self.leg)
        self.assertEqual(len(self.linger), 1)
        self.far.end()
        self.until(lambda: not len(self.linger))
        self.assertEqual(self.leg.sock.fileno(), -1)

    def test_aPeerThatHasEndedIsNotWaitedFor(self) -> None:
        """
        In clear nothing comes behind its end.
        """
        self.open()
        self.leg.resumeProducing()
        self.far.end()
        self.until(lambda: self.leg.inputEnded)
        self.leg.loseConnection()
        self.assertEqual(self.leg.sock.fileno(), -1)

    def test_whatComesBehindCloseNotifyResetsNobody(self) -> None:
        """
        The socket lingers only if there is something.
        """
        for behind in (b"", b"something"):
            self.open(inTLS=True)
            self.leg.resumeProducing()
            self.far.end()
            self.until(lambda: self.leg.inputEnded)
            self.far.sock.send(behind)
            self.leg.loseConnection()
            self.assertEqual(self.leg.sock.fileno() > -1, bool(behind))
            self.farEnds()

    def test_aFailureOfTLSIsToldToThePeer(self) -> None:
        """
        A reset would overtake the alert.
        """
        self.open(inTLS=True)
        self.leg.resumeProducing()
        self.far.sock.send(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
        self.until(lambda: self.leg.isClosed)
        self.assertIsInstance(self.speaker.error, TLSFailed)
        assert self.far.tls is not None
        with self.assertRaisesRegex(SSL.Error, "alert"):
            while True:
                self.far.tls.recv(1)

    def test_aTruncationIsAnsweredWithAReset(self) -> None:
        """
        Though the peer has ended, and would take an end.
        """
        self.open(inTLS=True)
        self.leg.resumeProducing()
        self.far.truncate()
        self.until(lambda: self.leg.isClosed)
        with self.assertRaises(ConnectionResetError):
            while self.far.sock.recv(65536):
                pass

    def test_aStockTransportClosesItself(self) -> None:
        """
        The socket is its own; whether with a reset is ours to say.
        """
        for close, expected in (("loseConnection", "lose"), ("abortConnection", "abort")):
            near, _ = self.pair()
            self.addCleanup(near.close)
            below = _Below()
            leg = Leg(self.reactor, self.linger, near, UNIXAddress(""), below)
            getattr(leg, close)()
            getattr(leg, close)()
            self.assertEqual(below.calls, [expected])
            self.assertGreater(near.fileno(), -1)
            self.assertFalse(near.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER))

    # Hang-ups

    def test_aHangUpIsAReset(self) -> None:
        """
        It is told once.
        """
        self.open()
        self.leg.resumeProducing()
        self.hangUp()
        self.hangUp()
        self.assertEqual(self.speaker.calls, ["lost"])
        self.assertIsInstance(self.speaker.error, Reset)

    def test_aHangUpDuringAHandshakeIsAReset(self) -> None:
        """
        There is nothing to be read any more that would mean anything.
        """
        self.open()
        self.startTLS()
        self.far.reset()
        self.hangUp()
        self.assertEqual(self.speaker.calls, ["lost"])
        self.assertIsInstance(self.speaker.error, Reset)

    def test_aHangUpLeavesWhatWasSaidBeforeToBeRead(self) -> None:
        """
        Under TLS, in which the clean end may be among it.
        """
        for isPaused in (True, False):
            self.open(inTLS=True)
            self.far.send(b"bye")
            self.far.end()
            self.leg.write(b"unread")
            self.far.reset()
            if not isPaused:
                self.leg.resumeProducing()
            self.hangUp()
            self.assertEqual(self.speaker.calls, ["refused"])
            if isPaused:
                self.leg.resumeProducing()
            self.until(lambda: self.leg.inputEnded)
            self.assertEqual(self.speaker.calls, ["refused", "data", "end"])

    def test_aResetIsNotTakenForATruncation(self) -> None:
        """
        OpenSSL sees no more than that there is no close_notify.
        """
        self.open(inTLS=True)
        self.leg.write(b"unread")
        self.far.reset()
        while "refused" not in self.speaker.calls:
            self.leg.write(b"hello?")
        self.leg.resumeProducing()
        self.until(lambda: self.leg.isClosed)
        self.assertIsInstance(self.speaker.error, Reset)

    # Reading and writing

    def test_aPauseStopsTheReactorWhenSomethingArrives(self) -> None:
        """
        Else it would spin.
        """
        self.open()
        self.leg.resumeProducing()
        self.leg.pauseProducing()
        self.assertEqual(self.watched(), (True, False))
        self.far.send(b"x")
        self.until(lambda: self.watched() == (False, False))
        self.assertEqual(self.speaker.calls, [])

    def test_readingMayHaveToWaitForWriting(self) -> None:
        """
        And goes on by itself, unless it is paused meanwhile.
        """
        for isPaused in (False, True):
            self.open()
            self.leg._wire = _Blocked(self.leg.sock)
            self.far.send(b"x")
            self.leg.resumeProducing()
            self.leg.doRead()
            self.assertEqual(self.watched(), (False, True))
            if isPaused:
                self.leg.pauseProducing()
            self.leg.doWrite()
            self.assertEqual(self.speaker.heard, b"" if isPaused else b"x")
            self.assertEqual(self.watched(), (not isPaused, False))
            self.leg.abortConnection()

    def test_theEndMayHaveToWaitForWriting(self) -> None:
        """
        Until it is sent, nothing is flushed.
        """
        self.open()
        self.leg._wire = _Blocked(self.leg.sock)
        self.leg.loseWriteConnection()
        self.assertFalse(self.leg.isFlushed)
        flushed = self.leg.whenFlushed()
        self.assertNoResult(flushed)
        self.leg.doWrite()
        self.successResultOf(flushed)
        self.farEnds()

    def test_closingDoesNotWaitForTheEnd(self) -> None:
        """
        That could not be sent: the peer does not take what comes before it.
        """
        self.open()
        self.leg._wire = _Blocked(self.leg.sock)
        self.leg.loseWriteConnection()
        self.leg.loseConnection()
        self.farIsReset()

    def test_aHandshakeReadsNothingWhileItMustWrite(self) -> None:
        """
        Else it would spin.
        """
        self.open()
        self.leg.resumeProducing()
        self.leg.write(FLOOD)
        self.startTLS()
        self.far.sock.send(b"\x16")
        self.until(lambda: self.watched() == (False, True))

    def test_aHandshakeThatEndsInWritingGoesOnInReading(self) -> None:
        """
        Unless that is paused.
        """
        self.patch(Leg, "_kindOfTLS", _Late)
        for isPaused in (False, True):
            self.open()
            if not isPaused:
                self.leg.resumeProducing()
            self.startTLS()
            self.secure()
            self.assertEqual(self.watched(), (not isPaused, False))

    def test_aProducerIsResumedThoughTLSBeganMeanwhile(self) -> None:
        """
        What it is paused for is sent in clear before the handshake.
        """
        self.open()
        producer = self.leg.producer = Producer()
        self.leg.write(FLOOD)
        self.startTLS()
        self.assertEqual((producer.pauses, producer.resumes), (1, 0))
        self.received(len(FLOOD))
        self.until(lambda: producer.resumes)
        self.assertEqual((producer.pauses, producer.resumes), (1, 1))

    def test_aClientSaysHelloBehindWhatWasWritten(self) -> None:
        """
        However late that is sent; and reads on after its handshake, if it is not paused.
        """
        self.open()
        self.leg.write(FLOOD)
        self.leg.resumeProducing()
        self.leg.startTLS(clientCreator())
        got = b""
        while len(got) < len(FLOOD):
            try:
                got += self.far.sock.recv(len(FLOOD) - len(got))
            except BlockingIOError:
                self.turn()
        self.assertEqual(got, FLOOD)
        self.far.server = creator()
        self.secure()
        self.far.send(b"inside")
        self.until(lambda: self.speaker.heard == b"inside")

    def test_aHandshakeWaitsForItsTurn(self) -> None:
        """
        It reads nothing before, and goes on then.
        """
        waiting = self.queued()
        self.assertEqual(self.watched(), (False, False))
        self.leg.resumeProducing()
        self.turns()
        self.assertEqual(len(waiting), 1)
        self.assertEqual(self.watched(), (False, False))
        self.patch(Turns, "take", _taken)
        waiting.pop()()
        self.secure()
        self.far.send(b"inside")
        self.until(lambda: self.speaker.heard == b"inside")

    def test_whoIsGoneBeforeItsTurnHasNone(self) -> None:
        """
        It is forgotten, and nothing is done on a socket that may be somebody else's by then.
        """
        for end in ("abortConnection", "loseConnection"):
            waiting = self.queued()
            getattr(self.leg, end)()
            self.assertEqual(waiting, [])
            self.assertEqual(self.watched(), (False, False))

    def queued(self) -> list[Callable[[], object]]:
        """
        A server whose client has said hello, and which waits for its turn.

        @return: what is called then, unless it has left.
        """
        waiting: list[Callable[[], object]] = []

        def take(
            turns: Turns, step: Callable[[], object], later: Callable[[], object], peer: Address
        ) -> bool:
            self.assertIs(peer, self.leg.peer)
            waiting.append(later)
            return False

        def leave(turns: Turns, later: Callable[[], object], peer: Address) -> None:
            self.assertIs(peer, self.leg.peer)
            waiting.remove(later)

        self.patch(Turns, "take", take)
        self.patch(Turns, "leave", leave)
        self.open()
        self.startTLS()
        self.far.handshake()
        self.until(lambda: waiting)
        return waiting

    def test_someBytesBeforeTLSMayMeanNothing(self) -> None:
        """
        Those that the speaker has named.
        """
        self.open()
        self.leg.skippable = b" "
        self.startTLS()
        self.far.send(b" " * 1000)
        self.turns()
        self.secure()


class UNIXTests(UNIXCase, SynchronousTestCase):
    """
    A leg on a UNIX socket.
    """

    leg: Leg
    far: SocketFarEnd

    def test_aResetShowsIfThePeerHasSaidWhatNobodyRead(self) -> None:
        """
        The kernel has no other way to tell it.
        """
        for isUnread in (True, False):
            self.open()
            if isUnread:
                self.far.send(b"unread")
            self.leg.abortConnection()
            self.far.receive()
            self.assertEqual((self.far.hasReset, self.far.hasEnd), (isUnread, not isUnread))

    def test_itNeedsNoName(self) -> None:
        """
        Neither at its end nor at the other.
        """
        self.open()
        self.assertEqual((self.leg.peer, self.leg.local), (UNIXAddress(""), UNIXAddress("")))
