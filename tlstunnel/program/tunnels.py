"""
The tunnels and the pool service of this process, each a service of its own, and how they are
renewed: all at once, or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Generator, Iterator
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.net.listen import Bound
from tlstunnel.net.resolve import Directory
from tlstunnel.net.spreading import REST_SECONDS, Spreading, atOnce, rest, spread
from tlstunnel.poolservice.description import NAME, PoolDescription
from tlstunnel.program.leasequestion import fetch
from tlstunnel.program.log import losses
from tlstunnel.program.plan import Changes, Described, IServing, Plan, Planned
from tlstunnel.program.preparation import AnyService, Preparation
from tlstunnel.program.service import TunnelService
from tlstunnel.status.facts import Gathered, Snapshot
from tlstunnel.status.ledger import Ledger
from tlstunnel.status.snapshot import taking
from tlstunnel.tls.keycheck import keyChecksOf
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.prepared import Prepared


@implementer(IServing)
class Tunnels(Service):
    """
    All of them.

    @ivar plan: what is served.
    @ivar services: what serves it, by its name.
    @ivar ledger: what is counted of them, if the plan says so.
    """

    _log = Logger()

    def __init__(self, reactor: Any, isVerbose: bool = False, worker: int | None = None) -> None:
        """
        @param isVerbose: see L{TunnelService}.
        @param worker: the number of this process, if it is one of several.
        """
        self.plan = Plan()
        self.ledger = Ledger(reactor)
        self._worker = worker
        self.services: dict[str, AnyService] = {}
        self._reactor = reactor
        self._directory = Directory(reactor)
        self._isVerbose = isVerbose
        self._draining: set[AnyService] = set()
        self._preparation: Preparation | None = None
        self._up: Deferred[None] = Deferred()
        # Whom nothing has been said of yet, and whether it is new.
        self._untold: dict[AnyService, bool] = {}
        self._telling: Deferred[None] | None = None
        self._isToHeed = False
        self._heeding: Deferred[None] | None = None
        # The last state that was taken up, and how many there were.
        self._switch: Spreading | None = None
        self._edition = 0

    # A new state

    def prepareNow(self, plan: Plan) -> None:
        """
        See L{IServing.prepareNow}.
        """
        self._finishSwitch()
        self.abort()
        preparation = self._preparation = Preparation(plan, self._reading)
        for _ in preparation.steps():
            pass
        preparation.check()

    def prepare(self, plan: Plan) -> Deferred[None]:
        """
        See L{IServing.prepare}: a certificate a turn, as there may be thousands.
        """
        self._finishSwitch()
        self.abort()
        self._preparation = Preparation(plan, self._reading)
        return Deferred.fromCoroutine(self._prepare(self._preparation))

    async def _prepare(self, preparation: Preparation) -> None:
        described = (each.described for each in preparation.plan.services)
        tunnels = [each for each in described if isinstance(each, Tunnel)]
        # Held until it is used, as nobody else does so yet.
        held = await fetch(self._reactor, tunnels)
        await keyChecksOf(self._reactor).settle(preparation.keyFiles())
        await self._oneByOne(preparation.steps())
        held.clear()
        preparation.check()

    async def _oneByOne(self, steps: Iterator[None]) -> None:
        """
        Do much, a step a turn, with a rest as long as the step was: what a connection carries takes
        several turns, and would wait for a step in each of them.
        """
        began = self._reactor.seconds()
        for _ in steps:
            taken = self._reactor.seconds() - began
            await rest(self._reactor, min(max(taken, 0.0), REST_SECONDS))
            began = self._reactor.seconds()

    def _reading(self, described: Described) -> tuple[AnyService, Any]:
        """
        Find or make what serves C{described}.

        @return: that, and what it takes to do so.
        """
        known = self.services.get(described.name)
        if isinstance(described, PoolDescription):
            # Tunnels alone have nothing of it.
            from tlstunnel.poolservice.inventory import Inventory
            from tlstunnel.poolservice.service import PoolService

            made = known or PoolService(described, self._reactor, self._isVerbose)
            return made, Inventory(described)
        made = known or TunnelService(
            described, self._reactor, self._isVerbose, directory=self._directory
        )
        return made, Prepared(described, read=False)

    def abort(self) -> None:
        """
        See L{IServing.abort}.
        """
        preparation, self._preparation = self._preparation, None
        if preparation is None:
            return
        served = set(self.services.values())
        for service, _ in preparation.prepared:
            if service not in served:
                service.abandon()

    def commit(self) -> Deferred[None]:
        """
        See L{IServing.commit}: a tunnel after the other.
        """
        assert self._preparation is not None
        self._finishSwitch()
        preparation, self._preparation = self._preparation, None
        self._edition += 1
        steps = self._switching(preparation)
        if not self.running:
            atOnce(steps)
            return succeed(None)
        switch = self._switch = Spreading(self._reactor, steps)
        return switch.whenOver()

    def _finishSwitch(self) -> None:
        if self._switch is not None:
            self._switch.finish()

    def _switching(self, preparation: Preparation) -> Generator[None, None, None]:
        """
        Serve what was prepared, a tunnel a step.
        """
        before, self.plan = self.plan, preparation.plan
        changes = yield from Changes.between(
            [each.described for each in before.services],
            [each.described for each in self.plan.services],
        )
        kept = self.plan.bound
        # Those that go on as before, by their sockets, which may be another tunnel's from now on.
        holders = {bound: each for each in self.services.values() for bound in each.bound}
        for planned, (service, prepared) in zip(
            self.plan.services, preparation.prepared, strict=True
        ):
            yield
            those = {holders.get(each, service) for each in (*service.bound, *planned.bound)}
            try:
                for holder in those:
                    # All of its sockets: it may have others by the turn of whoever takes the next.
                    for each in holder.bound:
                        holders.pop(each, None)
                    holder.acceptLast(kept)
                self._serve(planned, service, prepared)
            except Exception:  # noqa: BLE001 - half a state is worse
                self._log.failure("a tunnel could not be changed", tunnel=planned.described.name)
        for name in changes.removed:
            yield
            self._drain(self.services.pop(name), kept)
        self.ledger.keep(self.services)
        if self.plan.isCounted:
            self.ledger.start()
        else:
            self.ledger.stop()
        if self.running:
            self._tell(changes)

    def _serve(self, planned: Planned, service: AnyService, prepared: Any) -> None:
        name = planned.described.name
        self.services[name] = service
        counts = [self.ledger.observer(name)] if self.plan.isCounted else []
        service.use(prepared, planned.bound, counts)
        if self.running:
            service.accept()

    def _drain(self, service: AnyService, kept: Container[Bound]) -> None:
        service.acceptLast(kept)
        self._draining.add(service)
        drained = self._ending(service.drain, self.plan.drainSeconds)
        drained.addCallback(lambda _: self._draining.discard(service))

    def _ending(self, end: Callable[..., Deferred[None]], *how: float) -> Deferred[None]:
        """
        Let one end, in whatever way.
        """
        ending = maybeDeferred(end, *how)
        return ending.addErrback(lambda failure: self._log.failure("a tunnel ended badly", failure))

    def _tell(self, changes: Changes | None = None) -> None:
        """
        Say what there is to be said of the tunnels, behind what is still to be said.

        @param changes: what is different; by default everything is new.
        """
        unchanged = frozenset(() if changes is None else changes.unchanged)
        for name, service in self.services.items():
            isNew = name not in unchanged
            self._untold[service] = isNew or self._untold.get(service, False)
        if self._telling is None:
            self._telling = Deferred.fromCoroutine(self._oneByOne(self._announcements()))
            self._telling.addBoth(self._told)

    def _announcements(self) -> Iterator[None]:
        while self._untold:
            yield
            self._announceNext()

    def _announceNext(self) -> None:
        # After a stop there is nothing more to be said.
        if self._untold:
            service = next(iter(self._untold))
            say = service.announce if self._untold.pop(service) else service.warn
            try:
                say()
            except Exception:  # noqa: BLE001 - the others are to be heard of
                self._log.failure("a tunnel could not be announced")

    def _told(self, result: Failure | None) -> None:
        self._telling = None
        if isinstance(result, Failure):
            self._log.failure("announcing the tunnels failed", result)

    # Whoever is withdrawn

    def heed(self) -> None:
        """
        See L{IServing.heed}.
        """
        self._isToHeed = True
        if self._heeding is None:
            self._heeding = Deferred.fromCoroutine(self._oneByOne(self._heedAll()))
            self._heeding.addBoth(self._heeded)

    def _heedAll(self) -> Iterator[None]:
        while self._isToHeed:
            self._isToHeed = False
            for service in self._all():
                try:
                    yield from service.heed()
                except Exception:  # noqa: BLE001 - nobody else who is withdrawn may stay for it
                    self._log.failure("looking for those who are withdrawn failed")

    def _heeded(self, result: Failure | None) -> None:
        self._heeding = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            self._log.failure("looking for those who are withdrawn failed", result)

    # Serving

    def startService(self) -> None:
        """
        Accept connections from now on.
        """
        super().startService()
        for service in self.services.values():
            service.accept()
        self._reactor.callWhenRunning(self._begun)

    def _begun(self) -> None:
        if self.running:
            self._tell()
            self._up.callback(None)

    def whenUp(self) -> Deferred[None]:
        """
        See L{IServing.whenUp}.
        """
        return self._up

    def tally(self) -> Counter[str]:
        """
        See L{IServing.tally}.
        """
        pools = NAME in self.services
        found = Counter(tunnel=len(self.services) - pools)
        if pools:
            found["pool service"] = pools
        found["connection"] = sum(each.connections for each in self._all())
        return found

    def served(self) -> tuple[AnyService, ...]:
        """
        See L{tlstunnel.status.source.Source.served}.
        """
        return self._all()

    def dropped(self) -> int:
        """
        See L{tlstunnel.status.source.Source.dropped}.
        """
        return losses.lines

    async def look(self) -> Snapshot:
        """
        How this process is; a state that is being taken up is shown once it is.
        """
        while True:
            if self._switch is not None:
                await self._switch.whenOver()
            edition = self._edition
            found = await spread(self._reactor, taking(self.ledger, self, self._worker))
            if edition == self._edition:
                return found

    def gather(self) -> Deferred[Gathered]:
        """
        See L{IServing.gather}.
        """
        return Deferred.fromCoroutine(self._gather())

    async def _gather(self) -> Gathered:
        return Gathered((await self.look(),))

    def _all(self) -> tuple[AnyService, ...]:
        return (*self.services.values(), *self._draining)

    def stopService(self) -> Deferred[Any]:
        """
        Accept no more, and let connections end, for as long as the plan says.

        @return: fires when all have.
        """
        self._finishSwitch()
        super().stopService()
        self.ledger.stop()
        self.abort()
        self._untold.clear()
        if self._heeding is not None:
            self._heeding.cancel()
        stopped = DeferredList([self._ending(each.stopService) for each in self._all()])
        if stopped.called:
            return stopped
        if self.plan.drainSeconds:
            due = self._reactor.callLater(self.plan.drainSeconds, self.hurry)
            stopped.addCallback(lambda _: due.cancel() if due.active() else None)
        return stopped

    def hurry(self) -> None:
        """
        Close all connections now.
        """
        for each in self._all():
            try:
                each.hurry()
            except Exception:  # noqa: BLE001 - those of the others are to be closed, too
                self._log.failure("a tunnel could not be hurried")
