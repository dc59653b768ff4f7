"""
Calling a method of an object that nobody keeps for that.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakMethod


def weakly(method: Callable[[], None]) -> Callable[[], None]:
    """
    Calls C{method} as long as its object is there: whoever keeps it does not keep that, so that
    nothing waits for the garbage collector.
    """
    kept = WeakMethod(method)

    def call() -> None:
        found = kept()
        if found is not None:
            found()

    return call
