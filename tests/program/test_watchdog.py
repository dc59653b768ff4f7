"""
Tests for L{tlstunnel.program.watchdog}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.program.watchdog import Watchdog, watchdogSeconds


class SecondsTests(SynchronousTestCase):
    """
    What sd_watchdog_enabled(3) says.
    """

    def test_noneIsConfigured(self) -> None:
        """
        Without the variable, or with an empty one.
        """
        self.assertEqual(watchdogSeconds({}, 7), 0)
        self.assertEqual(watchdogSeconds({"WATCHDOG_USEC": ""}, 7), 0)
        self.assertEqual(watchdogSeconds({"WATCHDOG_PID": "7"}, 7), 0)

    def test_oneIsForUs(self) -> None:
        """
        If it names us, or nobody.
        """
        limit = {"WATCHDOG_USEC": "30000000"}
        self.assertEqual(watchdogSeconds(limit, 7), 30)
        self.assertEqual(watchdogSeconds({**limit, "WATCHDOG_PID": "7"}, 7), 30)
        self.assertEqual(watchdogSeconds({**limit, "WATCHDOG_PID": ""}, 7), 30)

    def test_oneIsForAnother(self) -> None:
        """
        As where a shell has started us.
        """
        environment = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}
        self.assertEqual(watchdogSeconds(environment, 7), 0)

    def test_nonsenseIsNamed(self) -> None:
        """
        With the variable, and what it says.
        """
        for value in (
            "x",
            "-1",
            "0",
            "1.5",
            " 1",
            "\N{ARABIC-INDIC DIGIT ONE}",
            str(2**64 - 1),
            "9" * 50,
        ):
            for name, other in (("WATCHDOG_USEC", "WATCHDOG_PID"), ("WATCHDOG_PID",) * 2):
                environment = {"WATCHDOG_USEC": "1", other: "7", name: value}
                error = self.assertRaises(ValueError, watchdogSeconds, environment, 7)
                self.assertIn(f"{name} is {value[:40]!r}, and not a number above 0", str(error))

    @given(st.text(), st.text())
    def test_anyTextIsUnderstoodOrNamed(self, limit: str, pid: str) -> None:
        """
        Nothing else is raised, and no time is negative.
        """
        try:
            seconds = watchdogSeconds({"WATCHDOG_USEC": limit, "WATCHDOG_PID": pid}, 7)
        except ValueError:
            return
        self.assertGreaterEqual(seconds, 0)


class WatchdogTests(SynchronousTestCase):
    """
    L{Watchdog}.
    """

    def test_itHearsOfUsTwiceInItsTime(self) -> None:
        """
        From the beginning on, for ever.
        """
        clock = Clock()
        pings: list[float] = []
        Watchdog(clock, 30.0, lambda: pings.append(clock.seconds())).start()
        clock.pump([1.0] * 60)
        self.assertEqual(pings, [0.0, 15.0, 30.0, 45.0, 60.0])

    def test_itHearsOfUsAfterAFault(self) -> None:
        """
        Once is not for ever.
        """
        clock = Clock()
        pings: list[float] = []

        def ping() -> None:
            pings.append(clock.seconds())
            if len(pings) == 2:
                raise ZeroDivisionError

        Watchdog(clock, 30.0, ping).start()
        self.assertRaises(ZeroDivisionError, clock.advance, 15.0)
        clock.advance(15.0)
        self.assertEqual(pings, [0.0, 15.0, 30.0])
