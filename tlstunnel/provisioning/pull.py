"""
Keeps a pool up with a directory, whatever becomes of that.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, LogLevel

from tlstunnel.errors import ConfigurationError, TunnelError
from tlstunnel.identity.files import present
from tlstunnel.identity.names import Selector
from tlstunnel.provisioning.connection import Connection, Connector, Place
from tlstunnel.provisioning.content import Content
from tlstunnel.provisioning.errors import ResultRefused, Withheld
from tlstunnel.provisioning.files import Files, Outcome
from tlstunnel.provisioning.keys import KeyRing, Keys
from tlstunnel.provisioning.layout import Server, layOut
from tlstunnel.provisioning.session import follow
from tlstunnel.provisioning.state import State
from tlstunnel.provisioning.sync import REFRESH_REQUIRED

#: Seconds until it is tried again: twice as many each time, until it has gone well for so long.
FIRST_PAUSE, LONGEST_PAUSE, STEADY = 0.5, 30.0, 5.0

#: Seconds between two looks at our keys, and such looks between two at all our files.
LOOK_SECONDS, LOOKS = 1.0, 60

#: How many times as long as it takes to take something up nothing more is taken up, and how many
#: seconds at most.
REST, LONGEST_WAIT = 2.0, 1.0

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
    Follows a directory.

    @ivar isFresh: whether the pool is as the directory has it now.
    """

    _log = Logger()

    def __init__(self, place: Place, reactor: Any, mayRemove: bool = False) -> None:
        """
        @param mayRemove: let the first refresh remove as much as it likes.
        """
        self._place = place
        self._reactor = reactor
        self._mayRemove = mayRemove
        self._state = State(place.pool, str(place.url))
        self._files = Files(place.pool, self._state.path / "files", self._state.workshop)
        self._ring = KeyRing(place.pool)
        self._keys: Keys = {}
        self._content = Content({}, b"")
        self._connector = Connector(reactor)
        self._running: Deferred[None] | None = None
        self._attempt: Deferred[None] | None = None
        self._looking: IDelayedCall | None = None
        self._looks = 0
        self._later: IDelayedCall | None = None
        self._nextTake = 0.0
        self._said: set[str] = set()
        self._trouble = ""
        # Whether what should be in the pool is known: not where another directory was followed
        # before, or something of what is remembered was lost.
        self._isKnown = False
        self._failure, self._failures, self._stale = "", 0, 0
        self._pause, self._began = FIRST_PAUSE, 0.0
        self.isFresh = False

    def privilegedStartService(self) -> None:
        """
        Read what is remembered, and see whether there is what is needed.

        @raise ConfigurationError: there is not.
        """
        if not self._place.isLocal:
            self._place.prepare()
        self._state.open()
        self._files.open()
        self._keys = self._ring.look()
        self._content = Content(self._state.entries, self._state.cookie, self._mayRemove)
        self._isKnown = self._state.isWhole

    def startService(self) -> None:
        """
        Follow it from now on.
        """
        super().startService()
        self.lookAround()
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._running.addErrback(lambda failure: self._log.failure("pulling failed", failure))

    def stopService(self) -> None:
        """
        Follow it no more; all stays as it is.
        """
        super().stopService()
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        for call in self._looking, self._later:
            if call is not None and call.active():
                call.cancel()
        self._connector.leave()
        self._state.close()

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
        connection = await self._connector.connect(self._place, self._cancel)
        try:
            await follow(connection, self._place.url.base, self._content, self._told)
        except BaseException:
            self._end(connection)
            if self._later is not None:
                self._takeNow()
            raise

    def _end(self, connection: Connection) -> None:
        if self.running:
            connection.abort()
        else:
            connection.close()

    def _told(self) -> None:
        """
        The directory has told us something: that is taken up at once, unless something was just
        before; of many changes many are taken up together.
        """
        if self._later is None:
            wait = self._nextTake - self._reactor.seconds()
            if wait <= 0:
                self._take()
            else:
                # The clock may have been set back.
                self._later = self._reactor.callLater(min(wait, LONGEST_WAIT), self._takeNow)

    def _takeNow(self) -> None:
        later, self._later = self._later, None
        if later is not None and later.active():
            later.cancel()
        try:
            self._take()
        except ConfigurationError as error:
            self._failed(error)
            self._cancel()

    def _take(self) -> None:
        """
        Let the pool have what the directory has told us, and remember it.
        """
        began = self._reactor.seconds()
        self._state.keep(self._content.entries)
        isFirst = not self.isFresh
        self._isKnown = True
        self._arrange(self._keys, isThorough=isFirst)
        self._state.keepCookie(self._content.cookie)
        if isFirst:
            self._begun()
        ended = self._reactor.seconds()
        self._nextTake = ended + min(LONGEST_WAIT, REST * (ended - began))

    def _begun(self) -> None:
        self.isFresh = True
        self._began = self._reactor.seconds()
        self._failure, self._failures, self._stale = "", 0, 0
        self._log.info(
            "{place}: up to date with {count} entries",
            event="provisioned",
            place=str(self._place.url),
            change="refreshed",
            count=len(self._content.entries),
        )

    def lookAround(self) -> None:
        """
        See now whether everything is as it should be in the pool.
        """
        if self._looking is not None and self._looking.active():
            self._looking.cancel()
        self._looks = -1
        self._look()

    def _look(self) -> None:
        """
        See whether our keys have changed, and now and then whether our files have.
        """
        self._looking = self._reactor.callLater(LOOK_SECONDS, self._look)
        self._looks = (self._looks + 1) % LOOKS
        try:
            keys = self._ring.look()
            if keys != self._keys or not self._looks:
                self._arrange(keys, isThorough=not self._looks)
            self._trouble = ""
        except ConfigurationError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._tell([self._trouble], LogLevel.error)

    def _arrange(self, keys: Keys, isThorough: bool) -> None:
        """
        Let the pool have what it should with C{keys}, once that is known.
        """
        if not self._isKnown:
            return
        place = self._place
        layout = layOut(
            place.pool,
            place.url.base,
            self._content.entries,
            keys,
            self._server(),
            datetime.now(UTC),
        )
        outcome = self._files.apply(layout, isThorough)
        self._keys = keys
        problems = [str(each) for each in outcome.problems]
        notes = [*layout.notes, *outcome.notes]
        self._say(outcome)
        self._tell(notes, LogLevel.warn)
        self._tell(problems, LogLevel.error)
        self._said = {*notes, *problems}

    def _server(self) -> Server:
        expected = self._place.expected
        if expected is None:
            return Server()
        file = self._place.pool.trustFile(Selector.parse(str(expected)))
        return Server(expected, present(file))

    def _say(self, outcome: Outcome) -> None:
        told = {"event": "provisioned"}
        for change, paths in ("written", outcome.written), ("removed", outcome.removed):
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
        isNews = text != self._failure
        self._failures = 0 if isNews else self._failures + 1
        self._failure = text
        if self._failures % REPEATS == 0:
            self._log.emit(level, "{notice}", event="notice", notice=f"{self._place.url}: {text}")
