"""
Tests for L{tlstunnel.tls.attempts}: no PIN is tried twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.tls.attempts import VARIABLE, Attempts, RefusedBefore

TOP = Path(__file__).resolve().parents[2]
ONE, OTHER = b"1" * 32, b"2" * 32

# A worker that tries the same, and says how it went.
_WORKER = """
from tlstunnel.tls.attempts import Attempts, RefusedBefore
def fail():
    print("tried", flush=True)
    raise ValueError
try:
    Attempts().once(b"1" * 32, fail, lambda: True)
except RefusedBefore:
    print("refused before")
except ValueError:
    pass
"""


class AttemptsTests(SynchronousTestCase):
    """
    What was refused.
    """

    def setUp(self) -> None:
        """
        Nothing yet.
        """
        self.attempts = Attempts()
        self.tries = 0
        self.addCleanup(lambda: os.close(self.attempts.descriptor))

    def tryIt(self) -> None:
        """
        An attempt that does not succeed.
        """
        self.tries += 1
        raise ValueError

    def attempt(self, digest: bytes, isPIN: bool = True) -> type[BaseException]:
        """
        Try it.

        @return: what has become of it.
        """
        expected = (ValueError, RefusedBefore)
        error = self.assertRaises(expected, self.attempts.once, digest, self.tryIt, lambda: isPIN)
        return type(error)

    def test_whatWasRefusedIsNotTriedAgain(self) -> None:
        """
        Something else is.
        """
        self.assertFalse(self.attempts.areAny)
        self.assertIs(self.attempt(ONE), ValueError)
        self.assertTrue(self.attempts.areAny)
        self.assertIs(self.attempt(OTHER), ValueError)
        for digest in ONE, OTHER, ONE:
            self.assertIs(self.attempt(digest), RefusedBefore)
        self.assertEqual(self.tries, 2)

    def test_otherFailuresDoNotCount(self) -> None:
        """
        A token that is not there may come.
        """
        self.assertIs(self.attempt(ONE, isPIN=False), ValueError)
        self.assertEqual(self.attempts.once(ONE, lambda: 5, lambda: True), 5)
        self.assertFalse(self.attempts.areAny)

    def test_ofSeveralProcessesOneTriesIt(self) -> None:
        """
        Workers share what is known, and wait for each other.
        """
        environment = {**os.environ, "PYTHONPATH": str(TOP)}
        environment[VARIABLE] = str(self.attempts.descriptor)
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", _WORKER],
                env=environment,
                stdout=subprocess.PIPE,
                pass_fds=[self.attempts.descriptor],
                text=True,
            )
            for _ in range(3)
        ]
        said = sorted(each.communicate()[0] for each in workers)
        self.assertEqual(said, ["refused before\n"] * 2 + ["tried\n"])
        self.assertIs(self.attempt(ONE), RefusedBefore)
