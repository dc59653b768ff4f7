"""
Tests for C{tlstunnel pool pull}: the program, run, without a directory.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.program.processes import TLSTUNNEL, TOP, WAIT_SECONDS


class PoolPullTests(SynchronousTestCase):
    """
    The program.
    """

    def test_itOutlivesSIGHUPAndEndsInOrder(self) -> None:
        """
        The former makes it look around, and so whoever reloads all that runs does not end it.
        """
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        url = f"ldapi://{str(folder / 'nobody').replace('/', '%2F')}/ou=pool"
        words = [sys.executable, *TLSTUNNEL, "pool", "pull", url, "--pool", str(folder / "pool")]
        environment = {**os.environ, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"}
        with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE) as process:
            self.addCleanup(process.kill)
            assert process.stderr is not None
            self.assertIn(b"No such file", process.stderr.readline())
            shutil.rmtree(folder / "pool")
            process.send_signal(signal.SIGHUP)
            self.assertIn(b"is gone", process.stderr.readline())
            process.terminate()
            self.assertEqual(process.wait(WAIT_SECONDS), 0)
