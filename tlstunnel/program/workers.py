"""
Several processes for one tunnel: a parent that binds the sockets and hands them down, and workers
that share them.

The parent touches no connection.  A worker that dies is replaced, at once if it had lived for a
while; what waits in the queue of the sockets is served by the others meanwhile.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ReactorNotRunning
from twisted.internet.protocol import ProcessProtocol, Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.net import inherit
from tlstunnel.net.listen import Bound, bindAll
from tlstunnel.program import process as signals
from tlstunnel.tunnel.description import (
    Tunnel,
)
from tlstunnel.tunnel.prepared import Prepared

#: In the environment of a worker: its number.
WORKER = "TLSTUNNEL_WORKER"

#: Seconds that a worker must have lived to be replaced at once, again and again; else only the
#: first time, and later each time.
SETTLED = 5.0
FIRST_DELAY = 0.25
LONGEST_DELAY = 30.0

# The pid is known only to the process itself: the shell becomes the worker and keeps its pid.
_SHELL = ("/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh")


def socketName(index: int) -> str:
    """
    What the sockets of the address number C{index} are called when they are handed down.
    """
    return f"local-{index}"


class Worker(ProcessProtocol):
    """
    One place for a worker, and the process that fills it.
    """

    _log = Logger()

    def __init__(self, service: WorkersService, number: int) -> None:
        self._service = service
        self.number = number
        self.ended: Deferred[None] = Deferred()
        self._delay = 0.0
        self._started = 0.0
        self._stopping = False
        self._pending: Any = None
        self._partial = b""

    def start(self) -> None:
        """
        Start a process.
        """
        self._pending = None
        self._started = self._service.reactor.seconds()
        self._service.spawn(self)

    def stop(self) -> None:
        """
        Ask the process to end in order; the second time, at once.
        """
        self._stopping = True
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
            self.ended.callback(None)
        else:
            self.signal("TERM")

    def signal(self, name: str) -> None:
        """
        Send a signal to the process, if there is one.
        """
        try:
            if self.transport is not None:
                self.transport.signalProcess(name)
        except ProcessExitedAlready:
            pass

    def errReceived(self, data: bytes) -> None:
        """
        Under twistd, what a worker logs goes into the one log.
        """
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._log.info("{line}", line=line.decode("utf-8", "replace"), worker=self.number)

    def processEnded(self, reason: Failure) -> None:
        """
        The process is gone: replace it, unless we are stopping.
        """
        if self._stopping:
            if not reason.check(ProcessDone):
                self._log.error(
                    "worker {worker} ended badly: {reason}",
                    worker=self.number,
                    reason=reason.getErrorMessage(),
                )
            self.ended.callback(None)
            return
        lived = self._service.reactor.seconds() - self._started
        delay = 0.0 if lived >= SETTLED else self._delay
        self._delay = min(LONGEST_DELAY, max(FIRST_DELAY, delay * 2))
        self._log.error(
            "worker {worker} died after {lived:.1f} s, replaced in {delay:g} s: {reason}",
            worker=self.number,
            lived=lived,
            delay=delay,
            reason=reason.getErrorMessage(),
        )
        self._pending = self._service.reactor.callLater(delay, self.start)


class _Parent(Protocol):
    """
    The other end of a worker's standard input: when it ends, the parent is gone.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nobody would restart us, or stop us.
        """
        Logger().error("the parent is gone: stopping")
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            pass


def serveParent(reactor: Any) -> None:
    """
    In a worker: stop when the parent is gone, and leave Ctrl-C, which a terminal sends to both, to
    the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    StandardIO(_Parent(reactor), reactor=reactor)


class WorkersService(Service):
    """
    Runs a tunnel in several processes.
    """

    _log = Logger()

    def __init__(
        self, tunnel: Tunnel, reactor: Any, count: int, words: Sequence[str], ownLog: bool
    ) -> None:
        """
        @param words: the command line, which the workers are given too.
        @param ownLog: let the workers log to our standard error themselves.
        """
        self.tunnel = tunnel
        self.reactor = reactor
        self._words = list(words)
        self._ownLog = ownLog
        self._bound: list[Bound] = []
        self.workers = [Worker(self, number + 1) for number in range(count)]

    def privilegedStartService(self) -> None:
        """
        Check all, and bind while we may.

        @raise ConfigurationError: if either fails.
        """
        if not self._bound:
            Prepared(self.tunnel)
            self._bound = bindAll(self.tunnel.local)

    def startService(self) -> None:
        """
        Start the workers.
        """
        self.privilegedStartService()
        super().startService()
        self.reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        signals.install(self.reactor, self.reload, self.hurry)
        self._log.info("starting {count} workers", count=len(self.workers))
        for worker in self.workers:
            worker.start()

    def spawn(self, worker: Worker) -> None:
        """
        Start the process of C{worker}, with our sockets.
        """
        names = [socketName(each.index) for each in self._bound]
        here = str(Path(__file__).resolve().parents[2])
        path = os.environ.get("PYTHONPATH")
        environment = {
            **os.environ,
            "LISTEN_FDS": str(len(names)),
            "LISTEN_FDNAMES": ":".join(names),
            "PYTHONPATH": os.pathsep.join([here, path] if path else [here]),
            WORKER: str(worker.number),
        }
        handed = {
            inherit.FIRST + number: each.sock.fileno() for number, each in enumerate(self._bound)
        }
        program = [*_SHELL, sys.executable, "-P", "-m", "tlstunnel", *self._words]
        self.reactor.spawnProcess(
            worker,
            program[0],
            program,
            env=environment,
            childFDs={0: "w", 1: 1 if self._ownLog else "r", 2: 2 if self._ownLog else "r"}
            | handed,
        )

    def stopService(self) -> Deferred[Any]:
        """
        Stop the workers in order, and then listening.

        @return: fires when all have ended.
        """
        super().stopService()
        for worker in self.workers:
            worker.stop()
        stopped: Deferred[Any] = DeferredList([worker.ended for worker in self.workers])
        return stopped.addCallback(self._close)

    def _close(self, results: object) -> None:
        for each in self._bound:
            each.close()
        self._bound = []

    def hurry(self) -> None:
        """
        Let the workers close all connections now.
        """
        for worker in self.workers:
            worker.signal("TERM")

    def reload(self) -> None:
        """
        Let the workers read identities and trust again.
        """
        for worker in self.workers:
            worker.signal("HUP")
