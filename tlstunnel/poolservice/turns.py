"""
The time that requests take before their connections begin: rules, certificates and anchors are read
for them, at once, which takes milliseconds where it was not done before.

Whoever makes many requests at the same time waits for them himself: in one turn of the reactor no
more is done than fits into it, and users take turns.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

#: Seconds of one turn of the reactor, beside the last that was begun within them.
TURN_SECONDS = 0.01

_Work = Callable[[], Any]


class UserTurns:
    """
    Those of the users of one service.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        # Of the turn that goes on: as time passes with something else, it counts for less.
        self._spent = 0.0
        self._ended = 0.0
        self._isDue = False
        # What waits, by user; the one whose turn it is first.
        self._waiting: OrderedDict[int, deque[tuple[_Work, Deferred[Any]]]] = OrderedDict()

    def take(self, uid: int, work: _Work) -> Any:
        """
        Do C{work} for a user, now or when it is his turn.

        @return: what that returns, or a Deferred that fires with it where it has to wait.
        @raise Exception: whatever C{work} raises, where it is done now.
        """
        now = self._reactor.seconds()
        self._spent = max(0.0, self._spent - max(0.0, now - self._ended))
        if not self._waiting and self._spent < TURN_SECONDS:
            return self._do(work, now)
        self._ended = now
        result: Deferred[Any] = Deferred()
        self._waiting.setdefault(uid, deque()).append((work, result))
        self._goOn()
        return result

    def _do(self, work: _Work, began: float) -> Any:
        try:
            return work()
        finally:
            self._ended = self._reactor.seconds()
            self._spent += max(0.0, self._ended - began)

    def _goOn(self) -> None:
        if self._waiting and not self._isDue:
            self._isDue = True
            self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        """
        A new turn: do of what waits as much as fits.
        """
        self._isDue = False
        self._spent = 0.0
        while self._waiting:
            uid, several = self._waiting.popitem(last=False)
            work, result = several.popleft()
            if several:
                # Behind all others.
                self._waiting[uid] = several
            if result.called:
                # Nobody waits for it any more.
                continue
            try:
                found = self._do(work, self._reactor.seconds())
            except Exception:  # noqa: BLE001 - it is for whoever waits
                result.errback()
            else:
                if isinstance(found, Deferred):
                    found.chainDeferred(result)
                else:
                    result.callback(found)
            if self._spent >= TURN_SECONDS:
                break
        self._goOn()
