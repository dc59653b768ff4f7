"""
Tests for what a pool may say that makes no sense: none of it is taken for an end, or for proof.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.client.scripted import OK, PATIENCE, TOP, ClientTests, Control, Script
from tlstunnel import client
from tlstunnel.client import VARIABLE, Plaintext, PoolError, asClient, asServer, hello

#: Listens as a user that is not root, as long as standard input lasts.
_ANOTHER = """
import os, socket, sys
os.getuid() or os.setuid(65534)
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.bind(sys.argv[1])
sock.listen()
print(os.getuid(), flush=True)
sys.stdin.read()
"""


class LieTests(ClientTests):
    """
    A pool that lies to L{tlstunnel.client}.
    """

    def says(self, *said: str, first: str = OK) -> Script:
        """
        A script that says C{said} once all is granted, and sends no more.
        """

        def script(control: Control) -> None:
            with control.accepts(first) as plain:
                for each in said:
                    control.says(each)
                plain.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    plain.recv(1)

        return script

    def test_theFirstEndCounts(self) -> None:
        """
        Whatever is said afterwards, or was asked in between.
        """

        def script(control: Control) -> None:
            with control.accepts() as plain:
                control.says("end\nreason=truncated\n")
                control.says("end\nreason=closed\n")
                plain.shutdown(socket.SHUT_WR)
                plain.recv(1)

        # Nobody answers what is asked in between.
        self.patch(client, "PATIENCE", 0.1)
        plain = self.handOver(script)
        self.assertRaises(PoolError, plain.certificate)
        self.assertRaises(PoolError, plain.recv, 9)
        self.assertEqual(plain.howEnded(), "truncated")

    def test_nothingEndsWellThatWasNotVerified(self) -> None:
        """
        Nor does anything but an end say that it did.
        """
        end, error = "end\nreason=closed\n", "error\nreason=closed\n"
        for first, said in (("plain\n", end), ("plain\n", error), (OK, error), (OK, "ok\n" + end)):
            self.pool(self.says(said, first=first))
            sock, _ = self.connection()
            with asServer(sock, starttls="mysql", path=self.path) as plain:
                self.assertRaises(PoolError, plain.recv, 9)
                self.assertNotEqual(plain.howEnded(), "closed")

    def test_whatNobodyHasAskedForIsNoAnswer(self) -> None:
        """
        A flood of it keeps nobody waiting.
        """
        with self.handOver(self.says(*["ok\nmaterial=00\n"] * 9)) as plain:
            self.assertEqual(plain.howEnded(PATIENCE), "malformed")

    def test_materialIsWhatWasAskedFor(self) -> None:
        """
        An empty one would be the same for all.
        """

        def script(control: Control) -> None:
            with control.accepts() as plain:
                for each in ("ok\n", "ok\nmaterial=00\n", "ok\nmaterial=0x00+1-1\n"):
                    control.hears()
                    control.says(each)
                plain.recv(1)

        with self.handOver(script) as plain:
            for _ in range(3):
                error = self.assertRaises(PoolError, plain.export, "x", 4)
                self.assertEqual(error.reason, "malformed")

    def test_anAnswerThatComesTooLateIsNotTheNextOne(self) -> None:
        """
        Two questions have two answers.
        """

        def script(control: Control) -> None:
            with control.accepts() as plain:
                control.hears()
                control.hears()
                control.says("ok\nmaterial=01\n")
                control.says("ok\nmaterial=02\n")
                plain.recv(1)

        with self.handOver(script) as plain:
            self.patch(sys.modules["tlstunnel.client"], "PATIENCE", 0.05)
            error = self.assertRaises(PoolError, plain.export, "x", 1)
            self.assertEqual(error.reason, "timeout")
            self.patch(sys.modules["tlstunnel.client"], "PATIENCE", PATIENCE)
            self.assertEqual(plain.export("x", 1), b"\2")

    def test_aCopyKnowsNothingOfTheEnd(self) -> None:
        """
        So it has none.
        """
        with self.handOver(self.says("end\nreason=closed\n")) as plain, plain.dup() as copy:
            assert isinstance(copy, Plaintext)
            error = self.assertRaises(PoolError, copy.recv, 9)
            self.assertEqual(error.reason, "unread")

    def test_whatIsWrongInTheProgramLeavesNothing(self) -> None:
        """
        The connection is closed, whatever was asked.
        """
        for wrong in ({"timeout": float("nan")}, {"alpn": 3}, {"file": 3}, {"what": 3}):
            sock, peer = self.connection()
            options: Any = wrong
            self.assertRaises(
                (ValueError, TypeError, AttributeError),
                asClient,
                sock,
                "a.test",
                path=self.path,
                **options,
            )
            self.assertEqual(sock.fileno(), -1)
            self.assertEqual(peer.recv(1), b"")

    def test_aPoolOfAnybodyElseGetsNothing(self) -> None:
        """
        Where a program says whose it has to be.
        """
        us = os.getuid()
        with self.handOver(self.says("end\nreason=closed\n"), owner=us) as plain:
            self.assertEqual(plain.recv(9), b"")
        # Root may listen for anybody, and we may be root.
        Path(self.path).parent.chmod(0o777)
        theirs = f"{self.path}.theirs"
        other = subprocess.Popen(
            [sys.executable, "-c", _ANOTHER, theirs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdout is not None
        uid = int(other.stdout.readline())
        sock, peer = self.connection()
        error = self.assertRaises(PoolError, asClient, sock, "a.test", path=theirs, owner=uid + 1)
        self.assertIn(f"gone: no pool at {theirs}: user {uid} listens there", str(error))
        self.assertEqual(peer.recv(1), b"")
        self.assertRaises(PoolError, hello, theirs, uid + 1)
        other.communicate()


class CommandTests(ClientTests):
    """
    C{python3 -m tlstunnel.client}.
    """

    def test_whoeverStartsItNeedNotCareForChildren(self) -> None:
        """
        The code is that of the program all the same.
        """

        def script(control: Control) -> None:
            with control.accepts() as plain:
                control.says("end\nreason=closed\n")
                plain.recv(1)

        self.pool(script)
        start = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
            command = [sys.executable, "-m", "tlstunnel.client", "connect", "127.0.0.1", port]
            command += ["--", "sh", "-c", "exit 7"]
            done = subprocess.run(
                [sys.executable, "-c", f"{start} os.execv(sys.argv[1], sys.argv[1:])", *command],
                capture_output=True,
                timeout=PATIENCE,
                check=False,
                env={**os.environ, "PYTHONPATH": str(TOP), VARIABLE: self.path},
            )
        self.assertEqual((done.returncode, done.stderr), (7, b""))

    def test_aTimeThatIsNoneIsAMistake(self) -> None:
        """
        Of whoever has written the command.
        """
        for seconds in ("inf", "nan", "-1", "0", "soon"):
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "tlstunnel.client"),
                    *("connect", "a", "1", "--timeout", seconds),
                ],
                capture_output=True,
                timeout=PATIENCE,
                check=False,
                env={**os.environ, "PYTHONPATH": str(TOP), VARIABLE: self.path},
            )
            self.assertEqual(done.returncode, 2, done.stderr)
