"""
Tests for L{tlstunnel.program.display}; how it goes through reloads is in
L{tests.program.test_statusrun}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

CHECKOUT = Path(__file__).parents[2]

PROGRAM = """
import sys
from tlstunnel.tls import openssl
openssl.configure()
import tlstunnel.commands.run
import tlstunnel.program.worker
for name in sys.modules:
    if name.partition(".")[0] == "prometheus_client" or name.startswith("twisted.web"):
        print(name)
"""


class DisplayTests(SynchronousTestCase):
    """
    What the program loads.
    """

    def test_whoShowsNothingLoadsNothing(self) -> None:
        """
        A tunnel without a status, and every worker, has no web server, whatever is installed.
        """
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        self.assertEqual(done.stdout, "")
