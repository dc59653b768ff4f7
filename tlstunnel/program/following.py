"""
A directory that the pool follows, in the process that serves tunnels: what has changed there is
taken up by them at once, and of many changes many are taken up together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.configuration import Configuration
from tlstunnel.program.problems import Problems
from tlstunnel.program.pullsettings import POOL_PULL
from tlstunnel.status.facts import PullFacts

if TYPE_CHECKING:
    from tlstunnel.provisioning.connection import Place
    from tlstunnel.provisioning.pull import Pull

#: Seconds between two times that changes are taken up, and how many times as long as it took.
REST_SECONDS, RESTS = 0.4, 2.0

#: The most characters of a failure.
MAX_FAILURE = 500


class Following(Service):
    """
    Follows where a configuration says; a new one is taken up in two steps.
    """

    _log = Logger()

    def __init__(self, reactor: Any, takeUp: Callable[[], Deferred[None]]) -> None:
        """
        @param takeUp: lets the tunnels take up what has changed in the pool; fails with
            L{ConfigurationError}, which has been told, where that cannot be.
        """
        self._reactor = reactor
        self._takeUp = takeUp
        self._wanted: Place | None = None
        self._next: Place | None = None
        self._pull: Pull | None = None
        self._failure = ""
        self._isDue = self._isBusy = self._isChanging = False
        self._resting: Deferred[None] | None = None

    def begin(self, configuration: Configuration) -> None:
        """
        Have the pool as it is known to be, before anything is served.

        @raise ConfigurationError: that cannot be.
        """
        place = self._wanted = self._next = configuration.poolPull
        if place is not None and self._pull is None:
            try:
                self._pull = self._opened(place)
            except ConfigurationError as error:
                raise Problems([configuration.problemOf(POOL_PULL, error)]) from None

    def _opened(self, place: Place) -> Pull:
        # Few need it.
        from tlstunnel.provisioning.pull import Pull

        pull = Pull(place, self._reactor, whenChanged=self._changed)
        pull.privilegedStartService()
        return pull

    def giveUp(self) -> None:
        """
        Nothing is served.
        """
        pull, self._pull = self._pull, None
        if pull is not None:
            pull.stopService()

    def prepare(self, configuration: Configuration) -> None:
        """
        See whether what C{configuration} says can be followed.

        @raise ConfigurationError: that cannot be; nothing has changed.
        """
        place = configuration.poolPull
        if place is not None and place != self._place and not place.isLocal:
            try:
                place.prepare()
            except ConfigurationError as error:
                raise Problems([configuration.problemOf(POOL_PULL, error)]) from None
        self._next = place

    @property
    def _place(self) -> Place | None:
        return None if self._pull is None else self._pull.place

    def commit(self) -> None:
        """
        Follow that from now on.  This cannot fail: what is wrong later is told.
        """
        self._wanted = self._next
        if self._wanted != self._place and self.running and not self._isChanging:
            Deferred.fromCoroutine(self._change()).addErrback(
                lambda failure: self._log.failure("following a directory failed", failure)
            )

    async def _change(self) -> None:
        self._isChanging = True
        try:
            while self.running and self._wanted != self._place:
                pull, self._pull = self._pull, None
                if pull is not None:
                    await pull.stopService()
                place = self._wanted
                self._failure = ""
                if place is None or not self.running:
                    return
                try:
                    self._pull = self._opened(place)
                except ConfigurationError as error:
                    self._failure = str(error)
                    sentence = f"{place.url} is not followed before the next reload: {error}"
                    self._log.error("{notice}", event="notice", notice=sentence)
                    return
                self._pull.startService()
        finally:
            self._isChanging = False

    def _changed(self) -> None:
        """
        The pool has.
        """
        self._isDue = True
        if self.running and not self._isBusy:
            Deferred.fromCoroutine(self._takeUpAll()).addErrback(
                lambda failure: self._log.failure("taking up changes failed", failure)
            )

    async def _takeUpAll(self) -> None:
        self._isBusy = True
        try:
            while self._isDue and self.running:
                self._isDue = False
                began = self._reactor.seconds()
                try:
                    await self._takeUp()
                except ConfigurationError:
                    # It has been told.
                    pass
                taken = self._reactor.seconds() - began
                self._resting = self._rest(max(REST_SECONDS, RESTS * taken))
                await self._resting
        except CancelledError:
            return
        finally:
            self._isBusy = False

    def _rest(self, seconds: float) -> Deferred[None]:
        over: Deferred[None] = Deferred(lambda _: call.cancel())
        call: IDelayedCall = self._reactor.callLater(seconds, over.callback, None)
        return over

    def startService(self) -> None:
        """
        Follow it from now on.
        """
        super().startService()
        # What it was before anything was served has been served.
        self._isDue = False
        if self._pull is not None:
            self._pull.startService()

    def stopService(self) -> Deferred[None] | None:
        """
        Follow it no more.

        @return: fires when nothing is done in the pool any more.
        """
        super().stopService()
        if self._resting is not None:
            self._resting.cancel()
        pull, self._pull = self._pull, None
        return None if pull is None else pull.stopService()

    def facts(self) -> PullFacts | None:
        """
        How it is, for the status; C{None} where no directory is followed.
        """
        place = self._wanted
        if place is None:
            return None
        pull = self._pull
        return {
            "url": str(place.url),
            "fresh": pull is not None and pull.isFresh,
            "entries": 0 if pull is None else pull.entries,
            "changed": None if pull is None else pull.changed or None,
            "failure": (self._failure if pull is None else pull.failure)[:MAX_FAILURE] or None,
        }
