"""
Tests for L{tlstunnel.poolservice.unheard}.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.poolservice.test_descriptors import eventually, evil
from tests.poolservice.v2stage import V2Tests
from tlstunnel.address import UNIXAddress
from tlstunnel.local.quotas import Quotas
from tlstunnel.poolservice import native, unheard, v2port
from tlstunnel.poolservice.native import NativePrograms
from tlstunnel.poolservice.unheard import Unheard

SOON = 2.0

KINDS = (socket.SOCK_SEQPACKET, socket.SOCK_STREAM)


def _let(peer: socket.socket) -> None:
    """
    Let closing the other end come about, as no thread is to stay.
    """
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def _closers() -> int:
    return sum(each.name == "tlstunnel-close" for each in threading.enumerate())


class UnheardTests(SynchronousTestCase):
    """
    With both kinds of sockets.
    """

    def pair(self, kind: int) -> tuple[socket.socket, socket.socket]:
        """
        Ours, and that of a program.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        ours.setblocking(False)
        theirs.settimeout(SOON)
        self.addCleanup(theirs.close)
        return ours, theirs

    def test_whatHoldsNoDescriptorIsClosedAtOnce(self) -> None:
        """
        Without a thread, and without a reset; an empty message is none of the end.
        """
        for kind in KINDS:
            for said in ((), (b"hello\n",), (b"", b"x" * 2_000, b"y")):
                ours, theirs = self.pair(kind)
                for each in said:
                    theirs.send(each)
                with mock.patch.object(unheard, "aside") as aside:
                    Unheard().close(ours, 1)
                aside.assert_not_called()
                self.assertEqual(ours.fileno(), -1)
                self.assertEqual(theirs.recv(1), b"")

    def test_thoseOfOneUserTakeOneThread(self) -> None:
        """
        Wherever in what they have said their descriptors are; nobody waits, and all are closed in
        the end.  Others have a thread of their own.
        """
        for kind in KINDS:
            before = _closers()
            several = Unheard()
            peers, programs = [], []
            for said in ((), (b"hello\n",), (b"", b"hello\n"), (b"x",) * 8):
                for uid in (1, 2):
                    ours, theirs = self.pair(kind)
                    for words in said:
                        theirs.send(words)
                    sock, peer = evil()
                    socket.send_fds(theirs, [b"x"], [sock.fileno()])
                    sock.close()
                    peers.append(peer)
                    programs.append(theirs)
                    began = time.monotonic()
                    several.close(ours, uid)
                    self.assertLess(time.monotonic() - began, SOON)
            self.assertLessEqual(_closers() - before, 2)
            for each in peers:
                _let(each)
            self.assertTrue(eventually(lambda: _closers() == before))  # noqa: B023
            self.assertEqual(several._waiting, {})

    def test_whoComesAgainIsClosedAgain(self) -> None:
        """
        Also when the thread for others of that user has ended.
        """
        several = Unheard()
        for _ in range(3):
            ours, theirs = self.pair(socket.SOCK_SEQPACKET)
            sock, peer = evil()
            socket.send_fds(theirs, [b"x"], [sock.fileno()])
            sock.close()
            several.close(ours, 1)
            _let(peer)
            self.assertTrue(eventually(lambda: not several._waiting))
            self.assertEqual(ours.fileno(), -1)


class UncountedTests(V2Tests):
    """
    Where programs connect, beyond what one user may have and those that are told so.
    """

    def test_whoIsNotToldTakesNoThreadOfItsOwn(self) -> None:
        """
        Nor the time of the reactor: with our own protocol, and with that of the TLS Pool.
        """
        own: Any = NativePrograms(self.handOvers, Quotas(1))  # type: ignore[arg-type]
        own.quotas.enter(os.geteuid())
        own._turnedAway = set(range(native.TURNED_AWAY))
        self.port.quotas.perUser = 1
        for _ in range(v2port.MOST_TURNED_AWAY):
            self.port._turnedAway.enter(os.geteuid())
        for door, kind in ((own, socket.SOCK_SEQPACKET), (self.port, socket.SOCK_STREAM)):
            before = _closers()
            peers, programs = [], []
            for _ in range(5):
                ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
                ours.setblocking(False)
                sock, peer = evil()
                socket.send_fds(theirs, [b"x"], [sock.fileno()])
                sock.close()
                peers.append(peer)
                programs.append(theirs)
                began = time.monotonic()
                door.accepted(ours, UNIXAddress(""))
                self.assertLess(time.monotonic() - began, SOON)
            self.assertLessEqual(_closers() - before, 1)
            for each in (*peers, *programs):
                _let(each)
            self.assertTrue(eventually(lambda: _closers() == before))  # noqa: B023
