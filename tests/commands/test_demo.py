"""
Tests for how L{tlstunnel.commands.demo} ends.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.commands import demo


class Panic(BaseException):
    """
    What cryptography's Rust raises is no Exception.
    """


class Reactor:
    """
    One that calls what is to be called, and is over.
    """

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.isStopped = False

    def callWhenRunning(self, call: Any) -> None:
        """
        When it runs.
        """
        self.calls.append(call)

    def addSystemEventTrigger(self, *when: object) -> None:
        """
        It does not come to that.
        """

    def run(self) -> None:
        """
        Call them.
        """
        for each in self.calls:
            each()

    def stop(self) -> None:
        """
        It may end.
        """
        self.isStopped = True


class EndTests(SynchronousTestCase):
    """
    L{demo.main}.
    """

    def end(self, error: BaseException | None, isOnce: bool = False) -> tuple[int, bool, str]:
        """
        Let the demonstration end.

        @return: the exit code, whether the program ends, and what was said of errors.
        """

        class Demo:
            """
            Nothing is shown.
            """

            def __init__(self, *arguments: object) -> None:
                pass

            async def run(self) -> None:
                """
                Nor done.
                """
                if error is not None:
                    raise error

        class Process:
            """
            Nothing is served.
            """

            def __init__(self, reactor: object) -> None:
                pass

            startService = stopService = lambda self: None

        reactor, said = Reactor(), io.StringIO()
        self.patch(demo, "reactor", reactor)
        self.patch(demo, "Demo", Demo)
        self.patch(demo, "Process", Process)
        self.patch(demo, "_say", lambda text: None)
        self.patch(sys, "stderr", said)
        options: Any = {"once": isOnce}
        return demo.main(options), reactor.isStopped, said.getvalue()

    def test_whateverEndsItIsShown(self) -> None:
        """
        Also what is no error of its own, and it waits for nothing then.
        """
        for error in (OSError("no port"), CancelledError("cut off"), Panic("of the library")):
            expected = f"tlstunnel demo: {error}\n"
            self.assertEqual(self.end(error), (1, True, expected))

    def test_itGoesOnWhereItIsToBeLookedAt(self) -> None:
        """
        Or ends, if once is enough.
        """
        self.assertEqual(self.end(None), (0, False, ""))
        self.assertEqual(self.end(None, isOnce=True), (0, True, ""))
