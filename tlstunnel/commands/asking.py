"""
What commands have in common that go to a server: how it is asked for, and how long that may take.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from tlstunnel.errors import ConfigurationError
from tlstunnel.probe.question import Place, Question, identityAt
from tlstunnel.program.configure import describe
from tlstunnel.program.option import read
from tlstunnel.program.options import TUNNEL_OPTIONS
from tlstunnel.tunnel.description import PSK
from tlstunnel.tunnel.limits import Limits

_T = TypeVar("_T")

#: Seconds that each step may take, by default.
LIMITS = Limits(connect=10, connectTotal=20, greeting=30, negotiation=20, handshake=15)

# What nobody listens at.
_NOWHERE = "127.0.0.1:0"


def questionOf(
    given: Mapping[str, object], place: Place, limits: Limits, isThorough: bool = False
) -> Question:
    """
    What is asked.

    @param given: values of options that a tunnel has, too, by their names.
    @raise ConfigurationError: something about it is wrong.
    """
    values = read(
        {
            **given,
            "client": [True],
            "local": [_NOWHERE],
            "remote": [str(place.address)],
            "starttls": [place.dialect],
        },
        TUNNEL_OPTIONS,
    )
    if not values["remote-id"]:
        values["remote-id"] = (str(identityAt(place.address)),)
    if PSK in values["trust"]:
        raise ConfigurationError(
            f"`trust` {PSK}", "is for tunnels: here a certificate is looked at", "leave it out"
        )
    tunnel = describe(values)
    if tunnel.believesPins and "remote-id" not in given:
        # The key alone says enough.
        tunnel = replace(tunnel, remoteID=None)
    return Question(replace(tunnel, limits=limits), place.guesses, isThorough)


def limitsOf(timeout: str | None) -> Limits:
    """
    What each step may take.

    @param timeout: the value of C{--timeout}, if it was given.
    @raise ConfigurationError: it is none.
    """
    if timeout is None:
        return LIMITS
    try:
        seconds = float(timeout)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ConfigurationError(
            f"--timeout {timeout}", "is no number of seconds", "give one such as 10"
        )
    return Limits(
        connect=seconds,
        connectTotal=2 * seconds,
        greeting=seconds,
        negotiation=seconds,
        handshake=seconds,
    )


def ask(run: Callable[[Any], Coroutine[Any, Any, _T]]) -> _T | None:
    """
    Let the reactor run until something is found out.

    @param run: finds it out, on the reactor that it is given.
    @return: L{None} if the user does not want to know any more.
    """
    from twisted.internet import reactor as _reactor

    from tlstunnel.program.lookups import abandonAtEnd

    reactor: Any = _reactor
    abandonAtEnd(reactor)
    found: list[_T | Failure] = []
    running: list[Deferred[_T]] = []

    async def go() -> _T:
        return await run(reactor)

    def begin() -> None:
        running.append(Deferred.fromCoroutine(go()))
        running[0].addBoth(end)

    def end(result: _T | Failure) -> None:
        found.append(result)
        # Ctrl-C stops it, too.
        with suppress(ReactorNotRunning):
            reactor.stop()

    def leave() -> None:
        for each in running:
            each.cancel()

    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", leave)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    reactor.run()
    for number, action in before.items():
        # Those of the reactor stay, and do nothing any more: a question could not be interrupted.
        signal.signal(number, action)
    (result,) = found
    if not isinstance(result, Failure):
        return result
    if not result.check(CancelledError):
        result.raiseException()
    return None
