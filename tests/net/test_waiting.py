"""
Tests for L{tlstunnel.net.waiting}.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Reset
from tlstunnel.net.waiting import Waiting


class WaitingTests(SynchronousTestCase):
    """
    L{Waiting}, by the side that steps through a coroutine itself.
    """

    def stepped(self) -> tuple[Waiting[Any], list[object]]:
        """
        One that has whom to tell, and what that is called with.
        """
        told: list[object] = []
        waiting: Waiting[Any] = Waiting(lambda _: None)
        waiting.tell(told.append)
        return waiting, told

    def test_whatHasComeIsToldOnce(self) -> None:
        """
        Then it has been called, as any Deferred.
        """
        waiting, told = self.stepped()
        waiting.callback(None)
        self.assertEqual(told, [None])
        self.assertTrue(waiting.called)
        waiting.cancel()
        self.assertEqual(told, [None])

    def test_anErrorIsToldAsAFailure(self) -> None:
        """
        However it is given, and once.
        """
        for error in (Reset("x"), Failure(Reset("x"))):
            waiting, told = self.stepped()
            waiting.errback(error)
            (failure,) = told
            assert isinstance(failure, Failure)
            failure.trap(Reset)
            waiting.cancel()
            self.assertEqual(told, [failure])

    def test_itCanBeCancelled(self) -> None:
        """
        As any Deferred; nobody is left who knows whom.
        """
        waiting, told = self.stepped()
        waiting.cancel()
        (failure,) = told
        assert isinstance(failure, Failure)
        failure.trap(CancelledError)
        self.assertIsNone(waiting.resume)

    def test_withoutItIsADeferred(self) -> None:
        """
        With callbacks.
        """
        waiting = Waiting[Any](lambda _: None)
        waiting.callback(None)
        self.assertIsNone(self.successResultOf(waiting))
        waiting = Waiting[Any](lambda _: None)
        waiting.errback(Reset("x"))
        self.failureResultOf(waiting, Reset)

    def test_whatHasComeAlreadyIsToldAtOnce(self) -> None:
        """
        Whoever asks late hears it nevertheless.
        """
        waiting: Waiting[Any] = Waiting()
        waiting.callback(1)
        told: list[object] = []
        waiting.tell(told.append)
        self.assertEqual(told, [1])

    def test_whoCancelsIsForgottenOnceItHasCome(self) -> None:
        """
        Often it holds what is awaited, and both would be left for the garbage collector.
        """

        class Holder:
            """Somebody like that."""

            def __init__(self, finish: Callable[[Waiting[Any]], object]) -> None:
                self.waiting: Waiting[Any] = Waiting(self.cancel)
                self.waiting.tell(lambda _: None)
                finish(self.waiting)

            def cancel(self, waiting: Deferred[Any]) -> None:
                """Nothing is to be done."""

        ends: tuple[Callable[[Waiting[Any]], object], ...] = (
            lambda waiting: waiting.callback(None),
            lambda waiting: waiting.errback(Reset("x")),
            lambda waiting: waiting.cancel(),
        )
        gc.disable()
        self.addCleanup(gc.enable)
        for finish in ends:
            gone = ref(Holder(finish))
            self.assertIsNone(gone())
