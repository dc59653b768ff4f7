"""
A coroutine that is told in steps, from what it waits for to the next; this knows nothing of what
happens in it.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tlstunnel.net.waiting import Waiting


class Story:
    """
    One of them, and what is waited for after it.
    """

    __slots__ = ("_running", "_story")

    _story: Coroutine[Any, Any, None]

    def __init__(self) -> None:
        self._running: Deferred[Any] | None = None

    def _tell(self, story: Coroutine[Any, Any, None]) -> None:
        """
        Let it happen.
        """
        self._story = story
        self._step(None)

    def _step(self, result: object) -> None:
        """
        Go on with it until it waits again.  C{Deferred.fromCoroutine} does the same, with a
        Deferred more and three calls more for each step.

        @param result: what came of what it waited for.
        """
        try:
            if isinstance(result, Failure):
                assert result.value is not None
                waiting = self._story.throw(result.value)
            else:
                waiting = self._story.send(None)
        except StopIteration:
            return
        self._running = waiting
        if isinstance(waiting, Waiting):
            waiting.resume = self._step
        else:
            waiting.addBoth(self._step)

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()
