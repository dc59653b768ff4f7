"""
What is awaited by one alone, as most of what connections wait for is: a C{Deferred} is made for
many, and takes ten times as much to tell the one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_T = TypeVar("_T")


class Waiting(Deferred[_T]):
    """
    A C{Deferred} that tells one alone: a tenth of the price of callbacks, of which it has none
    then.

    @ivar resume: called with what comes, a result or a C{Failure}, in the place of all callbacks;
        to be set before.
    """

    resume: Callable[[Any], object] | None = None

    def tell(self, resume: Callable[[Any], object]) -> None:
        """
        Let C{resume} be called, also with what has come already.
        """
        if self.called:
            self.addBoth(resume)
        else:
            self.resume = resume

    def callback(self, result: _T) -> None:  # type: ignore[override]
        """
        It has come.
        """
        resume = self.resume
        if resume is None:
            super().callback(result)
            return
        self.called = True
        self.result = result
        # As it does itself: who cancels may be who holds it.
        self._canceller = self.resume = None
        resume(result)

    def errback(self, fail: Failure | BaseException | None = None) -> None:
        """
        It will not come.
        """
        resume = self.resume
        if resume is None:
            super().errback(fail)
            return
        self.called = True
        # C{cancel} looks at it.  The failure itself would keep alive whoever it was raised in.
        self.result = None
        self._canceller = self.resume = None
        resume(fail if isinstance(fail, Failure) else Failure(fail))
