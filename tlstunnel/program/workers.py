"""
Several processes for the same tunnels: a parent that has the sockets and hands them over, and
workers that share them.

The parent touches no connection.  It gives its orders over a socket, whose end means that it is
gone.  A worker that dies is replaced, at once if it had lived for a while; what waits in the queue
of the sockets is served by the others meanwhile.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel.errors import ConfigurationError
from tlstunnel.poolservice.description import NAME
from tlstunnel.program.child import ANSWER_SECONDS, Child
from tlstunnel.program.log import losses
from tlstunnel.program.orders import FACTS, Order
from tlstunnel.program.output import ascribed
from tlstunnel.program.plan import IServing, Plan, Refusal, Refused
from tlstunnel.program.pulse import Pulse
from tlstunnel.protocols import mysqlkey
from tlstunnel.status.asking import Asker, Gathering
from tlstunnel.status.facts import Gathered, Snapshot
from tlstunnel.status.ledger import Ledger
from tlstunnel.status.snapshot import take
from tlstunnel.status.source import Served
from tlstunnel.tls import openssl
from tlstunnel.tls.attempts import VARIABLE, attempts
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.prepared import Prepared

#: The module that a worker runs.
MODULE = "tlstunnel.commands.worker"


# The descriptors of what tokens have refused, and of the key for passwords, in a worker.
_REFUSED, _PASSWORDS = 3, 4

# What a reload can have come to.
_FOR_ONE_PROCESS = ConfigurationError(
    "",
    "is for one process, which counts what each user has, and this one has workers",
    "restart it without `workers`, or run the pool service by itself: 'tlstunnel pool serve'",
)


class CannotServe(SystemExit, Exception):
    """
    It turned out late that the tunnel cannot be served: twistd, which is told here, ends with one
    line; and its parent hears of it where it has one, as that waits for an C{Exception}.
    """


@implementer(IServing)
class Workers(Service):
    """
    Serves tunnels in several processes.

    @ivar plan: what they serve.
    @ivar ledger: of this process, which has no connections.
    """

    _log = Logger()

    def __init__(self, reactor: Any, count: int, words: Sequence[str], ownLog: bool) -> None:
        """
        @param words: what a worker is told on its command line, about its log.
        @param ownLog: let the workers log to our standard error themselves.
        """
        self.plan = Plan()
        self.reactor = reactor
        self._words = list(words)
        self._ownLog = ownLog
        self._user = os.geteuid()
        self._next: Plan | None = None
        self._preparing: set[Child] = set()
        self._up: Deferred[None] = Deferred()
        self._pulse: Pulse | None = None
        self.workers = [Child(self, number + 1) for number in range(count)]
        self.ledger = Ledger(reactor)
        askers = {each.number: Asker(partial(_look, each)) for each in self.workers}
        self._gathering = Gathering(reactor, lambda: take(self.ledger, self), askers)

    # A new state

    def prepareNow(self, plan: Plan) -> None:
        """
        See L{IServing.prepareNow}: what a worker could not do would be tried for ever.
        """
        _check(plan)
        self._next = plan

    def prepare(self, plan: Plan) -> Deferred[None]:
        """
        See L{IServing.prepare}: those that live get ready, others will be started with what there
        is then.
        """
        self._next = plan
        self._preparing = {worker for worker in self.workers if worker.isAlive}
        return Deferred.fromCoroutine(self._prepare(plan))

    async def _prepare(self, plan: Plan) -> None:
        _tunnelsOf(plan)
        if not self._preparing:
            raise ConfigurationError("workers", "are not there to try it", "see the log for why")
        ready = gatherResults([each.prepare(plan) for each in self._preparing], consumeErrors=True)
        ready.addTimeout(ANSWER_SECONDS, self.reactor, _tookTooLong)
        try:
            answers: list[list[Refusal]] = await ready
        except FirstError as error:
            error.subFailure.raiseException()
        refusals = dict.fromkeys(
            (name, error.args) for refusals in answers for name, error in refusals
        )
        if refusals:
            raise Refused((name, ConfigurationError(*args)) for name, args in refusals)

    def commit(self) -> Deferred[Any]:
        """
        See L{IServing.commit}: one that does not answer in time is replaced.
        """
        assert self._next is not None
        before, self.plan, self._next = self.plan, self._next, None
        for bound in before.bound - self.plan.bound:
            # Each of them accepts what waits there, and the last one closes it.
            bound.giveUp()
        preparing, self._preparing = self._preparing, set()
        for worker in self.workers:
            if worker.isAlive and worker not in preparing:
                worker.serve(self.plan)
        return DeferredList([each.commit(self.plan) for each in preparing])

    def abort(self) -> None:
        """
        See L{IServing.abort}.
        """
        self._next = None
        preparing, self._preparing = self._preparing, set()
        for worker in preparing:
            worker.abort()

    def heed(self) -> None:
        """
        See L{IServing.heed}.
        """
        for worker in self.workers:
            worker.tell(Order.HEED)

    def isGone(self, child: Child) -> None:
        """
        The process of C{child} has ended.
        """
        self._preparing.discard(child)

    # Serving

    def startService(self) -> None:
        """
        Start the workers.

        @raise CannotServe: if they could not read the keys, as we are somebody else by now.
        """
        if os.geteuid() != self._user:
            try:
                _check(self.plan)
            except Refused as refused:
                raise CannotServe(ascribed(str(refused))) from None
        super().startService()
        self.reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        if not self.running:
            return
        self._log.info("starting {count} workers", event="workers", count=len(self.workers))
        for worker in self.workers:
            worker.start()
        if self._pulse is not None:
            self._pulse.start()

    def watch(self, limit: float) -> None:
        """
        Ask the workers from time to time how they are; to be called before they are started.

        @param limit: see L{Pulse}.
        """
        self._pulse = Pulse(self.reactor, self.workers, limit)

    def spawn(self, child: Child, sock: socket.socket) -> None:
        """
        Start the process of C{child}.

        @param sock: where it takes its orders.
        @raise OSError: the system does not let us.
        """
        here = str(Path(__file__).resolve().parents[2])
        path = os.environ.get("PYTHONPATH")
        places = os.pathsep.join([here, path] if path else [here])
        output: Any = {1: 1, 2: 2} if self._ownLog else {1: "r", 2: "r"}
        shared: dict[str, str] = {}
        descriptors: dict[int, int] = {}
        if openssl.keyProvider() is not None:
            # What a token has refused to one of us is not tried by the others.
            shared, descriptors = {VARIABLE: str(_REFUSED)}, {_REFUSED: attempts.descriptor}
        with suppress(OSError):  # as there are systems without, where each worker has its own
            descriptors[_PASSWORDS] = mysqlkey.common.descriptor
            shared[mysqlkey.VARIABLE] = str(_PASSWORDS)
        self.reactor.spawnProcess(
            child,
            sys.executable,
            [sys.executable, "-P", "-m", MODULE, str(child.number), *self._words],
            env={**os.environ, "PYTHONPATH": places, **openssl.environmentOfWorkers(), **shared},
            childFDs={0: sock.fileno(), **output, **descriptors},
        )

    def isUp(self, child: Child) -> None:
        """
        C{child} serves.
        """
        if not self._up.called and all(worker.isServing for worker in self.workers):
            self._up.callback(None)

    def whenUp(self) -> Deferred[None]:
        """
        See L{IServing.whenUp}: all of them do.
        """
        return self._up

    def tally(self) -> Mapping[str, int]:
        """
        See L{IServing.tally}.
        """
        alive = sum(worker.isAlive for worker in self.workers)
        known = {} if self._pulse is None else {"connection": self._pulse.connections}
        return Counter(tunnel=len(self.plan.services), **known, worker=alive)

    def served(self) -> tuple[Served, ...]:
        """
        See L{tlstunnel.status.source.Source.served}: nothing here.
        """
        return ()

    def dropped(self) -> int:
        """
        See L{tlstunnel.status.source.Source.dropped}.
        """
        return losses.lines

    def gather(self) -> Deferred[Gathered]:
        """
        See L{IServing.gather}.
        """
        return self._gathering.gather()

    def stopService(self) -> Deferred[Any]:
        """
        Let the workers stop in order.

        @return: fires when all have ended.
        """
        super().stopService()
        return DeferredList([worker.stop() for worker in self.workers])

    def hurry(self) -> None:
        """
        Let the workers close all connections now.
        """
        for worker in self.workers:
            worker.hurry()


def _look(worker: Child) -> Deferred[Snapshot]:
    """
    Ask C{worker} how it is.
    """
    return worker.ask(Order.LOOK).addCallback(lambda answer: json.loads(answer[FACTS]))


def _check(plan: Plan) -> None:
    """
    See that the tunnels of C{plan} have what they need.

    @raise Refused: some do not.
    """
    refusals: list[Refusal] = []
    for tunnel in _tunnelsOf(plan):
        try:
            Prepared(tunnel).open()
        except ConfigurationError as error:
            refusals.append((tunnel.name, error))
    if refusals:
        raise Refused(refusals)


def _tunnelsOf(plan: Plan) -> list[Tunnel]:
    """
    The tunnels of C{plan}.

    @raise Refused: there is something else, which workers do not serve.
    """
    every = [each.described for each in plan.services]
    tunnels = [each for each in every if isinstance(each, Tunnel)]
    if len(tunnels) < len(every):
        raise Refused([(NAME, _FOR_ONE_PROCESS)])
    return tunnels


def _tookTooLong(result: object, seconds: float) -> None:
    raise ConfigurationError(
        "workers", f"were not ready within {seconds:g} s", "see the log for why, and try again"
    )
