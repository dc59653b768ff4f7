"""
Keeps the certificates of a tunnel fresh that an agent gives it: asks for others at about half of
their time, and lets new connections have them; those there are keep what they began with.

Where the agent is away, what there is goes on to be shown until it ends, and the agent is asked
again and again.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from tlstunnel.errors import ConfigurationError, asLongOption
from tlstunnel.identity.lease import LEASES, Lease, Leases, Refusal, refused
from tlstunnel.program.leasequestion import Ask, Asking, renewed
from tlstunnel.program.problems import asKey
from tlstunnel.tunnel.prepared import Prepared

#: Seconds until an agent is asked again that gave nothing, at first and at most.
RETRY_SECONDS = 1.0
MOST_RETRY_SECONDS = 30.0

#: Certificates that end at about the same time are renewed together: within this part of the time
#: that is left of them.
TOGETHER = 0.2

#: But no more of them than that, or than this part of all there are: what was given first is not to
#: wait long until it is used.
MOST_TOGETHER = 100
MOST_OF_ALL = 0.25

#: Questions to agents at the same time: each takes some turns of the reactor, which are long where
#: there is much to do.
AT_ONCE = 4

#: Seconds of one turn in which contexts are made.
TURN_SECONDS = 0.002


class Renewal:
    """
    Does it for one tunnel.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        use: Callable[[Prepared], None],
        leases: Leases = LEASES,
        ask: Ask | None = None,
    ) -> None:
        """
        @param use: lets new connections be made with what is given to it.
        @param leases: those of the process.
        @param ask: asks an agent; by default over its socket.
        """
        self._reactor = reactor
        self._use = use
        self._leases = leases
        self._asking = Asking(reactor)
        self._ask = ask or self._asking
        self._prepared: Prepared | None = None
        self._running: Deferred[None] | None = None
        self._isRunning = False
        self._isFailing = False

    def follow(self, prepared: Prepared) -> None:
        """
        Keep the certificates of C{prepared} fresh from now on, and no others.
        """
        self._prepared = prepared
        if self._isRunning:
            self._rest()
            self.start()

    def start(self) -> None:
        """
        Ask from now on.
        """
        if self._isRunning:
            return
        self._isRunning = True
        if self._prepared is not None and self._prepared.leases:
            self._running = Deferred.fromCoroutine(self._keep())
            self._running.addErrback(lambda failure: failure.trap(CancelledError) and None)
            self._running.addErrback(lambda failure: self._log.failure("renewal failed", failure))

    def stop(self) -> None:
        """
        Ask no more.
        """
        self._rest()
        self._asking.close()

    def _rest(self) -> None:
        self._isRunning = False
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    async def _keep(self) -> None:
        retry = RETRY_SECONDS
        while True:
            assert self._prepared is not None
            due = min(each.due for each in self._prepared.leases)
            wait = due - self._reactor.seconds()
            if wait > 0:
                await self._pause(wait)
            try:
                isDone = await self._round(self._prepared)
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - the last ones stay, and the next try may be better
                self._log.failure("renewal failed")
                isDone = False
            if isDone:
                retry = RETRY_SECONDS
            else:
                await self._pause(retry * random.uniform(0.8, 1.2))  # noqa: S311
                retry = min(2 * retry, MOST_RETRY_SECONDS)

    async def _round(self, prepared: Prepared) -> bool:
        """
        Ask for all that are due, and use what was given.

        @return: whether there is nothing more to be asked for now.
        """
        now = self._reactor.seconds()
        leases = prepared.leases
        due = sorted((each for each in leases if _isDue(each, now)), key=lambda each: each.until)
        most = max(MOST_TOGETHER, int(MOST_OF_ALL * len(leases)))
        isDone = True
        for first in range(0, len(due), most):
            given, refusals = await self._given(due[first : first + most])
            isDone = isDone and not refusals
            try:
                if given:
                    prepared = await self._remade(prepared)
                    self._prepared = prepared
                    self._use(prepared)
            except ConfigurationError as error:
                self._say(error)
                return False
            if not all(each.isAnswer for each in refusals):
                break
        if isDone and self._isFailing:
            self._isFailing = False
            self._tell(self._log.info, "the agent gives certificates again")
        return isDone

    async def _remade(self, prepared: Prepared) -> Prepared:
        fresh = prepared.renewed()
        began = self._reactor.seconds()
        for _ in fresh.steps():
            if not 0 <= self._reactor.seconds() - began < TURN_SECONDS:
                await self._pause(0)
                began = self._reactor.seconds()
        return fresh

    async def _given(self, due: Sequence[Lease]) -> tuple[list[Lease], list[Refusal]]:
        """
        Ask for others.

        @return: what is there, by this or by another tunnel, and why some have no successor.
        """
        given: list[Lease] = []
        refusals: list[Refusal] = []
        waiting = deque(due)
        silent: Refusal | None = None

        async def askForEach() -> None:
            nonlocal silent
            while waiting:
                lease = waiting.popleft()
                try:
                    given.append(await self._next(lease, silent))
                except Refusal as refusal:
                    refusals.append(refusal)
                    if refusal.isAnswer or silent is None:
                        self._warn(lease, refusal)
                    if not refusal.isAnswer:
                        silent = refusal

        several = [Deferred.fromCoroutine(askForEach()) for _ in range(min(AT_ONCE, len(due)))]
        for _, problem in await DeferredList(several, consumeErrors=True):
            if problem is not None:
                problem.raiseException()
        return given, refusals

    async def _next(self, lease: Lease, silent: Refusal | None) -> Lease:
        known = self._leases.known(lease.agent, lease.identity)
        if known is not None and known is not lease and known.until > lease.until:
            return known
        if silent is not None:
            raise silent
        return await renewed(self._reactor, self._ask, self._leases, lease.agent, lease.identity)

    def _warn(self, lease: Lease, refusal: Refusal) -> None:
        self._isFailing = True
        end = datetime.fromtimestamp(lease.until, UTC)
        left = (
            f"the last one is good until {end:%H:%M:%S} UTC"
            if self._reactor.seconds() < lease.until
            else f"the last one has ended at {end:%H:%M:%S} UTC, and new connections are refused"
        )
        self._say(refused(lease.agent, lease.identity, refusal), left)

    def _say(self, error: ConfigurationError, left: str = "the last one stays") -> None:
        assert self._prepared is not None
        mention = asKey if self._prepared.tunnel.name else asLongOption
        self._tell(self._log.warn, f"{error.inWords(mention)}; {left}")

    def _tell(self, log: Callable[..., None], sentence: str) -> None:
        assert self._prepared is not None
        name = self._prepared.tunnel.name or None
        log("{notice}", event="notice", tunnel=name, log_system=name, notice=sentence)

    def _pause(self, seconds: float) -> Deferred[None]:
        over: Deferred[None] = Deferred(lambda _: call.cancel())
        call: IDelayedCall = self._reactor.callLater(seconds, over.callback, None)
        return over


def _isDue(lease: Lease, now: float) -> bool:
    return lease.due - now <= TOGETHER * max(lease.until - now, 0)
