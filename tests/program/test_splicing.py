"""
Tests for L{tlstunnel.program.splicing}: who listens on this host for others.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tlstunnel.program import splicing as module
from tlstunnel.program.splicing import listeningPorts

TOP = Path(__file__).resolve().parents[2]


class ListeningPortsTests(SynchronousTestCase):
    """
    L{listeningPorts}.
    """

    def test_othersCanReachWhatIsNotOnLoopback(self) -> None:
        """
        In both families.
        """
        for family, everywhere, loopback in (
            (socket.AF_INET, "0.0.0.0", "127.0.0.1"),
            (socket.AF_INET6, "::", "::1"),
        ):
            with (
                socket.create_server((everywhere, 0), family=family) as reachable,
                socket.create_server((loopback, 0), family=family) as hidden,
                socket.socket(family) as closed,
            ):
                closed.bind((everywhere, 0))
                ports = listeningPorts()
                self.assertIn(reachable.getsockname()[1], ports)
                self.assertNotIn(hidden.getsockname()[1], ports)
                self.assertNotIn(closed.getsockname()[1], ports)

    def test_whoDoesNotListenIsNotLookedAt(self) -> None:
        """
        There may be tens of thousands of connections, and they are listed behind those who listen.
        """
        table = Path(self.mktemp())
        rows = [
            "  sl  local_address rem_address   st tx_queue rx_queue",
            "   0: 00000000:0019 00000000:0000 0A 00000000:00000000",
            "   1: 0100007F:0050 00000000:0000 0A 00000000:00000000",
            "   2: 00000000:01BB 00000000:0000 01 00000000:00000000",
            "nobody reads this",
        ]
        table.write_text("".join(f"{each}\n" for each in rows))
        self.patch(module, "_TABLES", (table,))
        self.assertEqual(listeningPorts(), {0x19})

    def test_theyAreKnownWhereProcIsHidden(self) -> None:
        """
        As the systemd unit has it, with ProcSubset=pid.
        """
        script = (
            'mount -t proc -o subset=pid proc /proc && test ! -e /proc/net && exec "$0" -c '
            '"from tlstunnel.program.splicing import listeningPorts; print(*listeningPorts())"'
        )
        with socket.create_server(("0.0.0.0", 0)) as reachable:
            done = subprocess.run(
                ["unshare", "--mount", "sh", "-c", script, sys.executable],
                env={**os.environ, "PYTHONPATH": str(TOP)},
                capture_output=True,
                text=True,
                check=False,
            )
            if "mount" in done.stderr or "unshare" in done.stderr:
                raise SkipTest("we may not hide anything (unshare(1))")
            self.assertIn(str(reachable.getsockname()[1]), done.stdout.split(), done.stderr)
