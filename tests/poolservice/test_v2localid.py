"""
Tests for L{tlstunnel.poolservice.v2exchange}: a program is asked who to be.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.poolservice.tlspool import BASE
from tests.poolservice.v2stage import CHECKING, V2Tests
from tests.tls.test_clienthello import HELLO, hello, made, names, records
from tlstunnel.errors import TLSFailed
from tlstunnel.identity.names import Identity


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
