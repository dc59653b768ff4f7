"""
The process above its tunnels: what there is once, however many tunnels there are.

A L{Process} is the service that the program runs, and twistd: its children serve the tunnels.  It
takes the signals, raises the limit of descriptors, and sets the garbage collector.  Who uses the
tunnels in a process of their own leaves it out, and keeps theirs.
"""

from __future__ import annotations

import gc
import os
import resource
from collections import Counter
from collections.abc import Iterator
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from zope.interface import Interface

from tlstunnel.errors import ConfigurationError
from tlstunnel.program import signals
from tlstunnel.program.unreadable import beUnreadable

#: New objects that the garbage collector lets come together before it looks for circles among
#: them, and rounds between looks at older ones: what connections leave is looked at in large lots.
COLLECTOR_THRESHOLDS = (20000, 50, 50)

#: What the reactor takes when it starts, and a connection.
DESCRIPTORS_TO_SERVE = 4


class IProcessObserver(Interface):
    """
    Is told in which state a process is, as a service manager wants to know.
    """

    def starting() -> None:
        """
        It is going to serve, and will not become another process any more.
        """

    def up() -> None:
        """
        All tunnels are served, by all workers where there are some.
        """

    def stopping() -> None:
        """
        It accepts no more, and ends when its connections have ended.
        """


class Process(MultiService):
    """
    This process; its children provide L{tlstunnel.program.service.ITunnelService}.

    @ivar observers: each an L{IProcessObserver}.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self.reactor = reactor
        self.observers: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.services)

    def privilegedStartService(self) -> None:
        """
        Read keys and bind while we may.

        @raise ConfigurationError: if either fails.
        """
        beUnreadable()
        raiseDescriptorLimit()
        super().privilegedStartService()
        try:
            checkDescriptors()
        except ConfigurationError:
            super().stopService()
            raise

    def startService(self) -> None:
        """
        Serve, once the reactor runs.
        """
        # Once more, as twistd may have become somebody else meanwhile.
        beUnreadable()
        for observer in self.observers:
            observer.starting()
        # Before there is anything that a signal could leave behind, such as workers.
        self.reactor.callWhenRunning(self._begin)
        super().startService()
        DeferredList([service.whenUp() for service in self]).addCallback(self._up)

    def _begin(self) -> None:
        self.takeOrders()
        settleMemory()

    def _up(self, results: object) -> None:
        for observer in self.observers:
            observer.up()

    def tally(self) -> Counter[str]:
        """
        How many there are of what the tunnels count.
        """
        total: Counter[str] = Counter()
        for service in self:
            total.update(service.tally())
        return total

    def takeOrders(self) -> None:
        """
        Do from now on what signals say.
        """
        fromThread = self.reactor.callFromThread
        signals.take(lambda: fromThread(self.stop), lambda: fromThread(self.reload))

    def stop(self) -> None:
        """
        Stop in order; the second time, at once.
        """
        try:
            self.reactor.stop()
        except ReactorNotRunning:
            self.hurry()

    def reload(self) -> None:
        """
        Let each tunnel read again what it needs.
        """
        for service in self:
            # What has become of it is in the log.
            service.reload()

    def hurry(self) -> None:
        """
        Close all connections now.
        """
        for service in self:
            service.hurry()

    def stopService(self) -> Deferred[Any]:
        """
        Stop all tunnels in order.

        @return: fires when all have stopped.
        """
        for observer in self.observers:
            observer.stopping()
        stopped: Deferred[Any] = super().stopService()
        return stopped.addCallback(self._stopped)

    def _stopped(self, results: object) -> None:
        self._log.info("stopped", event="stop")


def settleMemory() -> None:
    """
    What there is now stays for good: the garbage collector need not look at it again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def checkDescriptors() -> None:
    """
    See whether there are as many left as the first connection takes.

    @raise ConfigurationError: there are not.
    """
    found: list[int] = []
    try:
        for _ in range(DESCRIPTORS_TO_SERVE):
            found.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise ConfigurationError(
            "the limit of open files",
            f"is too low to serve a connection ({error.strerror})",
            "raise it (ulimit -n, LimitNOFILE in a unit)",
        ) from None
    finally:
        for each in found:
            os.close(each)


def raiseDescriptorLimit() -> None:
    """
    Allow ourselves as many descriptors as the system allows: a connection needs two.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            Logger().debug("the limit of descriptors stays at {limit}", limit=soft)
