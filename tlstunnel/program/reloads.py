"""
Reloads, one after the other, and what became of them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.plan import Changes
from tlstunnel.status.ledger import Ledger

#: What the log says of one that has taken up the pool alone.
OF_POOL = "took up what has changed in the pool"


@dataclass(frozen=True)
class Reload:
    """
    What became of a reload.

    @ivar time: when it ended, in seconds of the clock.
    @ivar changes: what it has changed; C{None} if everything stays as it was.
    @ivar problems: why that is so, a line each.
    @ivar isOfFiles: whether files had changed, and nobody has asked for it.
    """

    time: float
    changes: Changes | None
    problems: tuple[str, ...] = ()
    isOfFiles: bool = False


class IReloadObserver(Interface):
    """
    Is told of reloads.
    """

    def reloading() -> None:
        """
        One begins.
        """

    def reloaded(reload: Reload) -> None:
        """
        It has ended.
        """


@implementer(IReloadObserver)
class ReloadLedger:
    """
    Lets the status know of reloads.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def reloading(self) -> None:
        """
        See L{IReloadObserver.reloading}.
        """

    def reloaded(self, reload: Reload) -> None:
        """
        See L{IReloadObserver.reloaded}.
        """
        if reload.changes is None:
            self._ledger.reloaded("failed", problems=reload.problems)
        else:
            self._ledger.reloaded("applied", reload.changes.sentences())


class Reloads:
    """
    Runs them: one at a time.  Those that are asked for while one runs become one more behind it.

    @ivar observers: each an L{IReloadObserver}.
    @ivar last: the last one, if there was one.
    """

    _log = Logger()

    def __init__(
        self,
        clock: Any,
        renew: Callable[[], Coroutine[Any, Any, Changes]],
        success: str,
        renewPool: Callable[[], Coroutine[Any, Any, Changes]] | None = None,
    ) -> None:
        """
        @param renew: takes a new state up; raises L{ConfigurationError} if all stays as it was.
        @param success: what the log says then, with a place for the changes.
        @param renewPool: the same, with what is in the pool alone.
        """
        self.observers: list[Any] = []
        self.last: Reload | None = None
        self._clock = clock
        self._renew = renew
        self._success = success
        self._renewPool = renewPool or renew
        self._isWhole = self._isOfPool = False
        self._running: Deferred[None] | None = None
        self._asked: list[Deferred[None]] = []
        self._isStopped = False

    @property
    def isRunning(self) -> bool:
        """
        Whether there is one.
        """
        return self._running is not None

    def ask(self, isOfPool: bool = False) -> Deferred[None]:
        """
        Reload, as soon as possible.

        @param isOfPool: whether what is in the pool is enough.
        @return: fires when that is done; fails with L{ConfigurationError} if all stays as it was.
        """
        asked: Deferred[None] = Deferred()
        self._asked.append(asked)
        self._isWhole = self._isWhole or not isOfPool
        self._isOfPool = self._isOfPool or isOfPool
        if self._running is None and not self._isStopped:
            self._begin(isOfFiles=isOfPool)
        return asked

    def tryQuietly(self, isPatient: bool) -> Deferred[None]:
        """
        Reload as files have changed; to be called while none runs.

        @param isPatient: whether to say nothing of it if they cannot be read: they may not be
            whole yet.
        """
        asked: Deferred[None] = Deferred()
        self._asked.append(asked)
        self._isWhole = True
        if not self._isStopped:
            self._begin(isOfFiles=True, isPatient=isPatient)
        return asked

    def stop(self) -> None:
        """
        End the one that runs, and begin no other.
        """
        self._isStopped = True
        if self._running is not None:
            self._running.cancel()

    def _begin(self, isOfFiles: bool, isPatient: bool = False) -> None:
        asked, self._asked = self._asked, []
        isWhole, self._isWhole = self._isWhole, False
        isBoth, self._isOfPool = isWhole and self._isOfPool, False
        self._running = running = Deferred.fromCoroutine(self._run(isOfFiles, isPatient, isWhole))
        running.addBoth(self._over, asked, isBoth)

    async def _run(self, isOfFiles: bool, isPatient: bool, isWhole: bool) -> None:
        if not isPatient:
            self._tell("reloading")
        try:
            changes = await (self._renew() if isWhole else self._renewPool())
        except ConfigurationError as error:
            if not isPatient:
                self._refused(error, isOfFiles)
            raise
        self.last = Reload(self._clock.seconds(), changes, isOfFiles=isOfFiles)
        self._log.info(
            self._success if isWhole else OF_POOL,
            event="reload",
            added=list(changes.added),
            changed=list(changes.changed),
            removed=list(changes.removed),
            changes=str(changes),
        )
        if isPatient:
            self._tell("reloading")
        self._tell("reloaded", self.last)

    def _refused(self, error: ConfigurationError, isOfFiles: bool) -> None:
        problems = tuple(str(error).splitlines())
        self.last = Reload(self._clock.seconds(), None, problems, isOfFiles)
        self._log.error(
            "not reloaded, the old state stays: {detail}",
            event="reload",
            detail="; ".join(problems),
        )
        self._tell("reloaded", self.last)

    def _tell(self, what: str, *more: object) -> None:
        for observer in self.observers:
            try:
                getattr(observer, what)(*more)
            except Exception:  # noqa: BLE001 - who looks on must not harm the tunnels
                self._log.failure("the observer {observer!r} failed", observer=observer)

    def _over(self, result: Failure | None, asked: list[Deferred[None]], isBoth: bool) -> None:
        self._running = None
        if self._isStopped:
            # Nobody wants to know any more.
            return
        if isinstance(result, Failure) and not result.check(ConfigurationError):
            self._log.failure("reloading failed", result)
        if isinstance(result, Failure) and isBoth:
            # Who asked for what is in the pool need not suffer from all else; it has been told.
            again = Deferred[None]()
            again.addErrback(lambda failure: None)
            self._asked.append(again)
            self._isOfPool = True
        if self._asked:
            self._begin(isOfFiles=not self._isWhole)
        for each in asked:
            if isinstance(result, Failure):
                each.errback(result)
            else:
                each.callback(None)
