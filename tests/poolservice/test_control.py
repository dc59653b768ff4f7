"""
Tests for L{tlstunnel.poolservice.control}: asking and answering on a control connection, and those
who do it badly.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.poolservice.test_descriptors import LINGER, SOON, descriptorsInUse, evil
from tlstunnel.errors import IdentityRefused, TunnelError
from tlstunnel.local.closing import MOST_CLOSING, Closings
from tlstunnel.net import unixsocket
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.poolservice.control import ANSWER_SECONDS, SILENT_SECONDS, Control, errorMessage
from tlstunnel.poolservice.messages import MESSAGE_BYTES, PROSE, Message
from tlstunnel.poolservice.refusals import NotConnected

reactor: Any = _reactor


class Answering:
    """
    Answers each message with what it was, and whatever a test wants.
    """

    def __init__(self) -> None:
        self.control: Control
        self.came: list[Message] = []
        self.descriptors: list[int] = []
        self.what: Callable[[Message, list[int]], object] = lambda message, descriptors: None
        self.ends: list[str] = []
        self.errors: list[str] = []

    def received(self, message: Message, descriptors: list[int]) -> None:
        """
        A message.
        """
        self.came.append(message)
        self.descriptors += descriptors
        self.what(message, descriptors)
        if message.verb != "wait":
            self.control.send(Message("ok", message.fields))

    def refused(self, error: TunnelError) -> None:
        """
        An error was the answer.
        """
        self.errors.append(error.reason)

    def gone(self) -> None:
        """
        The end.
        """
        self.ends.append("gone")

    def closed(self) -> None:
        """
        The very end.
        """
        self.ends.append("closed")


def turns(seconds: float = 0.0) -> Deferred[None]:
    """
    Let the reactor work.
    """
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


async def until(isSo: Callable[[], object]) -> None:
    """
    Let it work until something is so.

    @raise AssertionError: it is not.
    """
    for _ in range(int(SOON / 0.005)):
        if isSo():
            return
        await turns(0.005)
    raise AssertionError("it does not come about")


class ControlTests(TestCase):
    """
    One control connection.
    """

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]
        """
        Have one.
        """
        # The reactor has all its descriptors then.
        await turns()
        self.before = descriptorsInUse()
        self.clock = Clock()
        self.answering = Answering()
        ours, self.program = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.program.setblocking(False)
        self.closings = Closings()
        self.control = Control(reactor, Deadlines(self.clock), ours, self.answering, self.closings)
        self.answering.control = self.control
        self.control.start()

    async def tearDown(self) -> None:  # type: ignore[override]
        """
        Nothing is left of it.
        """
        self.program.close()
        self.control.close()
        await until(lambda: self.answering.ends == ["gone", "closed"])
        await until(lambda: descriptorsInUse() <= self.before)
        self.clock.advance(SILENT_SECONDS + ANSWER_SECONDS)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def answer(self) -> bytes:
        """
        The next answer.
        """
        found: list[bytes] = []

        def read() -> bool:
            try:
                found.append(self.program.recv(MESSAGE_BYTES))
            except BlockingIOError:
                return False
            return True

        await until(read)
        return found[0]

    async def test_aMessageIsAnswered(self) -> None:
        """
        On the same connection.
        """
        self.program.send(b"hello\na=b\n")
        self.assertEqual(await self.answer(), b"ok\na=b\n")

    async def test_severalAreAnsweredInOrder(self) -> None:
        """
        One in a turn of the reactor, so that others get theirs.
        """
        for number in range(20):
            self.program.send(b"hello\na=%d\n" % number)
        self.control.doRead()
        self.assertEqual(len(self.answering.came), 1)
        answers = [await self.answer() for _ in range(20)]
        self.assertEqual(answers, [b"ok\na=%d\n" % number for number in range(20)])

    async def test_whatTakesItsTimeHoldsUpWhatIsBehind(self) -> None:
        """
        It stays where the program has to wait.
        """
        self.answering.what = lambda message, _: self.control.expect(isPaused=True, isLimited=True)
        self.program.send(b"wait\n")
        self.program.send(b"hello\na=2\n")
        await until(lambda: self.answering.came)
        await turns(0.05)
        self.assertEqual([each.verb for each in self.answering.came], ["wait"])
        self.answering.what = lambda message, _: None
        self.control.send(Message("ok", {"a": "1"}))
        self.control.expect(isPaused=False, isLimited=True)
        self.assertEqual(await self.answer(), b"ok\na=1\n")
        self.assertEqual(await self.answer(), b"ok\na=2\n")

    async def test_whoseUserHasMuchThatIsBeingClosedHasToWait(self) -> None:
        """
        It may have come on other connections; what came on this one meanwhile is heard then.
        """
        self.closings.begin(MOST_CLOSING)
        self.program.send(b"hello\na=1\n")
        await turns(0.05)
        self.assertEqual(self.answering.came, [])
        self.closings.end(1)
        self.assertEqual(await self.answer(), b"ok\na=1\n")
        self.closings.end(MOST_CLOSING - 1)

    async def test_whoIsGoneWhileItTakesItsTimeIsMissed(self) -> None:
        """
        Whoever answers need not go on.
        """
        self.answering.what = lambda message, _: self.control.expect(isPaused=True, isLimited=True)
        self.program.send(b"wait\n")
        await until(lambda: self.answering.came)
        self.program.close()
        await until(lambda: self.answering.ends == ["gone", "closed"])

    async def test_anEmptyMessageIsNoEnd(self) -> None:
        """
        It is no message either.
        """
        self.program.send(b"")
        self.program.send(b"hello\n")
        self.assertIn(b"error\nreason=syntax\n", await self.answer())
        self.assertEqual(await self.answer(), b"ok\n")

    async def test_whatIsNoMessageIsAnsweredWithAnError(self) -> None:
        """
        And what comes behind it is heard.
        """
        self.program.send(b"\xff")
        self.assertEqual(
            await self.answer(),
            b"error\nreason=syntax\ndetail=byte 0 of the message is not UTF-8\n",
        )
        self.program.send(b"hello\n")
        self.assertEqual(await self.answer(), b"ok\n")

    async def test_aMessageThatWasCutIsNone(self) -> None:
        """
        Its first bytes would be one.
        """
        self.program.send(b"hello\na=" + b"b" * MESSAGE_BYTES)
        answer = await self.answer()
        self.assertIn(b"reason=syntax\ndetail=the message has more than 65536 bytes", answer)
        self.program.send(b"hello\na=" + b"b" * (MESSAGE_BYTES - len("hello\na=\n")) + b"\n")
        await until(lambda: self.answering.came)
        self.assertTrue((await self.answer()).startswith(b"ok\na=bbb"))

    async def test_descriptorsThatNobodyTakesAreClosed(self) -> None:
        """
        As many as can be sent, with every message; and none is inherited by programs.
        """
        inheritable: list[bool] = []
        self.answering.what = lambda _, several: inheritable.extend(
            map(os.get_inheritable, several)
        )
        for count in (1, 3, 60, 253):
            before = descriptorsInUse()
            with ExitStack() as stack:
                sent = [stack.enter_context(socket.socket()) for _ in range(min(count, 100))]
                numbers = [each.fileno() for each in sent] * 3
                socket.send_fds(self.program, [b"hello\n"], numbers[:count])
                self.assertEqual(await self.answer(), b"ok\n")
            self.assertEqual(len(self.answering.descriptors), count)
            self.answering.descriptors.clear()
            await until(lambda: descriptorsInUse() <= before)  # noqa: B023
        self.assertEqual(set(inheritable), {False})

    async def test_aDescriptorThatIsTakenIsNotClosed(self) -> None:
        """
        Whoever takes it closes it.
        """
        taken: list[int] = []

        def take(message: Message, descriptors: list[int]) -> None:
            taken.append(descriptors.pop())

        self.answering.what = take
        with socket.socket() as sock:
            socket.send_fds(self.program, [b"hello\n"], [sock.fileno()])
            self.assertEqual(await self.answer(), b"ok\n")
        await turns(0.01)
        os.close(taken[0])

    async def test_descriptorsOfWhatIsNoMessageAreClosed(self) -> None:
        """
        Also where it was cut, or is refused, or fails by a bug.
        """

        def fail(message: Message, descriptors: list[int]) -> None:
            if message.verb == "refuse":
                raise NotConnected("it is none")
            raise ZeroDivisionError

        self.answering.what = fail
        before = descriptorsInUse()
        for data, words in (
            (b"", b"reason=syntax"),
            (b"\xff", b"reason=syntax"),
            (b"x" * (MESSAGE_BYTES + 1), b"reason=syntax"),
            (b"refuse\n", b"reason=not-connected\ndetail=it is none\n"),
            (b"hello\n", b"reason=internal"),
        ):
            with self.subTest(data=data[:10]), socket.socket() as sock:
                socket.send_fds(self.program, [data], [sock.fileno()])
                self.assertIn(words, await self.answer())
            await until(lambda: descriptorsInUse() <= before)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_whoeverHasNoDescriptorsLeftSaysSo(self) -> None:
        """
        It is not for the program to guess.
        """
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with ExitStack() as stack:
            sent = stack.enter_context(socket.socket())
            socket.send_fds(self.program, [b"hello\n"], [sent.fileno()])
            most = max(descriptorsInUse()) + 20
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
            try:
                while True:
                    stack.enter_context(socket.socket())
            except OSError:
                pass
            self.control.doRead()
        self.assertIn(b"reason=limit\ndetail=the pool has no descriptors left", await self.answer())

    async def test_descriptorsThatTakeLongToCloseHoldUpNobody(self) -> None:
        """
        But the program that has sent them, and that counts until they are closed.
        """
        # The program sets SO_LINGER again before they are.
        self.patch(unixsocket, "_NO_LINGER", struct.pack("ii", 1, LINGER))
        sock, peer = evil()
        socket.send_fds(self.program, [b"hello\na=1\n"], [sock.fileno()])
        sock.close()
        began = reactor.seconds()
        self.assertEqual(await self.answer(), b"ok\na=1\n")
        await turns(0.05)
        self.program.close()
        await until(lambda: self.answering.ends)
        self.assertLess(reactor.seconds() - began, SOON)
        self.assertEqual(self.answering.ends, ["gone"])
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await until(lambda: self.answering.ends == ["gone", "closed"])

    async def test_soDoThoseOfMessagesThatNobodyReads(self) -> None:
        """
        The system closes them with the connection.
        """
        sock, peer = evil()
        self.answering.what = lambda message, _: self.control.expect(isPaused=True, isLimited=True)
        self.program.send(b"wait\n")
        socket.send_fds(self.program, [b"hello\n"], [sock.fileno()])
        sock.close()
        await until(lambda: self.answering.came)
        began = reactor.seconds()
        self.control.close()
        await turns()
        self.assertLess(reactor.seconds() - began, SOON)
        self.assertEqual(self.answering.ends, ["gone"])
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await until(lambda: self.answering.ends == ["gone", "closed"])

    async def test_whoeverSaysNothingIsLeft(self) -> None:
        """
        After a while, that begins again with each message.
        """
        self.program.send(b"hello\n")
        await self.answer()
        self.clock.advance(SILENT_SECONDS - 1)
        self.program.send(b"hello\n")
        await self.answer()
        self.clock.advance(SILENT_SECONDS - 1)
        self.assertEqual(self.answering.ends, [])
        self.clock.advance(2)
        self.assertEqual(self.answering.ends, ["gone"])
        self.assertEqual(await self.answer(), b"")

    async def test_whoeverHasReasonToBeSilentMayBe(self) -> None:
        """
        While an answer takes its time, and where there is no limit.
        """
        self.control.expect(isPaused=True, isLimited=True)
        self.clock.advance(SILENT_SECONDS * 2)
        self.control.expect(isPaused=False, isLimited=False)
        self.clock.advance(SILENT_SECONDS * 2)
        self.assertEqual(self.answering.ends, [])
        self.control.expect(isPaused=False, isLimited=True)
        self.clock.advance(SILENT_SECONDS)
        self.assertEqual(self.answering.ends, ["gone"])

    async def test_whoeverDoesNotReadIsNotHeard(self) -> None:
        """
        What it asks stays with the system, which takes no more at last; and there is a limit.
        """
        large = b"hello\na=" + b"b" * 60000 + b"\n"
        sent = 0
        for _ in range(100):
            try:
                self.program.send(large)
                sent += 1
            except BlockingIOError:
                pass
            await turns()
        self.assertLess(sent, 20)
        self.assertLess(len(self.answering.came), sent)
        self.assertEqual(self.answering.ends, [])
        self.clock.advance(ANSWER_SECONDS)
        self.assertEqual(self.answering.ends, ["gone"])

    async def test_whoeverReadsLateGetsAll(self) -> None:
        """
        In order, and whole.
        """
        asked = 0
        for number in range(10):
            try:
                self.program.send(b"hello\na=%d" % number + b"b" * 60000 + b"\n")
                asked += 1
            except BlockingIOError:
                pass
            await turns()
        answers = [await self.answer() for _ in range(asked)]
        self.assertEqual(
            answers, [b"ok\na=%d" % number + b"b" * 60000 + b"\n" for number in range(asked)]
        )
        self.program.send(b"hello\n")
        self.assertEqual(await self.answer(), b"ok\n")

    async def test_aSocketGoesAlongWithItsMessage(self) -> None:
        """
        Ours is closed; also where it never arrives.
        """
        one, other = socket.socketpair()
        self.control.send(Message("ok"), one)
        self.assertEqual(one.fileno(), -1)
        message, descriptors, _, _ = socket.recv_fds(self.program, MESSAGE_BYTES, 2)
        self.assertEqual((message, len(descriptors)), (b"ok\n", 1))
        with socket.socket(fileno=descriptors[0]) as sock:
            sock.send(b"x")
            self.assertEqual(other.recv(1), b"x")
        for isClosed in (False, True):
            one, again = socket.socketpair()
            if not isClosed:
                self.program.close()
            self.control.send(Message("ok"), one)
            self.assertEqual(again.recv(1), b"")
            again.close()
        other.close()

    async def test_aSocketThatWaitsForAProgramIsClosedWithIt(self) -> None:
        """
        Nobody keeps it.
        """
        try:
            while True:
                self.control.send(Message("ok", {"a": "b" * 60000}))
                if self.control._tail:
                    break
        finally:
            one, other = socket.socketpair()
        self.control.send(Message("ok"), one)
        self.assertNotEqual(one.fileno(), -1)
        self.control.close()
        self.assertEqual(other.recv(1), b"")
        other.close()

    async def test_whatWasAnsweredCanStillBeReadAfterTheEnd(self) -> None:
        """
        Although more was asked.
        """
        self.answering.what = lambda message, _: self.control.expect(isPaused=True, isLimited=True)
        self.program.send(b"wait\n")
        self.program.send(b"hello\n")
        await until(lambda: self.answering.came)
        self.control.send(Message("error", {"reason": "limit"}))
        self.control.close()
        await until(lambda: self.answering.ends == ["gone", "closed"])
        self.assertEqual(await self.answer(), b"error\nreason=limit\n")
        self.assertEqual(await self.answer(), b"")

    async def test_whoeverIsGoneWithoutReadingIsHeardOut(self) -> None:
        """
        The reset that this looks like is no error.
        """
        self.program.send(b"hello\na=1\n")
        self.program.send(b"hello\na=2\n")
        self.control.doRead()
        self.program.close()
        await until(lambda: self.answering.ends == ["gone", "closed"])
        self.assertEqual(len(self.answering.came), 2)


class ErrorTests(TestCase):
    """
    What programs are told.
    """

    def test_anErrorHasItsReasonAndItsWords(self) -> None:
        """
        The reason once, and no more words than can be read.
        """
        for error, fields in (
            (NotConnected("it is none"), {"reason": "not-connected", "detail": "it is none"}),
            (NotConnected(), {"reason": "not-connected", "detail": ""}),
            (
                IdentityRefused("the peer is unknown", b"\n").by("the server"),
                {
                    "reason": "identity",
                    "detail": 'the server is unknown; the server said "\\x0a"',
                },
            ),
            (TunnelError("x" * 9999), {"reason": "internal", "detail": "x" * PROSE + "..."}),
        ):
            with self.subTest(error=str(error)[:40]):
                self.assertEqual(errorMessage(error), Message("error", fields))
