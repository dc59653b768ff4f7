"""
A turn of the reactor of one's own: what a program says and hears passes in turns in which nothing
of ours is going on, so that whatever it does there, it does to nobody in the middle of something.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Turn:
    """
    Calls something in a turn of its own, once, however often it is asked for.
    """

    __slots__ = ("_act", "_call", "_clock")

    def __init__(self, clock: IReactorTime, act: Callable[[], object]) -> None:
        self._clock = clock
        self._act: Callable[[], object] | None = act
        self._call: IDelayedCall | None = None

    def ask(self) -> None:
        """
        There is something to do.
        """
        if self._call is None and self._act is not None:
            self._call = self._clock.callLater(0, self._take)

    def forget(self) -> None:
        """
        There is nothing to do any more, whoever asks for it.
        """
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        # What refers to each other in a circle would wait for the garbage collector.
        self._act = None

    def _take(self) -> None:
        self._call = None
        if self._act is not None:
            self._act()
