"""
Tests for L{tlstunnel.program.inetd}: standard error that is a connection.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.program.processes import TLSTUNNEL, TOP, WAIT_SECONDS
from tlstunnel.program import inetd


class SystemLogTests(SynchronousTestCase):
    """
    L{inetd.SystemLog}.
    """

    def setUp(self) -> None:
        """
        A daemon of our own.
        """
        path = Path(self.mktemp()).name
        self.daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.daemon.close)
        self.daemon.bind(path)
        self.addCleanup(Path(path).unlink)
        self.daemon.setblocking(False)
        self.patch(inetd, "PATHS", ("/nonexistent/log", path))

    def test_aMessageALine(self) -> None:
        """
        However they are printed.
        """
        log = inetd.SystemLog()
        print("tlstunnel: one", "is wrong", file=log)
        log.write("two\nthree")
        log.writeLine(" parts\n")
        head = f"<27>tlstunnel[{os.getpid()}]: "
        said = [self.daemon.recv(999).decode().removeprefix(head) for _ in range(3)]
        self.assertEqual(said, ["tlstunnel: one is wrong", "two", "three parts"])
        self.assertRaises(BlockingIOError, self.daemon.recv, 999)

    def test_nobodyListens(self) -> None:
        """
        As in a container.
        """
        self.patch(inetd, "PATHS", ("/nonexistent/log",))
        self.assertEqual(inetd.SystemLog().write("x\n"), 2)


class ConnectionTests(SynchronousTestCase):
    """
    The program, with a connection for all three.
    """

    def heard(self, *words: str, error: bool) -> bytes:
        """
        What is at the other end of standard input and output, and of standard error if C{error}.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            done = subprocess.run(
                [sys.executable, *TLSTUNNEL, *words],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=theirs.fileno() if error else subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(TOP)},
                timeout=WAIT_SECONDS,
                check=False,
            )
            self.assertNotEqual(done.returncode, 0)
            theirs.close()
            heard = ours.recv(65536)
            return heard or done.stderr or b""

    def test_nothingOfWhatIsPrintedGoesThere(self) -> None:
        """
        Neither a mistake on the command line, nor what is found later.
        """
        for words in ("--nonsense",), ("-s", "-l", "fd:0", "-r", "127.0.0.1:1"):
            self.assertEqual(self.heard(*words, error=True), b"")
            self.assertIn(b"tlstunnel: --", self.heard(*words, error=False))
