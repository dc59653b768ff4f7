"""
Tests for what a fault of ours with one connection of an agent, or in one look, is to the next.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from tests.agent.test_agent import PATIENCE, AgentTestCase, reactor
from tests.loopback import wait
from tlstunnel.address import UNIXAddress
from tlstunnel.agent import admission
from tlstunnel.agent.service import DAY_SECONDS, AgentDescription, AgentService
from tlstunnel.agent.visit import Visit
from tlstunnel.identity.leafrequest import message


def raising(fault: Exception) -> Callable[[Visit], None]:
    """
    What begins with a connection as it should, and fails behind that.
    """
    before = Visit.connectionMade

    def begin(visit: Visit) -> None:
        before(visit)
        raise fault

    return begin


class FaultTests(AgentTestCase):
    """
    L{AgentService}.
    """

    def connect(self) -> socket.socket:
        """
        Say nothing.
        """
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.settimeout(PATIENCE)
        sock.connect(str(self.path))
        return sock

    async def test_whatCannotBeBegunWithGivesItsPlaceBackOnce(self) -> None:
        """
        Whether it has come to a connection or not.
        """
        self.patch(admission, "PER_USER", 2)
        for fault in (OSError(), ZeroDivisionError()):
            with self.subTest(fault=fault):
                self.serve()
                silent = self.connect()
                await wait(lambda: self.agent.tally()["connection"] == 1)
                broken = self.patch(Visit, "connectionMade", raising(fault))
                dropped = await deferToThread(self.connect)
                await deferToThread(self.assertGone, dropped)
                broken.restore()
                await wait(lambda: self.agent.tally()["connection"] == 1)
                other = self.connect()
                await wait(lambda: self.agent.tally()["connection"] == 2)
                heard = await deferToThread(self.exchange, message(b"x"))
                self.assertIn(b"has 2 connections here already", heard)
                silent.close()
                other.close()
                await self.stop()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def assertGone(self, sock: socket.socket) -> None:
        """
        See that a connection is closed.
        """
        try:
            self.assertEqual(sock.recv(1), b"")
        except ConnectionResetError:
            pass

    def test_aLookThatFailsIsNotTheLast(self) -> None:
        """
        The end of the issuer is told the next day.
        """
        clock = Clock()
        clock.advance(reactor.seconds())
        local = UNIXAddress(str(self.base / "agent"))
        agent = AgentService(AgentDescription(self.base / "issuer", local), clock)
        agent.privilegedStartService()
        for port in agent._ports:
            self.patch(port, "startListening", lambda: None)
        agent.startService()
        self.addCleanup(agent.stopService)

        def fail() -> Any:
            raise ZeroDivisionError

        broken = self.patch(agent, "_now", fail)
        self.assertRaises(ZeroDivisionError, clock.advance, DAY_SECONDS)
        broken.restore()
        for _ in range(400):
            clock.advance(DAY_SECONDS)
        self.assertIn("notice", [each.get("event") for each in self.events])
