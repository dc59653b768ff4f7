"""
Tests for L{tlstunnel.poolservice.handed} and L{tlstunnel.net.sharedwire}: a leg on a socket of
which a program has a copy, which it lets block.  Nothing here may ever wait.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.legs import SocketCase, UNIXCase
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ForeignProtocol, TLSFailed, Truncated
from tlstunnel.net import sharedwire
from tlstunnel.net.leg import Leg
from tlstunnel.poolservice.handed import HandedLeg
from tlstunnel.testing.contract import LegContract
from tlstunnel.testing.farend import Producer
from tlstunnel.tls import membio


class HandedCase(SocketCase):
    """
    The program has a copy that blocks, until the far end is looked at.
    """

    far: Any

    def make(self, sock: socket.socket, peer: TCPAddress | UNIXAddress) -> Leg:
        """The leg."""
        self.copy = socket.socket(fileno=os.dup(sock.fileno()))
        self.addCleanup(self.copy.close)
        leg = HandedLeg(self.reactor, self.linger, sock, peer)
        os.set_blocking(self.copy.fileno(), True)
        return leg

    def turn(self) -> None:
        """A turn that takes longer than it may has waited for somebody."""
        if self.copy.fileno() >= 0:
            os.set_blocking(self.copy.fileno(), True)
        began = time.monotonic()
        super().turn()
        assert time.monotonic() - began < 2, "the reactor was held up"


class AloneCase(SocketCase):
    """
    The program has closed its own.
    """

    far: Any

    def turn(self) -> None:
        """With what is due in it."""
        super().turn()
        self.reactor.runUntilCurrent()

    def make(self, sock: socket.socket, peer: TCPAddress | UNIXAddress) -> Leg:
        """The leg."""
        return HandedLeg(self.reactor, self.linger, sock, peer)


class AloneTests(LegContract, AloneCase, SynchronousTestCase):
    """
    In clear.
    """


class AloneTLS13Tests(LegContract, AloneCase, SynchronousTestCase):
    """
    Inside TLS 1.3.
    """

    inTLS = True


class AloneTLS12Tests(LegContract, AloneCase, SynchronousTestCase):
    """
    Inside TLS 1.2.
    """

    inTLS = True
    version = SSL.TLS1_2_VERSION


class UNIXTests(LegContract, AloneCase, UNIXCase, SynchronousTestCase):
    """
    A UNIX socket is handed over.
    """

    inTLS = True


class SharedTests(HandedCase, SynchronousTestCase):
    """
    What a program does with its copy does not hold us up.
    """

    inTLS = True

    def guarded(self) -> None:
        """End the connection if a test hangs, so that it fails instead."""
        timer = threading.Timer(5, lambda: self.far.sock.shutdown(socket.SHUT_RDWR))
        timer.start()
        self.addCleanup(timer.cancel)

    def test_halfARecordIsNotWaitedFor(self) -> None:
        """During the handshake, and behind it."""
        self.open(False)
        self.guarded()
        self.startTLS()
        self.far.sock.send(b"\x16\x03\x03")
        self.turns()
        self.assertEqual(self.speaker.calls, [])

    def test_aRecordInPiecesIsRead(self) -> None:
        """A byte at a time, while the program lets its copy block."""
        self.open()
        self.guarded()
        self.leg.resumeProducing()
        record = self._recordOf(b"hello")
        for byte in record:
            self.far.sock.send(bytes([byte]))
            self.turn()
        self.until(lambda: self.speaker.heard == b"hello")

    def _recordOf(self, data: bytes) -> bytes:
        """What the far end would send."""
        taken = socket.socketpair()
        with taken[0], taken[1]:
            kept = os.dup(self.far.sock.fileno())
            os.dup2(taken[0].fileno(), self.far.sock.fileno())
            self.far.tls.send(data)
            os.dup2(kept, self.far.sock.fileno())
            os.close(kept)
            return taken[1].recv(65536)

    def test_aPeerThatDoesNotReadIsNotWaitedFor(self) -> None:
        """What it does not take is kept, and the producer is paused."""
        self.open()
        self.guarded()
        producer = self.leg.producer = Producer()
        flood = os.urandom(1 << 20) * 4
        self.leg.write(flood)
        self.turns()
        self.assertFalse(self.leg.isFlushed)
        self.assertEqual(producer.pauses, 1)
        self.assertEqual(self.received(len(flood)), flood)

    def test_theEndOfAConnectionIsNotWaitedFor(self) -> None:
        """Neither by close_notify nor by what is discarded behind it."""
        self.open()
        self.guarded()
        self.leg.loseConnection()
        self.farEnds()
        for _ in range(50):
            self.turn()

    def test_clearTextIsNotWaitedFor(self) -> None:
        """Reading where there is nothing, as after a hang-up that was none."""
        self.open(False)
        self.guarded()
        os.set_blocking(self.copy.fileno(), True)
        self.leg.resumeProducing()
        self.leg.doRead()
        self.assertEqual(self.leg.pendingInput(), b"")
        self.assertEqual(self.speaker.calls, [])


class RecordTests(AloneCase, SynchronousTestCase):
    """
    Records, by their headers.
    """

    inTLS = True

    def test_whatIsNoTLSIsRefusedByItsFirstBytes(self) -> None:
        """Its fifth byte is no size of a record."""
        for said in (b"SSH-2.0-OpenSSH\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff"):
            self.open(False)
            self.startTLS()
            self.far.sock.send(said)
            self.until(lambda: "lost" in self.speaker.calls)
            self.assertIsInstance(self.speaker.error, (ForeignProtocol, TLSFailed), said)

    def test_whatFollowsTheHandshakeAtOnceIsDelivered(self) -> None:
        """Data in the same segment as the last message of a client."""
        self.open(False)
        self.startTLS()
        far = self.far.sock
        tls = self.far.tls = SSL.Connection(self.context)
        tls.set_connect_state()

        def turn() -> bool:
            try:
                tls.do_handshake()
                return True
            except SSL.WantReadError:
                far.send(tls.bio_read(65536))
            self.turn()
            try:
                tls.bio_write(far.recv(65536))
            except BlockingIOError:
                pass
            return False

        while not turn():
            pass
        tls.send(b"a" * 16384)
        tls.send(b"b")
        far.send(tls.bio_read(65536))
        self.leg.resumeProducing()
        self.until(lambda: self.speaker.heard == b"a" * 16384 + b"b")

    def test_severalTicketsInARowHideNothing(self) -> None:
        """Each is a record of its own, or more of them in one."""
        self.open()
        self.leg.resumeProducing()
        for _ in range(20):
            self.far.tls.send(b"x")
        self.until(lambda: self.speaker.heard == b"x" * 20)

    def test_aPartBeforeTheEndIsNoCleanEnd(self) -> None:
        """Though all of its header is there."""
        self.open()
        self.leg.resumeProducing()
        self.far.sock.send(b"\x17\x03\x03\x00\x20abc")
        self.far.truncate()
        self.until(lambda: "lost" in self.speaker.calls)
        self.assertIsInstance(self.speaker.error, Truncated)

    def test_withoutTheBindingItWorksAsWell(self) -> None:
        """By pyOpenSSL's public methods."""
        self.patch(membio, "_isKnown", lambda: False)
        self.patch(sharedwire, "_feed", membio.feeder(sharedwire._ARRIVED))
        self.patch(sharedwire, "_lay", membio.layer(sharedwire._ARRIVED))
        self.patch(sharedwire, "_drain", membio.drainer(sharedwire._LEAVING))
        self.patch(sharedwire, "_left", membio.pending())
        self.open()
        self.leg.resumeProducing()
        for _ in range(3):
            self.far.tls.send(b"y" * 16384)
        self.until(lambda: len(self.speaker.heard) == 3 * 16384)
        self.leg.write(b"z" * 300000)
        self.assertEqual(self.received(300000), b"z" * 300000)

    @given(st.lists(st.integers(1, 70000), min_size=1, max_size=5), st.integers(1, 70000))
    @settings(max_examples=25, deadline=None)
    def test_whateverIsWrittenArrives(self, sizes: list[int], size: int) -> None:
        """In both directions, however it is cut."""
        self.open()
        self.leg.resumeProducing()
        whole = b""
        for each in sizes:
            self.leg.write(os.urandom(each))
            whole += bytes(each)
        self.assertEqual(len(self.received(len(whole))), len(whole))
        data = os.urandom(size)
        view = memoryview(data)
        while view:
            try:
                view = view[self.far.tls.send(view[:16384]) :]
            except (SSL.WantWriteError, SSL.WantReadError):
                self.turn()
        self.until(lambda: self.speaker.heard == data)
        self.leg.abortConnection()
