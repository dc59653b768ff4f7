"""
Tests for L{tlstunnel.net.kernel}: what Linux tells of a socket.
"""

from __future__ import annotations

import socket

from tests.net.wires import WireTests
from tlstunnel.net import kernel


class KernelTests(WireTests):
    """
    What Linux tells.
    """

    def test_whatThePeerHasTakenShows(self) -> None:
        """
        Of TCP, and of UNIX sockets, where nothing is on its way.
        """
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
            self.addCleanup(sock.close)
        for ours, theirs in ((self.near, self.far), (near, far)):
            self.assertEqual(kernel.unacknowledged(ours), 0)
            seen = {kernel.acknowledged(ours)}
            self.fill(ours)
            self.assertEqual(kernel.unacknowledged(ours) > 0, ours is self.near)
            seen.add(kernel.acknowledged(ours))
            while kernel.unacknowledged(ours):
                self.drain(theirs)
            self.drain(theirs)
            seen.add(kernel.acknowledged(ours))
            self.assertGreaterEqual(len(seen), 2)

    def fill(self, sock: socket.socket) -> None:
        """
        Send as much as the system takes.
        """
        try:
            while True:
                sock.send(bytes(65536))
        except BlockingIOError:
            pass

    def drain(self, sock: socket.socket) -> None:
        """
        Read what there is.
        """
        try:
            while True:
                sock.recv(65536)
        except BlockingIOError:
            pass

    def test_aConnectionThatIsOverDeliversNothing(self) -> None:
        """
        What its peer has not taken it never will.
        """
        self.fill(self.near)
        kernel.resetOnClose(self.far)
        self.far.close()
        self.assertEqual(kernel.unacknowledged(self.near), 0)

    def test_aClosedSocketTellsNothing(self) -> None:
        """
        Nor does it fail.
        """
        self.near.close()
        self.assertEqual(kernel.acknowledged(self.near), 0)
        self.assertEqual(kernel.unacknowledged(self.near), 0)
        kernel.resetOnClose(self.near)
