"""
Noticing that files have changed: those of the configuration, and the certificates, keys, anchors,
scripts and logins of its tunnels.

It looks at what the system says of each file every second, which works on every file system.
What has changed is taken up once two looks agree, so that a file which is being written is left
alone.  One that is only half there is waited for, without a word, for a while.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from tlstunnel.chat.dialect import ChatDialect
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import PSK_FILE
from tlstunnel.program.configuration import Configuration
from tlstunnel.tunnel.description import WORDS, Tunnel

#: Seconds between two looks.
LOOK_SECONDS = 1.0

#: Files that are looked at in a second, at most: a look at thousands of them is a rarer one.
FILES_PER_SECOND = 200

#: Files that one turn of the reactor looks at.
FILES_PER_TURN = 50

#: Seconds in which nothing is said of files that have changed and cannot be used: whoever writes a
#: certificate and its key does so in some seconds.
PATIENCE_SECONDS = 60.0

#: What the system says of a file: it has changed if that has; C{None} where there is none.
State = tuple[int, ...] | None


def stateOf(path: Path) -> State:
    """
    What the system says of C{path}, or of what it leads to.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def filesOf(configuration: Configuration) -> Iterator[Path]:
    """
    All files and directories that make what is served, found as they are asked for; those of
    several tunnels are there again and again.
    """
    yield from configuration.files
    entries = cache(_entries)
    for tunnel in configuration.tunnels:
        for side in tunnel.sides:
            yield from _filesOf(side, entries)
    if configuration.poolService is not None:
        # All else it reads when it is needed.
        pool = configuration.poolService.pool.path
        yield pool
        yield from (each / "fullchain.pem" for each in _entries(pool))


def _filesOf(tunnel: Tunnel, entries: Callable[[Path], Iterable[Path]]) -> Iterator[Path]:
    """
    @param entries: what is in a directory; that of a thousand tunnels is read once.
    """
    pool = tunnel.pool.path
    if tunnel.sharesKeys:
        yield from _keysOf(pool, tunnel, entries)
    for identity in dict.fromkeys((*tunnel.localIDs, *(each.identity for each in tunnel.names))):
        yield from _credentialsOf(pool, identity)
    yield pool / "ca" / "cert.pem"
    yield from map(Path, (*tunnel.remoteIDFiles, *tunnel.denyIDFiles))
    for place in [pool / "trust", *(Path(each) for each in tunnel.trust if each not in WORDS)]:
        yield place
        yield from entries(place)
    if tunnel.viaAuthFile is not None:
        yield tunnel.viaAuthFile
    yield from tunnel.disclosure.files.values()
    dialect = tunnel.dialect
    if isinstance(dialect, ChatDialect) and dialect.script is not None:
        yield Path(dialect.script.name)


@lru_cache(8192)
def _credentialsOf(pool: Path, identity: Identity) -> tuple[Path, Path]:
    """
    The files of one of our identities; of thousands, to put the paths together again and again
    would take longer than to look at what is there.
    """
    own = pool / identity.fileName
    return own / "fullchain.pem", own / "privkey.pem"


def _keysOf(
    pool: Path, tunnel: Tunnel, entries: Callable[[Path], Iterable[Path]]
) -> Iterator[Path]:
    """
    The pre-shared keys that may count: ours with a server, and those of all clients.
    """
    if tunnel.mode.acceptsTLS:
        yield pool
        yield from (each / PSK_FILE for each in entries(pool))
    elif tunnel.localID is not None:
        yield pool / tunnel.localID.fileName / PSK_FILE


def _entries(place: Path) -> Iterable[Path]:
    try:
        return [place / name for name in os.listdir(place)]  # noqa: PTH208 - names are enough
    except OSError:
        return ()


class Watch:
    """
    Looks at files.

    @ivar served: the states of the files that made what is served, by their paths.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        files: Callable[[], Iterable[Path]],
        reload: Callable[[bool], Deferred[None]],
    ) -> None:
        """
        @param files: gives those that matter now; none, if none is to be taken up by itself.
        @param reload: takes up what has changed, and sets C{served}; called with whether to say
            nothing of a failure, which is a L{ConfigurationError}.
        """
        self.served: dict[Path, State] = {}
        self._reactor = reactor
        self._files = files
        self._reload = reload
        # What the last look saw, what was tried last, and what is known to be of no use.
        self._seen: Mapping[Path, State] = {}
        self._tried: Mapping[Path, State] = {}
        self._refused: Mapping[Path, State] = {}
        self._since: float | None = None
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """
        Look from now on.
        """
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._running.addErrback(lambda failure: self._log.failure("looking failed", failure))

    def stop(self) -> None:
        """
        Look no more.
        """
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    async def _run(self) -> None:
        while True:
            await self._pause(max(LOOK_SECONDS, len(self._seen) / FILES_PER_SECOND))
            try:
                await self._round()
            except CancelledError:
                # We are to look no more.
                raise
            except Exception:  # noqa: BLE001 - the next look may be better
                self._log.failure("looking failed")

    def _pause(self, seconds: float) -> Deferred[None]:
        over: Deferred[None] = Deferred(lambda _: call.cancel())
        call: IDelayedCall = self._reactor.callLater(seconds, over.callback, None)
        return over

    def lookNow(self) -> None:
        """
        Look at all files, before the reactor runs: they are about to be served.
        """
        self.served = {path: stateOf(path) for path in self._files()}

    async def look(
        self, files: Iterable[Path] | None = None, known: Container[Path] = ()
    ) -> dict[Path, State]:
        """
        Look at all files.

        @param files: others than those that matter now.
        @param known: which of them are not to be looked at.
        @return: their states.
        """
        found: dict[Path, State] = {}
        for number, path in enumerate(self._files() if files is None else files, 1):
            if path not in found and path not in known:
                found[path] = stateOf(path)
            if not number % FILES_PER_TURN:
                await self._pause(0)
        return found

    async def _round(self) -> None:
        now = await self.look()
        before, self._seen = self._seen, now
        # What was not looked at before is as it was read.
        isServed = all(self.served.setdefault(path, state) == state for path, state in now.items())
        if isServed or now == self._refused:
            self._since = None
            return
        seconds = self._reactor.seconds()
        if self._since is None:
            self._since = seconds
        isPatient = seconds - self._since < PATIENCE_SECONDS
        if now == before and not (isPatient and now == self._tried):
            await self._try(now, isPatient)

    async def _try(self, now: Mapping[Path, State], isPatient: bool) -> None:
        """
        Take up what has changed.
        """
        self._tried = now
        try:
            await self._reload(isPatient)
        except ConfigurationError:
            if not isPatient:
                self._refused = now
        except CancelledError:
            # We are to look no more.
            raise
        except Exception:  # noqa: BLE001 - who reloads has said it; the next change may be taken up
            self._refused = now
