"""
Tests for what a L{Process} tells its observers, and when.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tlstunnel.program.process import IProcessObserver, Process


class Reactor:
    """
    Runs what it is to call only in a test about that.
    """

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        """
        It does not run.
        """


class Serving(Service):
    """
    A tunnel that is up when the test says so.
    """

    def __init__(self, observer: Observed) -> None:
        self.up: Deferred[None] = Deferred()
        self._observer = observer

    def privilegedStartService(self) -> None:
        """
        Nothing is bound.
        """

    def startService(self) -> None:
        """
        Serve.
        """
        self._observer.told.append("start")

    def stopService(self) -> None:
        """
        Stop.
        """
        self._observer.told.append("stop")

    def whenUp(self) -> Deferred[None]:
        """
        When the test says so.
        """
        return self.up

    def tally(self) -> dict[str, int]:
        """
        One tunnel.
        """
        return {"tunnel": 1, "connection": 0}


@implementer(IProcessObserver)
class Observed:
    """
    Remembers what it is told.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def starting(self) -> None:
        """
        The process starts.
        """
        self.told.append("starting")

    def up(self) -> None:
        """
        It serves.
        """
        self.told.append("up")

    def stopping(self) -> None:
        """
        It stops.
        """
        self.told.append("stopping")


class StatesTests(SynchronousTestCase):
    """
    L{Process.observers}.
    """

    def setUp(self) -> None:
        """
        A process of two tunnels.
        """
        reactor: Any = Reactor()
        self.process = Process(reactor)
        self.observer = Observed()
        self.process.observers.append(self.observer)
        self.tunnels = [Serving(self.observer), Serving(self.observer)]
        for tunnel in self.tunnels:
            self.process.addService(tunnel)

    def test_itIsUpOnceAllTunnelsAre(self) -> None:
        """
        And says that it starts before it does anything that could fail.
        """
        self.process.startService()
        self.tunnels[1].up.callback(None)
        self.assertEqual(self.observer.told, ["starting", "start", "start"])
        self.tunnels[0].up.callback(None)
        self.assertEqual(self.observer.told[3:], ["up"])

    def test_itSaysThatItStops(self) -> None:
        """
        Before anything does.
        """
        self.process.stopService()
        self.assertEqual(self.observer.told, ["stopping", "stop", "stop"])

    def test_itCountsForAllTunnels(self) -> None:
        """
        Also what there is none of.
        """
        self.assertEqual(dict(self.process.tally()), {"tunnel": 2, "connection": 0})
