"""
Tests for what a program of the pool takes that fails by a fault of ours, or of the system: nothing.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from tests.poolservice.stage import HandOverTests, Program
from tests.poolservice.v2stage import HandOversDouble, V2Tests
from tlstunnel.address import UNIXAddress
from tlstunnel.errors import TunnelError
from tlstunnel.local.quotas import Quotas
from tlstunnel.poolservice.native import NativePrograms
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.pair import Pair


def refuse(*arguments: object) -> Any:
    """
    The system has no room.
    """
    raise OSError(errno.ENOSPC, "no room")


class ProgramTests(V2Tests):
    """
    Programs that connect while no more connections can be watched.
    """

    perUser = 2

    def test_whatCannotBeWatchedTakesNothingOfItsUser(self) -> None:
        """
        Nor of those beyond the limit, who wait to be told that they have too much.
        """
        for expected in 2, 3:
            broken = self.patch(self.reactor, "addReader", refuse)
            self.assertRaises(OSError, self.connect)
            broken.restore()
            self.connect()
            self.assertEqual(len(self.port.programs), expected)
        self.assertEqual(len(self.port._turnedAway), 1)
        for each in tuple(self.port.programs):
            each.close()
        self.assertEqual(len(self.port._turnedAway), 0)

    def test_norDoesOneThatSpeaksThePoolsOwnProtocol(self) -> None:
        """
        Its connection is closed.
        """
        handOvers: Any = HandOversDouble(self.reactor)
        programs = NativePrograms(handOvers, Quotas(1))
        theirs, ours = self.pair(socket.SOCK_SEQPACKET)
        self.open.remove(ours)
        broken = self.patch(self.reactor, "addReader", refuse)
        self.assertRaises(OSError, programs.accepted, ours, UNIXAddress(""))
        broken.restore()
        self.reactor.settle()
        self.assertEqual(theirs.recv(1), b"")
        self.assertEqual((programs.open, len(programs.quotas)), (set(), 0))
        handOvers.deadlines.clear()


class BeginningTests(HandOverTests):
    """
    Connections that are handed over.
    """

    async def test_whatCannotBeBegunWithIsOver(self) -> None:
        """
        Whether all was there for it, or had to be read before.
        """

        def fail(pair: Pair) -> None:
            raise ZeroDivisionError

        self.patch(Pair, "start", fail)
        self.handOvers.admission.renew(Limits(connections=1))
        for isClient in (True, False):
            program = Program(self.handOvers)
            sock, _ = self.pair()
            self.handOvers.begin(program, self.wanted(isClient), sock)
            self.assertIs(type(await program.over), TunnelError)
            self.assertFalse(self.handOvers.admission.isFull)
            self.assertEqual(self.handOvers.connections, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
