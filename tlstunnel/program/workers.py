"""
Several processes for one tunnel: a parent that binds the sockets and hands them down, and workers
that share them.

The parent touches no connection.  It gives its orders through the standard input of the workers,
whose end means that it is gone.  A worker that dies is replaced, at once if it had lived for a
while; what waits in the queue of the sockets is served by the others meanwhile.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet import fdesc
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import (
    ConnectionDone,
    ProcessDone,
    ProcessExitedAlready,
    ProcessTerminated,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import InheritedAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net import inherit
from tlstunnel.net.listen import Bound, bindAll
from tlstunnel.program import signals
from tlstunnel.program.commandline import TunnelOptions
from tlstunnel.program.lookups import abandonAtEnd, checkRemote, named
from tlstunnel.program.process import Process
from tlstunnel.program.service import ITunnelService, TunnelService
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.prepared import Prepared

#: In the environment of a worker: its number.
WORKER = "TLSTUNNEL_WORKER"

#: A worker that lived this many seconds is replaced at once.
STEADY_SECONDS = 5.0

#: Seconds before one that did not is replaced, from the second time on; each time twice as many.
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 30.0

#: What the parent says, a byte each: stop in order, close all connections now, reload.
STOP, HURRY, RELOAD = b"s", b"h", b"r"


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
        self._isAlive = False
        self._delay = 0.0
        self._started = 0.0
        self._pending: Any = None
        self._stopped: Deferred[None] | None = None
        self._partial = b""

    def start(self) -> None:
        """
        Start a process.
        """
        self._pending = self._stopped = None
        self._started = self._service.reactor.seconds()
        try:
            self._service.spawn(self)
        except OSError as error:
            self._replace(f"it cannot be started: {error.strerror}")
        else:
            self._isAlive = True

    def tell(self, order: bytes) -> None:
        """
        Give the process an order, if there is one.
        """
        if self._isAlive:
            assert self.transport is not None
            self.transport.write(order)

    def stop(self) -> Deferred[None]:
        """
        Let the process end in order.

        @return: fires when there is none any more.
        """
        self._stopped = Deferred()
        if self._isAlive:
            self.tell(STOP)
            self._interrupt()
        else:
            if self._pending is not None:
                self._pending.cancel()
                self._pending = None
            self._stopped.callback(None)
        return self._stopped

    def _interrupt(self) -> None:
        """
        End the process at once if it does not serve yet; after that this means nothing to it.
        """
        assert self.transport is not None
        try:
            self.transport.signalProcess("TERM")
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
        self._isAlive = False
        if self._stopped is None:
            self._replace(reason.getErrorMessage(), isOrderly(reason.value))
            return
        if not isOrderly(reason.value):
            self._log.error(
                "worker {worker} ended badly: {detail}",
                event="worker",
                worker=self.number,
                detail=reason.getErrorMessage(),
            )
        self._stopped.callback(None)

    def _replace(self, why: str, wasOrderly: bool = False) -> None:
        lived = self._service.reactor.seconds() - self._started
        delay = 0.0 if lived >= STEADY_SECONDS else self._delay
        self._delay = min(LONGEST_DELAY_SECONDS, max(FIRST_DELAY_SECONDS, delay * 2))
        self._log.emit(
            LogLevel.info if wasOrderly else LogLevel.error,
            "worker {worker} ended after {lived:.1f} s, replaced in {delay:g} s: {detail}",
            event="worker",
            worker=self.number,
            lived=lived,
            delay=delay,
            detail=why,
        )
        self._pending = self._service.reactor.callLater(delay, self.start)


def isOrderly(ended: BaseException | None) -> bool:
    """
    Whether a worker ended as it was told: with status 0, or by a signal to all of us that reached
    it before it could take it.
    """
    isKilled = isinstance(ended, ProcessTerminated) and ended.signal in signals.ENDING
    return isinstance(ended, ProcessDone) or isKilled


class CannotServe(SystemExit, Exception):
    """
    It turned out late that the tunnel cannot be served: twistd, which is told here, ends with one
    line; and its parent hears of it where it has one, as that waits for an C{Exception}.
    """


@implementer(ITunnelService)
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
        self._user = os.geteuid()
        self._bound: list[Bound] = []
        self.workers = [Worker(self, number + 1) for number in range(count)]

    def privilegedStartService(self) -> None:
        """
        Check all, and bind while we may.

        @raise ConfigurationError: if either fails.
        """
        if not self._bound:
            Prepared(self.tunnel)
            self._bound = bindAll(self.tunnel.local, self.tunnel.access)

    def startService(self) -> None:
        """
        Start the workers.

        @raise CannotServe: if they could not read the keys, as we are somebody else by now.
        """
        self.privilegedStartService()
        if os.geteuid() != self._user:
            try:
                Prepared(self.tunnel)
            except ConfigurationError as error:
                raise CannotServe(f"tlstunnel: {error}") from None
        super().startService()
        self.reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        if not self.running:
            return
        self._log.info("starting {count} workers", event="workers", count=len(self.workers))
        for worker in self.workers:
            worker.start()

    def spawn(self, worker: Worker) -> None:
        """
        Start the process of C{worker}, with our sockets.

        @raise OSError: the system does not let us.
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
            inherit.FIRST_DESCRIPTOR + number: each.sock.fileno()
            for number, each in enumerate(self._bound)
        }
        self.reactor.spawnProcess(
            worker,
            sys.executable,
            [sys.executable, "-P", "-m", "tlstunnel", *self._words],
            env=environment,
            childFDs={0: "w", 1: 1 if self._ownLog else "r", 2: 2 if self._ownLog else "r"}
            | handed,
        )

    def stopService(self) -> Deferred[Any]:
        """
        Stop listening, and let the workers stop in order.

        @return: fires when all have ended.
        """
        super().stopService()
        for each in self._bound:
            each.close()
        self._bound = []
        return DeferredList([worker.stop() for worker in self.workers])

    def hurry(self) -> None:
        """
        Let the workers close all connections now.
        """
        for worker in self.workers:
            worker.tell(HURRY)

    def reload(self) -> None:
        """
        Let the workers read identities and trust again.
        """
        for worker in self.workers:
            worker.tell(RELOAD)


class WorkerProcess(Process):
    """
    A worker: it does what its parent says.
    """

    def takeOrders(self) -> None:
        """
        Listen to the parent.
        """
        signals.ignore()
        _Orders(self).startReading()


class _Orders(FileDescriptor):
    """
    The other end of what the parent writes to: our standard input.
    """

    _log = Logger()

    def __init__(self, process: WorkerProcess) -> None:
        super().__init__(process.reactor)
        self._process = process
        self._actions = {STOP: process.stop, HURRY: process.hurry, RELOAD: process.reload}
        fdesc.setNonBlocking(self.fileno())

    def fileno(self) -> int:
        """
        Standard input.
        """
        return 0

    def doRead(self) -> Exception | None:
        """
        There are orders, or there will be no more.
        """
        ended: Exception | None = fdesc.readFromFD(self.fileno(), self._obey)
        return ended

    def connectionLost(self, reason: Failure) -> None:
        """
        The parent is gone: nobody would replace us, or stop us.  Or the reactor is stopping.
        """
        if reason.check(ConnectionDone):
            self._log.error("the parent is gone: stopping")
            self._process.stop()

    def _obey(self, orders: bytes) -> None:
        for number in range(len(orders)):
            self._actions[orders[number : number + 1]]()


def makeProcess(options: TunnelOptions, reactor: Any, ownLog: bool) -> Process:
    """
    The process that runs the tunnel of C{options}: by itself, with workers, or as one of these.

    @param ownLog: whether workers log to standard error themselves.
    @raise ConfigurationError: if a name does not resolve; looking it up may take its time, so the
        reactor may not run yet.
    """
    tunnel: Tunnel = options["tunnel"]
    # Under twistd there is no such option.
    isVerbose = options.get("verbose", False)
    abandonAtEnd(reactor)
    if WORKER in os.environ:
        # Who handed the sockets down could not know our number.
        os.environ["LISTEN_PID"] = str(os.getpid())
        handed = [InheritedAddress(socketName(index)) for index in range(len(tunnel.local))]
        process: Process = WorkerProcess(reactor)
        tunnel = named(replace(tunnel, local=tuple(handed)))
        process.addService(TunnelService(tunnel, reactor, isVerbose))
        return process
    process = Process(reactor)
    checkRemote(tunnel)
    if options["workers"] > 1:
        count = options["workers"]
        process.addService(WorkersService(tunnel, reactor, count, options.words, ownLog))
    else:
        process.addService(TunnelService(named(tunnel), reactor, isVerbose))
    return process
