"""
Tests for L{tlstunnel.poolservice.v2exchange} and L{tlstunnel.poolservice.v2program}: requests, what
is asked back, and answers.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from tests.poolservice.tlspool import BASE, ERROR, HEADER
from tests.poolservice.v2stage import ALICE, CHECKING, WWW, V2Tests
from tests.tls.test_clienthello import HELLO
from tlstunnel.errors import Closed, IdentityRefused, TLSFailed
from tlstunnel.identity.names import Identity
from tlstunnel.net.wire import MOST_READ_BYTES
from tlstunnel.poolservice.refusals import NotForCaller
from tlstunnel.poolservice.v2plain import MESSAGE_BYTES
from tlstunnel.poolservice.v2program import LATE_ANSWERS, MOST_REQUESTS

#: All that a frame can be about.
COMMANDS = (0x10, 0x24, 0x28, 0x29, 0x2A, 0x2B, 0x2C, 0x100, 0x101, 0x200, 0x201)


class ExchangeTests(V2Tests):
    """
    The way to an answer.
    """

    def test_theAnswerHasBothIdentities(self) -> None:
        self.startTLS()
        self.handOver.verify(ALICE, WWW)
        question = self.hear()
        expected = {"localid": b"alice@example.test", "remoteid": b"www.example.test"}
        self.assertEqual({each: question[each] for each in expected}, expected)
        ours, theirs = self.pair()
        self.answer(0x2A, question["cbid"], theirs, localid=b"mallory", remoteid=b"mallory")
        answer = self.hear()
        self.assertEqual({each: answer[each] for each in expected}, expected)
        self.handOver.leg.write(b"hello")
        self.assertEqual(ours.recv(10), b"hello")

    def test_whoIsNobodyHasEmptyFields(self) -> None:
        self.startTLS(flags=0x2 | 0x1000, remoteid=b"")
        self.handOver.verify()
        question = self.hear()
        self.assertEqual((question["localid"], question["remoteid"]), (b"", b""))

    def test_requestsAreAnsweredInAnyOrder(self) -> None:
        keys = [bytes((each + 1,)) * 16 for each in range(8)]
        for reqid, key in enumerate(keys):
            self.startTLS(reqid=reqid, ctlkey=key)
        for reqid in reversed(range(8)):
            handOver = self.handOvers.begun[reqid]
            if reqid % 2:
                handOver.end(TLSFailed("no"))
                self.assertEqual(self.hear(HEADER)["reqid"], reqid)
                continue
            handOver.verify(ALICE, WWW)
            question = self.hear()
            self.assertEqual((question["reqid"], question["ctlkey"]), (reqid, keys[reqid]))

    def test_aProgramRefusesToTakeIt(self) -> None:
        self.startTLS()
        self.handOver.verify()
        self.answer(1, self.hear()["cbid"])
        self.assertEqual(self.error(), BASE + 3)
        self.assertTrue(self.handOver.isOver)

    def test_anAnswerToSomethingElseIsBad(self) -> None:
        for cmd in 0x28, 0x24, 0x00, 0x10, 0x4711:
            self.startTLS()
            self.handOver.verify()
            self.answer(cmd, self.hear()["cbid"])
            self.assertEqual(self.error(), BASE + 10)
            self.assertTrue(self.handOver.isOver)

    def test_anAnswerWithoutASocketLacksIt(self) -> None:
        self.startTLS()
        self.handOver.verify()
        self.answer(0x2A, self.hear()["cbid"])
        self.assertEqual(self.error(), BASE + 7)

    def test_anAnswerWithTwoSocketsHasTooMany(self) -> None:
        self.startTLS()
        self.handOver.verify()
        self.answer(0x2A, self.hear()["cbid"], *self.pair())
        self.assertEqual(self.error(), BASE + 5)

    def test_anAnswerToNothingIsBad(self) -> None:
        for cbid in 1, 77, 0xFFFF:
            ours, theirs = self.pair()
            self.answer(0x2A, cbid, theirs, reqid=9)
            found = self.hear(ERROR)
            self.assertEqual((found["reqid"], found["tlserrno"]), (9, BASE + 10))
            self.assertEqual(ours.recv(1), b"")

    def test_aSecondAnswerIsBad(self) -> None:
        self.startTLS()
        self.handOver.verify()
        cbid = self.hear()["cbid"]
        self.answer(0x2A, cbid, self.pair()[1])
        self.assertEqual(self.hear(HEADER)["cmd"], 0x24)
        self.answer(0x2A, cbid, self.pair()[1])
        self.assertEqual(self.error(), BASE + 10)
        self.assertFalse(self.handOver.isOver)

    def test_aSecondAnswerWhileItGoesOnEndsIt(self) -> None:
        """There is one answer to each request."""
        self.startTLS(**CHECKING).send(HELLO)
        self.reactor.settle()
        cbid = self.hear()["cbid"]
        self.answer(0x28, cbid)
        self.answer(0x28, cbid)
        self.assertEqual(self.error(), BASE + 10)
        self.assertTrue(self.handOver.isOver)
        self.hearNothing()

    def test_theAnswerOfAnotherRequestIsBad(self) -> None:
        self.startTLS(reqid=1, ctlkey=bytes(16))
        self.handOver.verify()
        first = self.hear()["cbid"]
        self.startTLS(reqid=2, ctlkey=bytes(16))
        self.answer(0x2A, first, reqid=2)
        self.assertEqual(self.error(), BASE + 10)
        # The first is still waited for.
        self.answer(0x2A, first, self.pair()[1], reqid=1)
        self.assertEqual(self.hear(HEADER)["cmd"], 0x24)

    def test_aQuestionIsNotWaitedForWithoutEnd(self) -> None:
        for timeout, seconds in (0, 15.0), (2500, 2.5), (0xFFFFFFFF, 300.0), (900_000, 300.0):
            self.startTLS(timeout=timeout)
            self.handOver.verify()
            cbid = self.hear()["cbid"]
            self.reactor.advance(seconds - 0.1)
            self.hearNothing()
            self.reactor.advance(0.2)
            self.assertEqual(self.error(), errno.ETIMEDOUT)
            # Too late, and not wrong.
            ours, theirs = self.pair()
            self.answer(0x2A, cbid, theirs)
            self.hearNothing()
            self.assertEqual(ours.recv(1), b"")

    def test_whatIsRememberedOfLateAnswersIsBounded(self) -> None:
        first = 0
        for _ in range(LATE_ANSWERS + 1):
            self.startTLS(timeout=1)
            self.handOver.verify()
            first = first or self.hear()["cbid"]
            self.reactor.advance(1)
            while self.reactor.turn():
                pass
            with self.assertRaises(BlockingIOError):
                while True:
                    self.tlspool.receive()
        self.answer(0x2A, first)
        self.assertEqual(self.error(), BASE + 10)

    def test_aReqidIsNotUsedTwiceAtATime(self) -> None:
        self.startTLS(reqid=5)
        self.startTLS(reqid=5)
        self.assertEqual(self.error(), errno.EALREADY)
        self.assertEqual(len(self.handOvers.begun), 1)

    def test_aReqidIsUsedAgainBehindItsAnswer(self) -> None:
        self.ready(reqid=5, ctlkey=b"1" * 16)
        self.ready(reqid=5, ctlkey=b"2" * 16)

    def test_thereAreNotTooManyRequests(self) -> None:
        for reqid in range(MOST_REQUESTS):
            self.startTLS(reqid=reqid, ctlkey=bytes(16))
        self.startTLS(reqid=MOST_REQUESTS, ctlkey=bytes(16))
        self.assertEqual(self.error(), errno.EBUSY)

    def test_aCtlkeyIsThatOfOneConnection(self) -> None:
        self.ready()
        self.startTLS(reqid=1)
        self.assertEqual(self.error(), BASE + 14)
        self.handOver.end(Closed("over"))
        self.ready(reqid=2)

    def test_aRefusalClosesTheConnection(self) -> None:
        self.handOvers.refusal = NotForCaller("user 1000 may not be bob@example.test")
        peer = self.startTLS(localid=b"bob@example.test")
        found = self.hear(ERROR)
        self.assertEqual(found["tlserrno"], errno.EACCES)
        self.assertEqual(found["message"], b"not-yours: user 1000 may not be bob@example.test")
        self.assertEqual(peer.recv(1), b"")

    def test_aFailureIsTheAnswer(self) -> None:
        for error in TLSFailed("bad record"), IdentityRefused("it is another"):
            self.startTLS()
            self.handOver.end(error)
            self.assertEqual(self.error(), BASE + 24)

    def test_whatEndsBehindTheAnswerIsNotTold(self) -> None:
        self.ready()
        self.handOver.end(Closed("over"))
        self.reactor.settle()
        self.hearNothing()

    def test_aNameThatDoesNotFitIsNotCut(self) -> None:
        long = Identity(None, ".".join(["www"] * 40))
        self.startTLS()
        self.handOver.verify(None, long)
        self.assertEqual(self.error(), errno.ENAMETOOLONG)

    def test_plaintextMayBeAnyConnection(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            tcp = socket.create_connection(listening.getsockname())
            far, _ = listening.accept()
        self.open.append(far)
        near, packets = self.pair(socket.SOCK_SEQPACKET)
        for number, (ours, theirs) in enumerate(((far, tcp), (near, packets), self.pair()), 1):
            self.startTLS(ctlkey=bytes((number,)) * 16)
            self.handOver.verify()
            self.answer(0x2A, self.hear()["cbid"], theirs)
            self.assertEqual(self.hear(HEADER)["cmd"], 0x24)
            self.handOver.leg.write(b"hello")
            self.assertEqual(ours.recv(100), b"hello")

    def test_packetsAreReadAsAWholeAndWrittenInSmallOnes(self) -> None:
        ours, theirs = self.pair(socket.SOCK_SEQPACKET)
        self.startTLS()
        self.handOver.verify()
        self.answer(0x2A, self.hear()["cbid"], theirs)
        leg = self.handOver.leg
        heard: list[bytes] = []
        leg.speaker = _Speaker(heard)
        leg.resumeProducing()
        ours.send(b"a" * 100_000)
        ours.send(b"")
        ours.send(b"b")
        self.reactor.settle()
        self.assertFalse(leg.inputEnded)
        self.assertEqual(b"".join(heard), b"a" * 100_000 + b"b")
        self.assertGreater(MOST_READ_BYTES, 100_000)
        leg.write(b"c" * 10_000)
        self.reactor.settle()
        got = [len(ours.recv(65536)) for _ in range(3)]
        self.assertEqual(got, [MESSAGE_BYTES, MESSAGE_BYTES, 10_000 - 2 * MESSAGE_BYTES])
        ours.close()
        self.reactor.settle()
        self.assertTrue(leg.inputEnded)

    def test_somethingWrongInThePoolIsToldAndLogged(self) -> None:
        self.handOvers.refusal = ZeroDivisionError()  # type: ignore[assignment]
        self.startTLS()
        self.assertEqual(self.error(), BASE + 22)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class _Speaker:
    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard

    def dataReceived(self, data: memoryview) -> None:
        """Keep it."""
        self._heard.append(bytes(data))

    def readConnectionLost(self) -> None:
        """It is the end."""

    def connectionLost(self, reason: Any) -> None:
        """It is over."""
