"""
Tests for L{tlstunnel.poolservice.v2program}: programs that die, hoard, or are many.
"""

from __future__ import annotations

import errno
import gc
import socket
import struct
import time

from tests.poolservice.test_descriptors import LINGER, SOON, evil
from tests.poolservice.tlspool import BASE, ERROR, HEADER, STARTTLS, Library, build
from tests.poolservice.v2stage import CHECKING, V2Tests
from tests.tls.test_clienthello import HELLO
from tlstunnel.address import UNIXAddress
from tlstunnel.errors import Closed, TLSFailed
from tlstunnel.local.closing import MOST_CLOSING
from tlstunnel.net import unixsocket
from tlstunnel.poolservice.refusals import NotForCaller
from tlstunnel.poolservice.v2exchange import Exchange


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
