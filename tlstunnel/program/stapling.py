"""
Keeps what is stapled to the handshakes of a tunnel fresh: off the way of every connection, from the
moment when the tunnel serves until it stops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cryptography import x509
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.ocsp import Answer
from tlstunnel.tls.staple import Staple

#: Seconds until a responder that gave no good answer is asked again, at first and at most.
RETRY_SECONDS = 60.0
MOST_RETRY_SECONDS = 3600.0

#: The least seconds until it is asked again that gave a good one.
LEAST_SECONDS = 300.0

#: Responders that are asked at the same time.
MOST_AT_ONCE = 4

Fetch = Callable[[str, bytes], Awaitable[bytes]]


class Stapling:
    """
    Does it for one tunnel.
    """

    _log = Logger()

    def __init__(self, reactor: Any, fetch: Fetch | None = None) -> None:
        """
        @param fetch: asks a responder; by default by HTTP.
        """
        self._reactor = reactor
        self._fetch = fetch
        self._tunnel: str | None = None
        self._staples: dict[x509.Certificate, Staple] = {}
        self._running: list[Deferred[None]] = []
        self._isRunning = False
        # Of the askers; to cancel one does not keep it from going on with a failure.
        self._generation = 0

    def use(self, staples: Sequence[Staple], tunnel: str = "") -> None:
        """
        Keep these fresh from now on, and no others; an answer about the same certificate as before
        goes on to be stapled.

        @param tunnel: the name of the tunnel.
        """
        before, self._tunnel = self._staples, tunnel or None
        self._staples = {each.certificate: each for each in staples}
        for certificate, staple in self._staples.items():
            if staple.answer is None and certificate in before:
                staple.answer = before[certificate].answer
        if self._isRunning:
            self.stop()
            self.start()

    def start(self) -> None:
        """
        Ask from now on.
        """
        if self._isRunning:
            return
        self._isRunning = True
        turns = DeferredSemaphore(MOST_AT_ONCE)
        for staple in self._staples.values():
            if not staple.problem:
                running = Deferred.fromCoroutine(self._keep(staple, turns))
                running.addErrback(lambda failure: failure.trap(CancelledError) and None)
                running.addErrback(lambda failure: self._log.failure("stapling failed", failure))
                self._running.append(running)

    def stop(self) -> None:
        """
        Ask no more.
        """
        self._isRunning = False
        self._generation += 1
        running, self._running = self._running, []
        for each in running:
            each.cancel()

    async def _keep(self, staple: Staple, turns: DeferredSemaphore) -> None:
        if staple.answer is not None:
            # Where nobody has given another one in time, a reload does not put off the next try.
            wait = _halfOf(staple.answer) - self._reactor.seconds()
            if wait > 0:
                await self._pause(wait)
        generation = self._generation
        retry = RETRY_SECONDS
        while True:
            answer = await turns.run(lambda: Deferred.fromCoroutine(self._ask(staple)))
            if generation != self._generation:
                return
            if answer is not None:
                retry = RETRY_SECONDS
                await self._pause(_untilNext(answer, self._reactor.seconds()))
            else:
                await self._pause(retry)
                retry = min(2 * retry, MOST_RETRY_SECONDS)

    async def _ask(self, staple: Staple) -> Answer | None:
        """
        Ask once.

        @return: the answer, which is stapled now; C{None} if there is no good one.
        """
        try:
            der = await self._fetcher()(staple.url, staple.question())
            return staple.take(der, self._reactor.seconds())
        except CancelledError:
            raise
        except IdentityRefused as refused:
            problem = refused.detail
        except Exception as error:  # noqa: BLE001 - it is asked again, whatever happened
            problem = str(error) or type(error).__name__
        if not self._isRunning:
            return None
        left = "the last one goes on to be stapled" if staple.read() else "nothing is stapled"
        self._log.warn(
            "{notice}",
            event="notice",
            tunnel=self._tunnel,
            log_system=self._tunnel,
            notice=f"{staple.source}: no word of the responder at {staple.url} that the "
            f"certificate is good ({problem}); {left}",
        )
        return None

    def _fetcher(self) -> Fetch:
        if self._fetch is None:
            # It is large, and few need it.
            from tlstunnel.program.ocspfetch import Fetcher

            self._fetch = Fetcher(self._reactor).fetch
        return self._fetch

    def _pause(self, seconds: float) -> Deferred[None]:
        over: Deferred[None] = Deferred(lambda _: call.cancel())
        call: IDelayedCall = self._reactor.callLater(seconds, over.callback, None)
        return over


def _halfOf(answer: Answer) -> float:
    """
    When half of the time of an answer is over, in seconds since 1970.
    """
    return (answer.start + answer.end) / 2


def _untilNext(answer: Answer, now: float) -> float:
    """
    Seconds until an answer should be replaced: at half of its time, or of what is left of it.
    """
    half = _halfOf(answer) - now
    return max(half if half > 0 else (answer.end - now) / 2, LEAST_SECONDS)
