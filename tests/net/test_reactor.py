"""
Tests for L{tlstunnel.net.reactor}: what is not Twisted's own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface import implementer

try:
    from tlstunnel.net import reactor as module
    from tlstunnel.net.reactor import TunnelReactor
except ImportError:
    TunnelReactor = None  # type: ignore[assignment,misc]


@implementer(IReadWriteDescriptor)
class Watched:
    """
    One end of a socket pair, and what the reactor told it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.told: list[str] = []
        self.reading: Callable[[], Any] = lambda: self.sock.recv(10)

    def doRead(self) -> None:
        """
        Remember, and do what the test wants.
        """
        self.told.append("read")
        self.reading()

    def doWrite(self) -> None:
        """
        Remember.
        """
        self.told.append("write")

    def connectionLost(self, reason: Failure) -> None:
        """
        Remember.
        """
        self.told.append("lost")

    def fileno(self) -> int:
        """
        The descriptor.
        """
        return self.sock.fileno()

    def logPrefix(self) -> str:
        """
        A name.
        """
        return "watched"


class TunnelReactorTests(SynchronousTestCase):
    """
    One turn of the reactor at a time.
    """

    def setUp(self) -> None:
        """
        A reactor that is not installed.
        """
        if TunnelReactor is None:
            raise SkipTest("there is no epoll here")
        self.reactor = TunnelReactor()
        self.addCleanup(self.reactor._epoll.close)
        self.addCleanup(self.reactor.removeAll)

    def pair(self) -> tuple[Watched, socket.socket]:
        """
        One end, watched, and the other.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return Watched(ours), theirs

    def test_whatCanBeReadIsTold(self) -> None:
        """
        Once per turn, as long as there is something.
        """
        watched, other = self.pair()
        self.reactor.addReader(watched)
        other.send(b"x")
        self.reactor.doIteration(1)
        self.reactor.doIteration(0)
        self.assertEqual(watched.told, ["read"])

    def test_aHangUpIsToldToWhoOnlyWrites(self) -> None:
        """
        There is nothing else that would tell.
        """
        watched, other = self.pair()
        self.reactor.addWriter(watched)
        other.close()
        self.reactor.doIteration(1)
        self.assertEqual(watched.told, ["lost"])

    def test_anEventIsNotForWhoGotTheNumberOfItsDescriptorSince(self) -> None:
        """
        Within one turn a descriptor may be closed, and its number be that of a new one.
        """
        first, firstOther = self.pair()
        second, secondOther = self.pair()
        spare, _ = self.pair()
        late = Watched(second.sock)

        def replace() -> None:
            number = second.fileno()
            self.reactor.removeReader(second)
            second.sock.close()
            late.sock = socket.socket(fileno=os.dup2(spare.fileno(), number))
            self.addCleanup(late.sock.close)
            self.reactor.addReader(late)

        first.reading = replace
        self.reactor.addReader(first)
        self.reactor.addReader(second)
        # Events come in the order in which they happened.
        firstOther.send(b"x")
        secondOther.send(b"x")
        self.reactor.doIteration(1)
        self.assertEqual((first.told, second.told, late.told), (["read"], [], []))

    def test_norIsItForWhoHadTheNumberBefore(self) -> None:
        """
        What is read may be the end of who reads it, who then takes nothing more.
        """
        old, other = self.pair()
        spare, _ = self.pair()
        late = Watched(old.sock)

        def replace() -> None:
            number = old.fileno()
            self.reactor.removeReader(old)
            self.reactor.removeWriter(old)
            old.sock.close()
            late.sock = socket.socket(fileno=os.dup2(spare.fileno(), number))
            self.addCleanup(late.sock.close)
            self.reactor.addWriter(late)

        old.reading = replace
        self.reactor.addReader(old)
        self.reactor.addWriter(old)
        other.send(b"x")
        self.reactor.doIteration(1)
        self.assertEqual((old.told, late.told), (["read"], []))
        self.reactor.doIteration(1)
        self.assertEqual(late.told, ["write"])

    def loop(self) -> None:
        """
        Run the loop until something stops it.
        """
        self.reactor.running = self.reactor._started = True
        self.reactor.mainLoop()

    def stop(self) -> None:
        """
        Let the loop end with this turn.
        """
        self.reactor.running = self.reactor._started = False

    def test_whatIsDueIsCalledInTimeAndInOrder(self) -> None:
        """
        Also where it was asked for in a turn that something could be read in, and whatever is due
        later, or was cancelled.
        """
        watched, other = self.pair()
        called: list[str] = []

        def read() -> None:
            watched.sock.recv(10)
            later.reset(0.002)
            self.reactor.callLater(0, called.append, "at once")
            self.reactor.callLater(0.001, called.append, "soon")
            self.reactor.callFromThread(called.append, "thread")

        watched.reading = read
        self.reactor.callLater(0.001, called.append, "cancelled").cancel()
        later = self.reactor.callLater(3600, self.stop)
        self.reactor.addReader(watched)
        other.send(b"x")
        self.loop()
        called.remove("thread")
        self.assertEqual(called, ["at once", "soon"])
        self.assertEqual(watched.told, ["read"])

    def test_theLoopEndsWithTheTurnInWhichItIsStopped(self) -> None:
        """
        Whatever there is still to be read.
        """
        watched, other = self.pair()
        watched.reading = self.stop
        self.reactor.addReader(watched)
        self.reactor.callLater(0.05, self.fail, "it goes on")
        other.send(b"x")
        self.loop()
        self.assertEqual(watched.told, ["read"])

    def test_whoeverStopsTheReactorInATurnSeesItStopBehindThat(self) -> None:
        """
        As C{stop} wakes nobody.
        """
        watched, other = self.pair()
        self.reactor._stopped = False
        watched.reading = self.reactor.stop
        self.reactor.addReader(watched)
        self.reactor.addSystemEventTrigger("during", "shutdown", self.stop)
        self.reactor.callLater(0.05, self.fail, "it goes on")
        other.send(b"x")
        self.loop()
        self.assertEqual(watched.told[:1], ["read"])
        self.assertEqual(watched.told.count("read"), 1)

    def test_whoeverFailsIsGivenUpAndNobodyElse(self) -> None:
        """
        The loop goes on, and passes on what else had happened.
        """
        first, firstOther = self.pair()
        second, secondOther = self.pair()

        def fail() -> None:
            raise ValueError("a bug of whoever reads")

        first.reading = fail
        second.reading = self.stop
        self.reactor.callLater(3600, self.fail, "it was not due")
        for watched in (first, second):
            self.reactor.addReader(watched)
        firstOther.send(b"x")
        secondOther.send(b"x")
        self.loop()
        self.assertEqual((first.told, second.told), (["read", "lost"], ["read"]))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_aLoopThatKnowsNothingOfTwistedsListsCallsWhatIsDue(self) -> None:
        """
        They are not public, and may be gone one day.
        """
        self.patch(TunnelReactor, "runUntilCurrent", self.stop)
        self.patch(module, "_DUE", ("_nothingLikeIt",))
        self.reactor.callLater(3600, self.fail, "it was not due")
        self.reactor.callFromThread(lambda: None)
        self.loop()
