"""
Tests for L{tlstunnel.net.unixsocket}: descriptors that nobody wants hold up nobody.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.poolservice.test_descriptors import evil
from tlstunnel.net import unixsocket
from tlstunnel.net.kernel import unread
from tlstunnel.net.unixsocket import UNIXSocket, closeEach

#: Fewer seconds than any wait takes.
SOON = 2.0


class UNIXSocketTests(SynchronousTestCase):
    """
    The other end sends descriptors along.
    """

    def setUp(self) -> None:
        """
        A pair, as older systems have it, which let everybody send descriptors.
        """
        self.patch(unixsocket, "_SO_PASSRIGHTS", -1)
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.near = UNIXSocket.of(near)
        self.sent, peer = evil()
        self.addCleanup(self.join)
        self.addCleanup(peer.close)
        # So that no thread waits at the end of the test.
        self.addCleanup(
            peer.setsockopt, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.addCleanup(self._closeFar)
        self.began = time.monotonic()

    def _closeFar(self) -> None:
        # Another one may have taken its place.
        self.far.close()

    def join(self) -> None:
        """
        Wait for what is being closed.
        """
        for each in threading.enumerate():
            if each.name == "tlstunnel-close":
                each.join()

    def send(self, data: bytes = b"x") -> None:
        """
        Send data, and the socket that waits, which nobody else has then.
        """
        socket.send_fds(self.far, [data], [self.sent.fileno()])
        self.sent.close()

    def assertSoon(self) -> None:
        """
        Nothing has waited.
        """
        self.assertLess(time.monotonic() - self.began, SOON)

    def test_itReadsWhatComesAlone(self) -> None:
        self.sent.close()
        self.far.send(b"hello")
        buffer = memoryview(bytearray(10))
        self.assertEqual(self.near.recv_into(buffer, 2), 2)
        self.assertEqual(self.near.recv_into(buffer[2:], 8, socket.MSG_PEEK), 3)
        self.assertEqual(self.near.recv_into(buffer[2:]), 3)
        self.assertEqual(bytes(buffer[:5]), b"hello")
        self.assertRaises(BlockingIOError, self.near.recv_into, buffer)
        self.near.close()
        self.assertEqual(self.far.recv(1), b"")

    def test_whoSendsDescriptorsIsNotReadFrom(self) -> None:
        """
        And nobody waits for these to be closed.
        """
        self.send()
        self.assertRaises(OSError, self.near.recv_into, bytearray(10))
        self.assertSoon()
        self.near.close()

    def test_whatIsUnreadIsClosedInAThread(self) -> None:
        self.send()
        self.near.close()
        self.assertSoon()
        self.assertEqual(self.near.fileno(), -1)
        self.near.close()

    def test_messagesThatAreUnreadAreClosedSo(self) -> None:
        """
        Also one that has no bytes.
        """
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.far.close()
        self.far = far
        self.near.close()
        self.near = UNIXSocket.of(near)
        self.send(b"")
        self.assertEqual(unread(self.near), 0)
        self.near.close()
        self.assertSoon()

    def test_theirsAreClosedWithoutWaiting(self) -> None:
        closeEach([self.sent.detach()])
        self.assertSoon()
        self.near.close()


class RefusingTests(SynchronousTestCase):
    """
    Newer systems tell the other end that it may send none.
    """

    def test_whoSendsDescriptorsIsToldSo(self) -> None:
        near, far = socket.socketpair()
        with UNIXSocket.of(near) as ours, far:
            try:
                ours.getsockopt(socket.SOL_SOCKET, unixsocket._SO_PASSRIGHTS)
            except OSError:
                self.skipTest("this system lets everybody send them")
            self.assertRaises(PermissionError, socket.send_fds, far, [b"x"], [far.fileno()])
