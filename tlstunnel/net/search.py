"""
The way of one connection to a place that serves it: from one to the next, until one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from tlstunnel.address import Remote, SRVAddress
from tlstunnel.errors import ConnectFailed, TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.net.attempt import Race, Target
from tlstunnel.net.destination import ISearch
from tlstunnel.net.leg import Leg
from tlstunnel.net.remotes import FIRST, Backend

if TYPE_CHECKING:
    from tlstunnel.net.dial import Dialler

#: Seconds to the next address of one name while the one before has not answered (RFC 8305).
STAGGER_SECONDS = 0.25

#: A place, and how to connect to it.
Place = tuple[Backend, Target]


@implementer(ISearch)
class Search:
    """
    One connection's; see L{ISearch}.

    Names are resolved as late as possible, as the first that is tried serves nearly always.
    """

    __slots__ = (
        "_backend",
        "_began",
        "_dialler",
        "_held",
        "_isLast",
        "_left",
        "_ready",
        "_spared",
    )

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler
        # Whom it is about, and whom there is a connection to.
        self._backend: Backend | None = None
        self._held: Backend | None = None
        self._began = inf
        # What is still to be resolved; behind it places, those together that may race; and those
        # that are left alone.  Nothing of it where there is one place.
        self._left: list[Remote] | None = None
        self._ready: list[list[Place]]
        self._spared: list[tuple[Backend, Target | None]]
        self._isLast: bool

    @property
    def isOver(self) -> bool:
        """
        See L{ISearch.isOver}.
        """
        if self._left is None:
            return True
        return not (self._left or self._ready or self._spared)

    async def dial(self) -> ILeg:
        """
        See L{IDialler.dial}.
        """
        dialler = self._dialler
        only = dialler.only
        if only is not None:
            # The usual case, which costs next to nothing.
            self._backend, target = only
            try:
                leg = await dialler.connect(target)
            except ConnectFailed as error:
                self.failed(error)
                raise
            self._hold(self._backend)
            return leg
        problems: list[ConnectFailed] = []
        if self._left is None:
            await self._begin(problems)
        while not self.isOver:
            try:
                group = await self._next()
                if group:
                    return await self._connectAny(group)
            except ConnectFailed as error:
                problems.append(error.bare())
        detail = ", ".join(each.detail for each in problems)
        raise ConnectFailed(detail, cause=problems[-1].cause if problems else "")

    def failed(self, error: TunnelError, isItsFault: bool = True) -> bool:
        """
        See L{ISearch.failed}.
        """
        if self._backend is not None and isItsFault:
            self._dialler.failed(self._backend, self._began, error)
        self.end()
        return not self.isOver

    def served(self) -> None:
        """
        See L{ISearch.served}.
        """
        backend = self._backend
        assert backend is not None
        backend.heard = self._dialler.remotes.clock.seconds()
        if not backend.isUp:
            self._dialler.served(backend)

    def end(self, isHurried: bool = False) -> None:
        """
        See L{ISearch.end}.
        """
        if self._held is not None:
            self._held.open -= 1
        self._held = self._backend = None

    async def _begin(self, problems: list[ConnectFailed]) -> None:
        """
        Begin with what is to be tried first.

        @param problems: where to note what cannot be tried at all.
        """
        dialler = self._dialler
        self._left = list(dialler.addresses)
        self._ready = []
        self._spared = []
        self._isLast = False
        if dialler.balance.policy == FIRST:
            return
        found = await self._resolveAll(problems)
        now = dialler.remotes.clock.seconds()
        free = [each for each in found if not each.isLeftAlone(now)]
        self._spared += [(each, found[each]) for each in found if each.isLeftAlone(now)]
        self._ready = [[(each, found[each])] for each in dialler.balance.ordered(free)]

    async def _resolveAll(self, problems: list[ConnectFailed]) -> dict[Backend, Target]:
        """
        The places that all addresses mean at the moment: names are looked up at the same time, as
        one that takes long must not keep the others waiting until there is no time left.

        @param problems: where to note the names that mean nothing.
        """
        dialler = self._dialler
        self._left = []
        known = [
            dialler.fixed(each) or Deferred.fromCoroutine(self._resolve(each))
            for each in dialler.addresses
        ]
        found: dict[Backend, Target] = {}
        try:
            for each in known:
                try:
                    found |= await each if isinstance(each, Deferred) else each
                except ConnectFailed as error:
                    problems.append(error.bare())
        finally:
            for each in known:
                if isinstance(each, Deferred):
                    each.addErrback(lambda _: None)
                    each.cancel()
        return found

    async def _next(self) -> Sequence[Place]:
        """
        The places to try next; none if there are none behind what was next.

        @raise ConnectFailed: if what was next is a name that means nothing.
        """
        if self._ready:
            group = self._ready.pop(0)
        elif self._left:
            group = list((await self._resolve(self._left.pop(0))).items())
        else:
            self._takeSpared()
            return ()
        if self._isLast:
            return group
        now = self._dialler.remotes.clock.seconds()
        self._spared += [each for each in group if each[0].isLeftAlone(now)]
        return [each for each in group if not each[0].isLeftAlone(now)]

    def _takeSpared(self) -> None:
        """
        Nobody else has served: try those that are left alone, and those that are due first before
        the others.
        """
        assert self._left is not None
        self._isLast = True
        spared, self._spared = self._spared, []
        for backend, target in sorted(spared, key=lambda each: each[0].due):
            if target is None:
                self._left.append(backend.address)
            else:
                self._ready.append([(backend, target)])

    async def _resolve(self, address: Remote) -> dict[Backend, Target]:
        """
        The places that C{address} means at the moment; none if others are to be tried first.

        @raise ConnectFailed: if there are none.
        """
        dialler = self._dialler
        now = dialler.remotes.clock.seconds()
        lost = dialler.lost(address)
        if lost is not None and lost.isLeftAlone(now) and not self._isLast:
            self._spared.append((lost, None))
            return {}
        if lost is not None:
            lost.begin(now)
        if isinstance(address, SRVAddress):
            assert self._left is not None
            self._left[:0] = await dialler.targets(address)
            return {}
        return await dialler.places(address)

    async def _connectAny(self, group: Sequence[Place]) -> Leg:
        """
        Connect to the place of C{group} that answers first: the next one is tried when one has
        failed, or has not answered for a moment.
        """
        if len(group) == 1:
            return await self._connect(group[0])
        race = Race()
        deadlines = self._dialler.deadlines
        waiting = list(group)
        won: list[Backend] = []

        async def enter(place: Place) -> Leg:
            leg = await self._attempt(place)
            won.append(place[0])
            return leg

        try:
            while waiting:
                race.enter(enter(waiting.pop(0)))
                with deadlines.after(STAGGER_SECONDS, race.wake):
                    await race.news()
                if race.won is not None:
                    break
            while not race.isOver:
                await race.news()
        finally:
            race.cancel()
        if race.won is None:
            problems = ", ".join(each.detail for each in race.problems)
            raise ConnectFailed(problems, cause=race.problems[-1].cause)
        if waiting:
            self._ready.insert(0, waiting)
        self._hold(won[0])
        return race.won

    async def _connect(self, place: Place) -> Leg:
        leg = await self._attempt(place)
        self._hold(place[0])
        return leg

    async def _attempt(self, place: Place) -> Leg:
        """
        Connect to one place.
        """
        backend, target = place
        began = self._began = self._dialler.remotes.clock.seconds()
        if not backend.isUp:
            backend.begin(began)
        # Whom it is about if the time for all of them is over.
        self._backend = backend
        try:
            return await self._dialler.connect(target)
        except ConnectFailed as error:
            self._backend = None
            self._dialler.failed(backend, began, error)
            raise

    def _hold(self, backend: Backend) -> None:
        """
        There is a connection to C{backend} now.
        """
        self._held = self._backend = backend
        backend.open += 1
        backend.connections += 1
