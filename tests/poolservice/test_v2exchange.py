"""
Tests for L{tlstunnel.poolservice.v2exchange} and L{tlstunnel.poolservice.v2program}: requests, what
is asked back, and answers.
"""

from __future__ import annotations

import errno
import gc
import socket
import struct
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.poolservice.test_descriptors import LINGER, SOON, evil
from tests.poolservice.tlspool import (
    BASE,
    CONTROL,
    ERROR,
    FRAME,
    HEADER,
    INFO,
    PRNG,
    STARTTLS,
    Library,
    build,
)
from tests.poolservice.v2stage import ALICE, OCTETS, WWW, V2Tests
from tests.tls.test_clienthello import HELLO, hello, made, names, records
from tlstunnel.address import UNIXAddress
from tlstunnel.errors import Closed, IdentityRefused, TLSFailed
from tlstunnel.identity.names import Identity
from tlstunnel.local.closing import MOST_CLOSING
from tlstunnel.net import unixsocket
from tlstunnel.net.wire import MOST_READ_BYTES
from tlstunnel.poolservice.refusals import NotForCaller
from tlstunnel.poolservice.v2errors import V2Error
from tlstunnel.poolservice.v2exchange import Exchange
from tlstunnel.poolservice.v2plain import MESSAGE_BYTES
from tlstunnel.poolservice.v2program import LATE_ANSWERS, MOST_REQUESTS

#: Of a server that asks who it is to be, of its clients nothing.
CHECKING = {"flags": 0x2 | 0x4 | 0x1000 | 0x10000, "remoteid": b""}

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


class LocalIdTests(V2Tests):
    """
    The name that a client asks for, before we are anybody.
    """

    def checked(self, said: bytes, **fields: Any) -> socket.socket:
        """A client of a server that wants to be asked says something."""
        peer = self.startTLS(**CHECKING | fields)
        if said:
            peer.send(said)
        self.reactor.settle()
        return peer

    def test_theProgramIsAskedForTheNameOfTheClient(self) -> None:
        self.checked(HELLO)
        question = self.hear()
        self.assertEqual((question["cmd"], question["localid"]), (0x28, b"www.example.org"))
        self.answer(0x28, question["cbid"], localid=b"other.example.org")
        self.assertEqual(self.handOver.wanted.local, Identity(None, "other.example.org"))
        self.assertEqual(self.handOver.sock.recv(10_000), HELLO)

    def test_aClientWithoutANameIsThereForTheOneThatTheProgramHas(self) -> None:
        self.checked(hello(), localid=b"mine.example.org")
        self.assertEqual(self.hear()["localid"], b"mine.example.org")

    def test_thePlaintextMayComeWithTheAnswer(self) -> None:
        self.checked(HELLO)
        question = self.hear()
        ours, theirs = self.pair()
        self.answer(0x28, question["cbid"], theirs, localid=question["localid"])
        self.handOver.verify(self.handOver.wanted.local)
        answer = self.hear()
        self.assertEqual((answer["cmd"], answer["localid"]), (0x24, b"www.example.org"))
        self.handOver.leg.write(b"x")
        self.assertEqual(ours.recv(10), b"x")

    def test_thePlaintextIsClosedWhereTheHandshakeFails(self) -> None:
        self.checked(HELLO)
        ours, theirs = self.pair()
        self.answer(0x28, self.hear()["cbid"], theirs)
        self.handOver.end(TLSFailed("no"))
        self.assertEqual(self.error(), BASE + 24)
        self.assertEqual(ours.recv(1), b"")

    def test_aWrongPlaintextIsFoundAtOnce(self) -> None:
        peer = self.checked(HELLO)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.answer(0x28, self.hear()["cbid"], listening)
        self.assertEqual(self.error(), BASE + 7)
        self.assertRaises(ConnectionResetError, peer.recv, 1)
        self.assertEqual(self.handOvers.begun, [])

    def test_aClientIsNotAsked(self) -> None:
        self.startTLS(flags=9 | 0x10000)
        self.assertEqual(len(self.handOvers.begun), 1)

    @settings(deadline=None, max_examples=20)
    @given(st.lists(st.integers(1, len(HELLO)), max_size=5))
    def test_aHelloMayComeInPieces(self, sizes: list[int]) -> None:
        peer = self.checked(b"", ctlkey=bytes(16))
        at = 0
        for size in [*sizes, len(HELLO)]:
            if piece := HELLO[at : at + size]:
                peer.send(piece)
            at += size
            self.reactor.settle()
            self.reactor.advance(0.7)
        question = self.hear()
        self.assertEqual(question["localid"], b"www.example.org")
        self.answer(1, question["cbid"])
        self.assertEqual(self.error(), BASE + 3)

    def test_halfAHelloDoesNotSpin(self) -> None:
        """It is looked at now and then, and not without end."""
        self.checked(HELLO[:50])
        looks = 0
        while not self.reactor.turn():
            self.reactor.advance(0.01)
            looks += 1
            if looks == 1600:
                break
        self.assertEqual(self.error(), errno.ETIMEDOUT)
        self.hearNothing()

    def test_theHelloHasTheTimeThatTheProgramGivesTheHandshake(self) -> None:
        self.checked(HELLO[:50], timeout=2000)
        self.reactor.advance(1.9)
        self.reactor.settle()
        self.hearNothing()
        self.reactor.advance(0.2)
        self.assertEqual(self.error(), errno.ETIMEDOUT)

    def test_whatIsNotTLSIsRefused(self) -> None:
        peer = self.checked(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.error(), BASE + 24)
        self.assertRaises(ConnectionResetError, peer.recv, 1)

    def test_aHelloWithoutAnEndIsRefused(self) -> None:
        self.checked(b"\x16\x03\x01\x00\x01\x01" + b"\x16\x03\x01\x00\x01\xff" * 20_000)
        self.assertEqual(self.error(), BASE + 24)

    def test_aNameThatIsNoneIsRefused(self) -> None:
        for name in b"no name", b"\xff\xfe", b"x" * 300, b"a\0b", b"-":
            self.checked(records(made(names((0, name))), []))
            self.assertEqual(self.error(), BASE + 24)

    def test_aLongNameIsNotCut(self) -> None:
        self.checked(records(made(names((0, b".".join([b"www"] * 40)))), []))
        self.assertEqual(self.error(), errno.ENAMETOOLONG)

    def test_aClientThatLeavesIsNotAskedFor(self) -> None:
        for said in b"", HELLO[:20]:
            peer = self.checked(said)
            peer.close()
            self.reactor.settle()
            self.reactor.advance(16)
            self.assertIn(self.error(), (errno.ECONNRESET, errno.ETIMEDOUT))

    def test_aProgramThatDoesNotSayIsNotWaitedFor(self) -> None:
        self.checked(HELLO)
        self.hear()
        self.reactor.advance(15.1)
        self.assertEqual(self.error(), errno.ETIMEDOUT)
        self.assertEqual(self.handOvers.begun, [])


class DyingTests(V2Tests):
    """
    Programs that die at every step; L{V2Tests.tearDown} finds what would be left of them.
    """

    def die(self) -> None:
        """The program is gone."""
        self.tlspool.close()
        self.reactor.settle()
        self.assertEqual(self.port.programs, set())
        self.assertEqual((len(self.port.keys), len(self.port.quotas)), (0, 0))

    def test_beforeItSaysAnything(self) -> None:
        self.die()

    def test_withinTheHandshake(self) -> None:
        peer = self.startTLS()
        self.die()
        self.assertTrue(self.handOver.isOver)
        self.assertEqual(peer.recv(1), b"")

    def test_beforeTheHello(self) -> None:
        peer = self.startTLS(**CHECKING)
        self.die()
        self.assertEqual(peer.recv(1), b"")

    def test_withinTheHello(self) -> None:
        self.startTLS(**CHECKING).send(HELLO[:9])
        self.reactor.settle()
        self.die()

    def test_askedForTheLocalIdentity(self) -> None:
        self.startTLS(**CHECKING).send(HELLO)
        self.reactor.settle()
        self.hear()
        self.die()
        self.assertEqual(self.handOvers.begun, [])

    def test_havingGivenThePlaintextEarly(self) -> None:
        self.startTLS(**CHECKING).send(HELLO)
        self.reactor.settle()
        ours, theirs = self.pair()
        self.answer(0x28, self.hear()["cbid"], theirs)
        self.die()
        self.assertEqual(ours.recv(1), b"")

    def test_askedForThePlaintext(self) -> None:
        self.startTLS()
        self.handOver.verify()
        self.hear()
        self.die()
        self.assertTrue(self.handOver.isOver)

    def test_withTheQuestionUnread(self) -> None:
        self.startTLS()
        self.handOver.verify()
        self.die()

    def test_withItsAnswerUnread(self) -> None:
        self.startTLS()
        self.handOver.verify()
        cbid = self.hear()["cbid"]
        self.tlspool.send(build(STARTTLS, cmd=0x2A, cbid=cbid), self.pair()[1].fileno())
        self.die()

    def test_onceAllIsReady(self) -> None:
        """Without FORK its TLS ends with it."""
        self.ready()
        self.die()
        self.assertTrue(self.handOver.isOver)

    def test_withManyRequests(self) -> None:
        for reqid in range(50):
            self.startTLS(reqid=reqid, ctlkey=bytes(16))
            if reqid % 2:
                self.handOver.verify()
        self.die()
        self.assertTrue(all(each.isOver for each in self.handOvers.begun))

    def test_withTheRequestUnread(self) -> None:
        network, peer = self.pair()
        frame = build(STARTTLS, cmd=0x24, flags=9, remoteid=b"a.test")
        self.tlspool.send(frame, network.fileno())
        network.close()
        self.die()
        self.assertEqual(peer.recv(1), b"")


class MemoryTests(V2Tests):
    """
    What is over is freed at once, also where it has failed.
    """

    def setUp(self) -> None:
        """Let nobody look for circles."""
        super().setUp()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def freed(self) -> bool:
        """Whether no exchange is left."""
        self.reactor.settle()
        self.handOvers.begun.clear()
        return not [each for each in gc.get_objects() if isinstance(each, Exchange)]

    def test_whatWasRefused(self) -> None:
        self.handOvers.refusal = NotForCaller("no")
        self.startTLS()
        self.handOvers.refusal = None
        self.assertTrue(self.freed())

    def test_whatWasBegun(self) -> None:
        self.startTLS()
        self.handOver.end(TLSFailed("no"))
        self.assertTrue(self.freed())

    def test_whatWasNotAnswered(self) -> None:
        self.startTLS(**CHECKING).send(HELLO)
        self.reactor.settle()
        self.reactor.advance(16)
        self.assertTrue(self.freed())

    def test_whatWasAnsweredWrongly(self) -> None:
        self.startTLS(**CHECKING).send(HELLO)
        self.reactor.settle()
        self.answer(1, self.hear()["cbid"])
        self.assertTrue(self.freed())

    def test_whatDidNotSpeakTLS(self) -> None:
        self.startTLS(**CHECKING).send(b"hello")
        self.reactor.settle()
        self.assertTrue(self.freed())

    def test_whoseProgramIsGone(self) -> None:
        for said in b"", HELLO[:10], HELLO:
            library = self.connect()
            self.tlspool, before = library, self.tlspool
            peer = self.startTLS(**CHECKING)
            if said:
                peer.send(said)
            self.reactor.settle()
            library.close()
            self.tlspool = before
            self.assertTrue(self.freed(), said)


class ControlTests(V2Tests):
    """
    Connections and control connections.
    """

    key = b"0123456789abcdef"

    def control(self, cmd: int, by: Library | None = None, **fields: Any) -> int:
        """
        Detach or attach.

        @return: 0, or the number of the error.
        """
        self.say(build(CONTROL, cmd=cmd, **{"ctlkey": self.key} | fields), by=by)
        found = self.hear(ERROR, by)
        return int(found["tlserrno"]) if found["cmd"] == 1 else int(found["cmd"])

    def close(self) -> None:
        """The program's first control connection is gone."""
        self.tlspool.close()
        self.reactor.settle()

    def test_withForkItOutlivesItsControlConnection(self) -> None:
        self.ready(flags=9 | 0x4000)
        self.close()
        self.assertFalse(self.handOver.isOver)
        self.handOver.leg.write(b"x")

    def test_whatIsDetachedOutlivesItsControlConnection(self) -> None:
        self.ready()
        self.assertEqual(self.control(0x100), 0)
        self.close()
        self.assertFalse(self.handOver.isOver)

    def test_itMayBeDetachedFromTheStart(self) -> None:
        self.ready(flags=9 | 0x2000)
        self.assertEqual(self.control(0x100), BASE + 17)
        self.close()
        self.assertFalse(self.handOver.isOver)

    def test_itIsAttachedToAnotherControlConnection(self) -> None:
        self.ready()
        other = self.connect()
        self.assertEqual(self.control(0x101, other), BASE + 18)
        self.assertEqual(self.control(0x100, other), BASE + 16)
        self.assertEqual(self.control(0x100), 0)
        self.close()
        self.assertEqual(self.control(0x101, other), 0)
        other.close()
        self.reactor.settle()
        self.assertTrue(self.handOver.isOver)

    def test_whatIsOverHasNoKey(self) -> None:
        self.ready()
        self.handOver.end(None)
        for cmd in 0x100, 0x101:
            self.assertEqual(self.control(cmd), BASE + 15)

    def test_whatIsNotReadyHasNoKey(self) -> None:
        self.startTLS()
        self.assertEqual(self.control(0x100, reqid=1), BASE + 15)

    def test_aKeyIsThatOfItsUser(self) -> None:
        """Another user may have the same, and learns nothing of this one."""
        self.ready()
        (program,) = self.port.programs
        uid = program.caller.uid
        keys = self.port.keys
        others = keys.add(uid + 1, self.key, "other", False)
        try:
            self.assertEqual(self.control(0x100), 0)
            with self.assertRaises(V2Error) as caught:
                keys.detach(uid + 2, self.key, "third")
            self.assertEqual(caught.exception.number, BASE + 15)
        finally:
            keys.remove(others)

    def test_theServiceEndsAndTLSGoesOn(self) -> None:
        """So that a stop can wait for it."""
        self.ready()
        self.startTLS(reqid=1, ctlkey=bytes(16))
        self.port.close()
        self.reactor.settle()
        self.assertEqual([each.isOver for each in self.handOvers.begun], [False, True])
        self.assertEqual(self.tlspool.receive(), b"")


class QueryTests(V2Tests):
    """
    PRNG, INFO, and what is no command.
    """

    key = b"0123456789abcdef"

    def prng(self, buffer: bytes = b"EXPORTER-a", **fields: Any) -> bytes | int:
        """Ask; either the octets, or the number of an error."""
        fields = {"labelBytes": 10, "contextBytes": -1, "wantedBytes": 32} | fields
        self.say(build(PRNG, cmd=0x2B, buffer=self.key + buffer, **fields))
        frame = self.tlspool.receive()
        if frame[4] == 1:
            return int.from_bytes(frame[8:12], "little", signed=True)
        return frame[14:].rstrip(b"\0")

    def test_keyingMaterialIsGivenAndNothingBeside(self) -> None:
        self.ready()
        self.assertEqual(self.prng(), OCTETS)

    def test_lengthsThatDoNotFitAreRefused(self) -> None:
        self.ready()
        tried: list[dict[str, Any]] = [
            {"labelBytes": 0},
            {"labelBytes": -1},
            {"labelBytes": 335},
            {"contextBytes": -2},
            {"contextBytes": 325},
            {"labelBytes": 0x7FFF, "contextBytes": 0x7FFF},
            {"wantedBytes": 0},
            {"wantedBytes": -1},
            {"wantedBytes": 351},
        ]
        for fields in tried:
            self.assertEqual(self.prng(**fields), BASE + 25, fields)
        self.assertEqual(len(self.prng(labelBytes=334, wantedBytes=350)), 32)  # type: ignore[arg-type]

    def test_anUnknownConnectionHasNoKeyingMaterial(self) -> None:
        self.assertEqual(self.prng(), BASE + 15)

    def test_certificatesThatWereNotShownAreNotFound(self) -> None:
        self.ready()
        for kind in 0x52800000, 0x52800102, 0x59290001:
            self.say(build(INFO, cmd=0x2C, ctlkey=self.key, kind=kind, size=0xFFFF))
            self.assertEqual(self.error(), BASE + 29)

    @settings(deadline=None, max_examples=60)
    @given(st.binary(min_size=FRAME, max_size=FRAME), st.booleans(), st.booleans())
    def test_anyFrameIsAnsweredAndHarmsNobody(self, frame: bytes, isKnown: bool, fd: bool) -> None:
        if isKnown:
            cmd = (0x10, 0x24, 0x28, 0x29, 0x2A, 0x2B, 0x2C, 0x100, 0x101, 0x200, 0x201)[
                frame[4] % 11
            ]
            frame = frame[:2] + bytes(2) + cmd.to_bytes(4, "little") + frame[8:]
        self.say(frame, *([self.pair()[0]] if fd else []))
        for handOver in self.handOvers.begun:
            handOver.end(TLSFailed("no"))
        self.reactor.advance(1000)
        self.reactor.settle()
        self.assertEqual(self.hear(HEADER)["reqid"], int.from_bytes(frame[:2], "little"))
        self.hearNothing()


class CrowdTests(V2Tests):
    """
    Users who want more than they may have.
    """

    perUser = 3

    def test_whoHasTooManyConnectionsIsToldSo(self) -> None:
        """And not before it asks, as its library would crash."""
        self.connect(), self.connect()
        late = self.connect()
        self.reactor.advance(1000)
        self.reactor.settle()
        self.hearNothing(late)
        self.say(build(HEADER, cmd=0x10, reqid=3), by=late)
        found = self.hear(ERROR, late)
        self.assertEqual((found["reqid"], found["tlserrno"]), (3, errno.EBUSY))
        self.assertEqual(late.receive(), b"")
        self.reactor.settle()
        self.tlspool.close()
        self.reactor.settle()
        again = self.connect()
        self.say(build(HEADER, cmd=0x10), by=again)
        self.assertEqual(self.hear(HEADER, again)["cmd"], 0x10)

    def test_evenThoseAreNotWithoutNumber(self) -> None:
        many = [self.connect() for _ in range(30)]
        self.reactor.settle()
        closed = 0
        for each in many:
            try:
                closed += each.receive() == b""
            except BlockingIOError:
                continue
        self.assertEqual(closed, 30 - 2 - 20)

    def test_handOversCount(self) -> None:
        peers = [self.startTLS(reqid=each, ctlkey=bytes(16)) for each in range(3)]
        self.assertEqual(self.hear(ERROR)["tlserrno"], errno.EBUSY)
        self.assertEqual(peers[2].recv(1), b"")

    def test_whoIsRefusedForThatKeepsNoCtlkey(self) -> None:
        """The program tries again with the same, once another connection is over."""
        for each in range(3):
            self.startTLS(reqid=each, ctlkey=bytes((each + 1,)) * 16)
        self.assertEqual(self.error(), errno.EBUSY)
        self.assertEqual(len(self.port.keys), 2)
        self.handOvers.begun[0].end(Closed("over"))
        self.hear(ERROR)
        self.startTLS(reqid=2, ctlkey=b"\3" * 16)
        self.hearNothing()
        self.assertEqual(len(self.handOvers.begun), 3)

    def test_whoIsSentAwayHoldsUpNobody(self) -> None:
        """Closing what has come before it was accepted may take its time."""
        many = [self.connect() for _ in range(30)]
        theirs, ours = self.pair()
        self.open.remove(ours)
        sock, peer = evil()
        Library(theirs).send(build(HEADER, cmd=0x10), sock.fileno())
        sock.close()
        began = time.monotonic()
        self.port.accepted(ours, UNIXAddress(""))
        self.assertLess(time.monotonic() - began, SOON)
        self.reactor.settle()
        self.assertLess(time.monotonic() - began, SOON)
        self.assertEqual(theirs.recv(1), b"")
        peer.close()
        for each in many:
            each.close()

    def test_whatIsClosedForOneUserIsBounded(self) -> None:
        """
        A message brings hundreds of descriptors, and nobody else could have any; so no connection
        of that user is read from while many of his are being closed.
        """
        # The program sets SO_LINGER again before they are.
        self.patch(unixsocket, "_NO_LINGER", struct.pack("ii", 1, LINGER))
        other = self.connect()
        sock, peer = evil()
        before = len(self.descriptors())
        some = [self.tlspool.sock.fileno()] * (MOST_CLOSING - 1)
        self.tlspool.send(build(HEADER, cmd=0x10, reqid=1), *some, sock.fileno())
        other.send(build(HEADER, cmd=0x10, reqid=2), *some)
        sock.close()
        for _ in range(20):
            self.reactor.turn()
        self.assertLess(len(self.descriptors()), before + MOST_CLOSING)
        self.hearNothing(other)
        self.assertEqual(self.error(), BASE + 5)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.reactor.settle()
        self.assertEqual(self.error(other), BASE + 5)
        other.close()
