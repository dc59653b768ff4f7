"""
All that a process serves, tunnels and the pool service: what is described in a file, or on the
command line, is what is served, from the start on and through all reloads.

A reload takes up all of what is described, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.errors import ConfigurationError
from tlstunnel.net.claim import Claim
from tlstunnel.net.spreading import spread
from tlstunnel.program.configuration import Configuration
from tlstunnel.program.display import Display
from tlstunnel.program.following import Following
from tlstunnel.program.lookups import HostNames, checkRemotes
from tlstunnel.program.plan import Changes, Plan, Planned, Refused
from tlstunnel.program.reloads import ReloadLedger, Reloads
from tlstunnel.program.service import ITunnelService
from tlstunnel.program.sockets import Binding, Sockets
from tlstunnel.program.sources import ISource
from tlstunnel.program.watch import Watch, filesOf


@implementer(ITunnelService)
class Fleet(MultiService):
    """
    All of them.

    @ivar configuration: what is served.
    @ivar reloads: those that there were, and who is told of them.
    """

    _log = Logger()

    def __init__(
        self, source: ISource, configuration: Configuration, reactor: Any, serving: Any
    ) -> None:
        """
        @param source: where the tunnels are described.
        @param configuration: what it said first.
        @param serving: an L{IServing}, and a service, that serves them.
        """
        super().__init__()
        self.configuration = configuration
        self.reloads = Reloads(reactor, self._renew, source.success, self._renewPool)
        self._source = source
        self._reactor = reactor
        self._serving = serving
        self._sockets = Sockets()
        self._names = HostNames()
        # What is being taken up.
        self._binding: Binding | None = None
        self._isBound = False
        self._watch = Watch(reactor, lambda: _files(self.configuration), self._takeUp)
        self._display = Display(reactor, serving)
        self._following = Following(reactor, lambda: self._ask(isOfPool=True))
        serving.ledger.following = self._following.facts
        self.reloads.observers.append(ReloadLedger(serving.ledger))
        serving.setServiceParent(self)

    # The start

    def privilegedStartService(self) -> None:
        """
        Bind, and read keys while we may.  Names are looked up, which may
        take its time: the reactor may not run yet.

        @raise ConfigurationError: with all that is wrong; nothing stays bound.
        """
        if self._isBound:
            return
        self._following.begin(self.configuration)
        try:
            self._prepareNow()
        except ConfigurationError:
            self._following.giveUp()
            raise

    def _prepareNow(self) -> None:
        """
        The same, in a pool as it should be.
        """
        self._watch.lookNow()
        refusals = checkRemotes(self.configuration.tunnels)
        configuration = self._named(self.configuration)
        binding = Binding(self._sockets)
        try:
            binding = self._sockets.bind(configuration.claims)
        except Refused as refused:
            refusals += refused.refusals
        try:
            self._serving.prepareNow(self._plan(configuration, binding))
        except Refused as refused:
            refusals += refused.refusals
        if refusals:
            binding.undo()
            raise self._source.refusal(configuration, Refused(refusals))
        try:
            self._display.bind(configuration)
        except ConfigurationError:
            binding.undo()
            raise
        self._take(configuration, binding)
        self._isBound = True

    def startService(self) -> None:
        """
        Serve, and look at files.
        """
        super().startService()
        self._display.startService()
        self._following.startService()
        self._reactor.callWhenRunning(self._begun)

    def _begun(self) -> None:
        if self.running:
            self._watch.start()

    def _named(self, configuration: Configuration) -> Configuration:
        """
        Say in the tunnels what this host is called, where they need that.
        """
        return replace(configuration, tunnels=tuple(map(self._names.named, configuration.tunnels)))

    def _plan(self, configuration: Configuration, binding: Binding) -> Plan:
        return Plan(
            tuple(
                Planned(
                    each,
                    binding.bound.get(each.name, ()),
                    self._source.told(configuration, each),
                )
                for each in configuration.services
            ),
            configuration.process["drain-timeout"],
            isCounted=bool(configuration.status.local),
        )

    def _take(self, configuration: Configuration, binding: Binding) -> Deferred[Any]:
        """
        Serve C{configuration} from now on.

        @return: fires once it is served everywhere.
        """
        binding.listen()
        self._binding = binding
        served: Deferred[Any] = self._serving.commit()
        self._display.commit()
        self._following.commit()
        self.configuration = configuration
        # Who gives up the wait for it changes nothing of that.
        over: Deferred[Any] = Deferred()

        def tell(result: Any) -> None:
            if not over.called:
                over.callback(result)

        served.addBoth(self._taken).addBoth(tell)
        return over

    def _taken(self, result: Any) -> Any:
        """
        Nobody accepts connections any more at what is given up.
        """
        binding, self._binding = self._binding, None
        if binding is not None:
            binding.keep()
        return result

    def whenUp(self) -> Deferred[None]:
        """
        Fires once all tunnels are served; for one caller.
        """
        up: Deferred[None] = self._serving.whenUp()
        return up

    # Reloads

    def reload(self) -> Deferred[str]:
        """
        Take up what is described now; or, if that cannot be served, nothing of it.

        @return: fires when that is over, with what is wrong; empty if nothing is.
        """
        return self._ask().addCallbacks(lambda _: "", Failure.getErrorMessage)

    def _ask(self, isOfPool: bool = False) -> Deferred[None]:
        if self.reloads.isRunning:
            # Which may take its time, and has read the pool already.
            self._serving.heed()
        return self.reloads.ask(isOfPool)

    async def _renew(self) -> Changes:
        """
        Take up what is described now.

        @raise ConfigurationError: it cannot be served; all is as before.
        """
        # Whatever becomes of all else.
        self._serving.heed()
        # Before they are read: what changes meanwhile is taken up later.
        seen = await self._watch.look()
        # It may describe a thousand tunnels, and users and services have to be asked for.
        configuration: Configuration = await self._inThread(self._source.read)
        seen |= await self._watch.look(_files(configuration), seen)
        try:
            changes = await self._renewAs(configuration)
        except Refused as refused:
            raise self._source.refusal(configuration, refused) from None
        self._watch.served = seen
        return changes

    async def _renewPool(self) -> Changes:
        """
        Take up what is in the pool now, and nothing else.

        @raise ConfigurationError: it cannot be served; all is as before.
        """
        self._serving.heed()
        configuration = self.configuration
        seen = await self._watch.look()
        try:
            changes = await self._renewAs(configuration)
        except Refused as refused:
            raise self._source.refusal(configuration, refused) from None
        pool = configuration.poolPull and configuration.poolPull.pool.path
        self._watch.served |= {
            path: state for path, state in seen.items() if pool and path.is_relative_to(pool)
        }
        return changes

    def _takeUp(self, isPatient: bool) -> Deferred[None]:
        if self.reloads.isRunning:
            return succeed(None)
        return self.reloads.tryQuietly(isPatient)

    async def _renewAs(self, configuration: Configuration) -> Changes:
        if any(map(self._names.isMissing, configuration.tunnels)):
            await self._inThread(self._names.lookUp)
        configuration = self._named(configuration)
        before = self.configuration
        binding = await self._bind(configuration.claims)
        try:
            await self._display.bindWhileServing(configuration)
            self._following.prepare(configuration)
            await self._serving.prepare(self._plan(configuration, binding))
        except BaseException:
            self._serving.abort()
            self._display.abort()
            binding.undo()
            raise
        await self._take(configuration, binding)
        self._notice(before.process, configuration.process)
        comparison = Changes.between(before.services, configuration.services)
        return await spread(self._reactor, comparison)

    async def _bind(self, claims: Sequence[Claim]) -> Binding:
        if not self._sockets.asksResolver(claims):
            steps = self._sockets.binding(claims)
            try:
                return await spread(self._reactor, steps)
            finally:
                steps.close()
        binding: Binding = await self._inThread(self._sockets.bind, claims)
        return binding

    def _inThread(self, call: Any, *arguments: Any) -> Deferred[Any]:
        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, call, *arguments)

    def _notice(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """
        Say which settings a reload cannot take up.
        """
        for key in ("workers", "log-json", "verbose"):
            if before[key] != after[key]:
                self._log.warn(
                    "{notice}",
                    event="notice",
                    notice=f"{key} has changed, which is taken up at the next start only",
                )

    # The end

    def tally(self) -> Mapping[str, int]:
        """
        See L{tlstunnel.program.plan.IServing.tally}.
        """
        found: Mapping[str, int] = self._serving.tally()
        return found

    def hurry(self) -> None:
        """
        Close all connections now.
        """
        self._serving.hurry()

    def stopService(self) -> Deferred[Any]:
        """
        Accept no more, and let connections end.

        @return: fires when all have.
        """
        self._watch.stop()
        self.reloads.stop()
        followed = self._following.stopService()
        stopped: Deferred[Any] = super().stopService()
        self._taken(None)
        self._sockets.close()
        # As long as connections go on there is something to be seen.
        stopped.addCallback(lambda _: self._display.stopService())
        return stopped.addCallback(lambda _: followed)


def _files(configuration: Configuration) -> Iterable[Path]:
    """
    What is taken up by itself when it changes.
    """
    return filesOf(configuration) if configuration.process["reload-on-change"] else ()
