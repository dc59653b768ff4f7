"""
Tests for what a fault of ours with one tunnel is to the others, in L{tlstunnel.program.tunnels}.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.net.listen import Bound
from tlstunnel.program.tunnels import Tunnels


class Service:
    """
    What serves one of them, and can do nothing right.
    """

    def __init__(self, done: list[str], name: str, isBroken: bool) -> None:
        self._done = done
        self._name = name
        self._isBroken = isBroken
        self.drained: Deferred[None] = Deferred()

    def _do(self) -> None:
        if self._isBroken:
            raise ZeroDivisionError
        self._done.append(self._name)

    accept = abandon = letGo = lambda self: None
    announce = warn = _do

    def acceptLast(self, kept: Container[Bound]) -> None:
        """
        Nobody waits.
        """

    def heed(self) -> Iterator[None]:
        """
        Half of it is done before.
        """
        yield
        self._do()

    def stopService(self) -> Deferred[None]:
        """
        At once.
        """
        self._do()
        return succeed(None)

    hurry = _do

    def drain(self, seconds: float) -> Deferred[None]:
        """
        It ends when it is told to.
        """
        return self.drained


class FaultTests(SynchronousTestCase):
    """
    Three tunnels, of which the second is broken.
    """

    def setUp(self) -> None:
        """
        They are up, and nothing has been said of them.
        """
        self.reactor: Any = MemoryReactorClock()
        self.tunnels = Tunnels(self.reactor)
        self.done: list[str] = []
        for name in "abc":
            service: Any = Service(self.done, name, name == "b")
            self.tunnels.services[name] = service
        self.tunnels.startService()

    def test_theOthersAreAnnounced(self) -> None:
        """
        All of them, in order.
        """
        for begin, _, _ in self.reactor.whenRunningHooks:
            begin()
        self.reactor.pump([0.1] * 10)
        self.assertEqual(self.done, ["a", "c"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_whoIsWithdrawnIsNotServedByTheOthers(self) -> None:
        """
        Now, and not only with the next withdrawal.
        """
        self.tunnels.heed()
        self.reactor.pump([0.1] * 10)
        self.assertEqual(self.done, ["a", "c"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_oneThatDoesNotDrainInOrderIsGoneAllTheSame(self) -> None:
        """
        Else it would be counted, and asked for its connections, for ever.
        """
        service: Any = self.tunnels.services.pop("a")
        self.tunnels._drain(service, frozenset())
        self.assertIn(service, self.tunnels.served())
        service.drained.errback(ZeroDivisionError())
        self.assertNotIn(service, self.tunnels.served())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_theOthersStop(self) -> None:
        """
        And the program ends.
        """
        stopped = self.tunnels.stopService()
        self.assertEqual(self.done, ["a", "c"])
        self.successResultOf(stopped)
        self.tunnels.hurry()
        self.assertEqual(self.done, ["a", "c"] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_aNewStateIsServedWhereAnOldTunnelCannotEnd(self) -> None:
        """
        As if it had ended.
        """
        service: Any = self.tunnels.services.pop("b")
        self.patch(service, "drain", lambda seconds: service._do())
        self.tunnels._drain(service, ())
        self.assertNotIn(service, self.tunnels.served())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
