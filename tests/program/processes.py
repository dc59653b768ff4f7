"""
The C{tlstunnel} program in processes of its own, for tests.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.program.test_jsonlines import documented
from tests.users import STRANGER
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

TOP = Path(__file__).resolve().parents[2]
#: Seconds after which a test that waits fails.
WAIT_SECONDS = 30

TLSTUNNEL = ("-m", "tlstunnel")
TWISTD = ("-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "tlstunnel")

# As a user without a name and a home, who perhaps may not read Python's own modules.
AS_STRANGER = f"""
import encodings.idna, os, sys
import tlstunnel.commands.identity, tlstunnel.commands.run
from tlstunnel.__main__ import main
tlstunnel.program.commandline.listProtocols()
os.setgroups([])
os.setgid({STRANGER})
os.setuid({STRANGER})
sys.exit(main())
"""


def nameOf(sock: socket.socket) -> str:
    """
    Where C{sock} listens, as an option has it.
    """
    host, port = sock.getsockname()
    return f"{host}:{port}"


class ProgramTestCase(SynchronousTestCase):
    """
    A pool, and the program.
    """

    def setUp(self) -> None:
        """
        A pool with one identity.
        """
        self.pool = Path(self.mktemp()).resolve()
        createIdentity(Pool(self.pool, asked=False), Identity.parse("server.example.org"))
        self.program = TLSTUNNEL
        self.environment = {**os.environ, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"}

    def run_(self, *words: str, program: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """
        Run C{program}, or C{self.program}, to its end.
        """
        return subprocess.run(
            [sys.executable, *(program or self.program), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def fails(self, code: int, message: str, *words: str) -> None:
        """
        The program ends with C{code}, and with C{message} in its first line; no traceback.
        """
        done = self.run_(*words)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(message, done.stderr.splitlines()[0])
        self.assertNotIn("Traceback", done.stderr)
        self.assertLessEqual(len(done.stderr.splitlines()), code)

    def server(
        self,
        *words: str,
        name: str = "server.example.org",
        pool: str | None = None,
        remote: str = "127.0.0.1:1",
    ) -> list[str]:
        """
        The words of a server tunnel on a free port.
        """
        return [
            *("-s", "-l", "127.0.0.1:0", "-r", remote, "-L", name),
            *("--pool", pool or str(self.pool), *words),
        ]

    def start(self, *command: str) -> subprocess.Popen[str]:
        """
        Start a tunnel, and wait until it is up.
        """
        process = subprocess.Popen(
            [sys.executable, *command],
            env=self.environment,
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        for line in process.stdout:
            if "tunnel up" in line:
                return process
        raise self.failureException("the tunnel did not come up")

    def logging(self, *words: str) -> tuple[subprocess.Popen[str], Iterator[dict[str, Any]]]:
        """
        Start a tunnel that logs JSON.

        @return: the process, and its lines, each as it comes and as it is documented.
        """
        process = subprocess.Popen(
            [sys.executable, *TLSTUNNEL, *words, "--log-json"],
            env=self.environment,
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        return process, map(documented, process.stdout)

    def await_(
        self, lines: Iterator[dict[str, Any]], event: str, seen: list[str | None]
    ) -> dict[str, Any]:
        """
        The next line about C{event}; all up to it are C{seen}.
        """
        for line in lines:
            seen.append(line["event"])
            if line["event"] == event:
                return line
        raise self.failureException(f"no line about {event}, but {seen}")
