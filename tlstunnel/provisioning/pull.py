"""
Keeps a pool up with a directory, whatever becomes of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, LogLevel

from tlstunnel.errors import ConfigurationError, TunnelError
from tlstunnel.provisioning.connection import Connection, Connector, Place
from tlstunnel.provisioning.content import Content
from tlstunnel.provisioning.errors import ResultRefused, Withheld
from tlstunnel.provisioning.files import Outcome
from tlstunnel.provisioning.session import follow
from tlstunnel.provisioning.sync import REFRESH_REQUIRED
from tlstunnel.provisioning.upkeep import Report, Upkeep

#: Seconds until it is tried again: twice as many each time, until it has gone well for so long.
FIRST_PAUSE, LONGEST_PAUSE, STEADY = 0.5, 30.0, 5.0

#: Seconds between two looks at our keys, and such looks between two at all our files.
LOOK_SECONDS, LOOKS = 1.0, 60

#: How many times as long as it takes to take something up nothing more is taken up, and how many
#: seconds at most.
REST, LONGEST_WAIT = 2.0, 1.0

#: How many times as long as a look at our keys takes there is no other one.
RARELY = 20

#: How often a server may call our cookie useless before it is forgotten.
MOST_STALE = 3

#: Sentences about one change that are logged at most; and a failure is told again after so many.
MOST_NOTES, REPEATS = 20, 20

_SIZE_LIMIT, _METHOD_UNKNOWN, _CONTROL_UNKNOWN, _NO_SUCH_OBJECT, _UNWILLING = 4, 7, 12, 32, 53

_ADVICE = {
    _SIZE_LIMIT: "nothing is applied: it has a limit for us, which has to go, in slapd as "
    "'limits dn.base=\"WHO WE ARE\" size=unlimited'",
    _METHOD_UNKNOWN: "it has asked for no certificate, or cannot verify ours; in slapd see "
    "TLSVerifyClient and TLSCACertificateFile",
    _CONTROL_UNKNOWN: "it has no content synchronization, in slapd 'overlay syncprov', there",
    _NO_SUCH_OBJECT: "nothing changes: the base is not there, or we may not read it",
    _UNWILLING: "it may have been restored from an old copy",
    REFRESH_REQUIRED: "it does not know any more where we were",
}


class Pull(Service):
    """
    Follows a directory.  What it does to the pool happens in a thread, so that nothing else in the
    process waits for disks.

    @ivar isFresh: whether the pool is as the directory has it now.
    @ivar changed: when the pool was changed last, in seconds of the clock; 0 if it was not.
    @ivar failure: why it is not fresh, in a line; empty if that is not known, or it is.
    """

    _log = Logger()

    def __init__(
        self,
        place: Place,
        reactor: Any,
        mayRemove: bool = False,
        whenChanged: Callable[[], object] = lambda: None,
    ) -> None:
        """
        @param mayRemove: let the first refresh remove as much as it likes.
        @param whenChanged: called when the pool has changed.
        """
        self.place = place
        self.isFresh = False
        self.changed = 0.0
        self.failure = ""
        self._reactor = reactor
        self._mayRemove = mayRemove
        self._whenChanged = whenChanged
        self._upkeep = Upkeep(place)
        self._content = Content({}, b"")
        self._connector = Connector(reactor)
        self._running: Deferred[None] | None = None
        self._attempt: Deferred[None] | None = None
        # What is to be done in the pool, and who waits for the end of what is being done.
        self._isTold = self._isDue = self._isWorking = False
        self._resting: Deferred[None] | None = None
        self._whenDone: Deferred[None] | None = None
        self._looking: IDelayedCall | None = None
        self._looks = 0
        self._nextTake = 0.0
        self._said: set[str] = set()
        self._trouble = ""
        self._failures, self._stale = 0, 0
        self._pause, self._began = FIRST_PAUSE, 0.0

    @property
    def entries(self) -> int:
        """
        How many entries the directory has, as far as we know.
        """
        return len(self._content.entries)

    def privilegedStartService(self) -> None:
        """
        Read what is remembered, see whether there is what is needed, and let the pool be as it
        should.

        @raise ConfigurationError: there is not.
        """
        if not self.place.isLocal:
            self.place.prepare()
        self._upkeep.open()
        self._content = Content(self._upkeep.entries, self._upkeep.cookie, self._mayRemove)
        try:
            self._report(self._upkeep.look(self._content.entries, True, self._now()))
        except ConfigurationError as error:
            self._troubled(error)

    def startService(self) -> None:
        """
        Follow it from now on.
        """
        super().startService()
        self._lookLater(LOOK_SECONDS)
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._running.addErrback(lambda failure: self._log.failure("pulling failed", failure))

    def stopService(self) -> Deferred[None]:
        """
        Follow it no more; all stays as it is.

        @return: fires when nothing is done in the pool any more.
        """
        super().stopService()
        running, self._running = self._running, None
        for each in (running, self._resting):
            if each is not None:
                each.cancel()
        if self._looking is not None and self._looking.active():
            self._looking.cancel()
        self._connector.leave()
        done: Deferred[None] = Deferred()
        self._whenDone = done
        if not self._isWorking:
            self._done()
        return done

    def _done(self) -> None:
        done, self._whenDone = self._whenDone, None
        self._upkeep.close()
        if done is not None:
            done.callback(None)

    # The directory

    async def _run(self) -> None:
        while True:
            self._attempt = Deferred.fromCoroutine(self._follow())
            try:
                await self._attempt
            except (TunnelError, ConfigurationError) as error:
                self._failed(error)
            except CancelledError:
                if not self.running:
                    raise
            except Exception:  # noqa: BLE001 - whatever a directory says, the next try may be better
                self._log.failure("pulling failed")
            finally:
                wasFresh, self.isFresh = self.isFresh, False
            if wasFresh and self._reactor.seconds() - self._began >= STEADY:
                # A server that takes its leave again and again would be asked all the time.
                self._pause = FIRST_PAUSE
            await self._wait(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _wait(self, seconds: float) -> Deferred[None]:
        over: Deferred[None] = Deferred(lambda _: call.cancel())
        call: IDelayedCall = self._reactor.callLater(seconds, over.callback, None)
        return over

    def _cancel(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()

    async def _follow(self) -> None:
        connection = await self._connector.connect(self.place, self._cancel)
        try:
            await follow(connection, self.place.url.base, self._content, self._told)
        except BaseException:
            self._end(connection)
            raise

    def _end(self, connection: Connection) -> None:
        if self.running:
            connection.abort()
        else:
            connection.close()

    # The pool

    def _told(self) -> None:
        """
        The directory has told us something: that is taken up at once, unless something was just
        before; of many changes many are taken up together.
        """
        self._isTold = True
        self._work()

    def lookAround(self) -> None:
        """
        See now whether everything is as it should be in the pool.
        """
        self._looks = LOOKS
        self._isDue = True
        self._work()

    def _lookLater(self, seconds: float) -> None:
        if self._looking is not None and self._looking.active():
            self._looking.cancel()
        self._looking = self._reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        self._isDue = True
        self._work()

    def _work(self) -> None:
        """
        Do what is to be done, unless that is going on.
        """
        if self.running and not self._isWorking:
            working = Deferred.fromCoroutine(self._workOff())
            working.addErrback(lambda failure: self._log.failure("upkeep failed", failure))

    async def _workOff(self) -> None:
        self._isWorking = True
        try:
            while self.running and (self._isTold or self._isDue):
                wait = self._nextTake - self._reactor.seconds()
                if self._isTold and wait > 0:
                    # The clock may have been set back.
                    self._resting = self._wait(min(wait, LONGEST_WAIT))
                    await self._resting
                    self._resting = None
                began = self._reactor.seconds()
                try:
                    await (self._take() if self._isTold else self._lookOnce())
                finally:
                    # Whatever went wrong, there is another look.
                    self._rest(self._reactor.seconds() - began)
        except CancelledError:
            # Only by a stop.
            return
        finally:
            self._isWorking = False
            if self._whenDone is not None:
                self._done()

    def _rest(self, taken: float) -> None:
        self._nextTake = self._reactor.seconds() + min(LONGEST_WAIT, REST * taken)
        if self.running:
            # Thousands of keys are looked at less often.
            self._lookLater(max(LOOK_SECONDS, RARELY * taken))

    async def _take(self) -> None:
        """
        Let the pool have what the directory has told us, and remember it.
        """
        self._isTold = False
        attempt, content = self._attempt, self._content
        isFirst = not self.isFresh
        # It may tell more while this is done.
        arguments = dict(content.entries), content.cookie, isFirst, self._now()
        try:
            report = await self._inThread(self._upkeep.take, *arguments)
        except Exception as error:
            # What was told is not in the pool: it is asked for again.
            self._failed(error)
            self._cancel()
            if isinstance(error, ConfigurationError):
                return
            raise
        self._report(report)
        if isFirst and attempt is self._attempt and content.isFresh:
            self._begun()

    async def _lookOnce(self) -> None:
        """
        See whether our keys have changed, and now and then whether our files have.
        """
        self._isDue = False
        self._looks = (self._looks + 1) % LOOKS if self._looks < LOOKS else 0
        entries = dict(self._content.entries)
        try:
            look = self._inThread(self._upkeep.look, entries, not self._looks, self._now())
            self._report(await look)
            self._trouble = ""
        except ConfigurationError as error:
            self._troubled(error)

    def _inThread(self, call: Callable[..., Report], *arguments: Any) -> Deferred[Report]:
        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, call, *arguments)

    def _now(self) -> datetime:
        return datetime.now(UTC)

    # What is said

    def _begun(self) -> None:
        self.isFresh = True
        self._began = self._reactor.seconds()
        self.failure, self._failures, self._stale = "", 0, 0
        self._log.info(
            "{place}: up to date with {count} entries",
            event="provisioned",
            place=str(self.place.url),
            change="refreshed",
            count=self.entries,
        )

    def _troubled(self, error: ConfigurationError) -> None:
        if str(error) != self._trouble:
            self._trouble = str(error)
            self._tell([self._trouble], LogLevel.error)

    def _report(self, report: Report) -> None:
        """
        Say what has become of the pool, and let others know.
        """
        outcome = report.outcome
        self._say(outcome)
        problems = [str(each) for each in outcome.problems]
        self._tell(report.notes, LogLevel.warn)
        self._tell(problems, LogLevel.error)
        if report.isArranged:
            self._said = {*report.notes, *problems}
        if outcome.isNews:
            self.changed = self._reactor.seconds()
            self._whenChanged()

    def _say(self, outcome: Outcome) -> None:
        told = {"event": "provisioned"}
        for change, paths in (
            ("written", outcome.written),
            ("removed", outcome.removed),
            ("withdrawn", outcome.withdrawn),
        ):
            for path in paths[:MOST_NOTES]:
                self._log.info("{path}: {change}", path=path, change=change, **told)
            if len(paths) > MOST_NOTES:
                count = len(paths) - MOST_NOTES
                self._log.info("and {count} more {change}", count=count, change=change, **told)

    def _tell(self, sentences: Iterable[str], level: Any) -> None:
        """
        Say what was not said before.
        """
        news = [each for each in dict.fromkeys(sentences) if each not in self._said]
        for each in news[:MOST_NOTES]:
            self._log.emit(level, "{notice}", event="notice", notice=each)
        if len(news) > MOST_NOTES:
            more = f"and {len(news) - MOST_NOTES} more of that kind"
            self._log.emit(level, "{notice}", event="notice", notice=more)

    def _failed(self, error: Exception) -> None:
        """
        It has not come to the end, or has come to one.
        """
        level, text = LogLevel.warn, str(error)
        if isinstance(error, ResultRefused):
            advice = _ADVICE.get(error.code, "")
            text = f"{text}; {advice}" if advice else text
            level = LogLevel.error
            if error.code in (_UNWILLING, REFRESH_REQUIRED):
                self._stale += 1
        elif isinstance(error, Withheld):
            level = LogLevel.error
        if self._stale >= MOST_STALE:
            self._stale = 0
            self._content.forgetCookie()
            text = f"{text}; everything is asked for again"
        isNews = text != self.failure
        self._failures = 0 if isNews else self._failures + 1
        self.failure = text
        if self._failures % REPEATS == 0:
            notice = f"{self.place.url}: {text}; the pool stays as it is, and it is tried again"
            self._log.emit(level, "{notice}", event="notice", notice=notice)
