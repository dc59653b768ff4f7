"""
Tests for L{tlstunnel.program.workers}: several processes for the same tunnels, in earnest.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import freePort
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

TOP = Path(__file__).resolve().parents[2]
#: Seconds after which a test that waits fails.
WAIT_SECONDS = 30

# What systemd does: the socket becomes descriptor 3 of the process that is named.
_HAND_DOWN = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)
NAME = "server.example.org"


class WorkersTests(SynchronousTestCase):
    """
    The program with --workers, before a backend that echoes.
    """

    def setUp(self) -> None:
        """
        A pool, a backend, and room for what the program logs.
        """
        self.pool = Path(self.mktemp()).resolve()
        createIdentity(Pool(self.pool, asked=False), Identity.parse(NAME))
        self.context = ssl.create_default_context(cafile=str(self.pool / "ca" / "cert.pem"))
        self.backend = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.echo, daemon=True).start()
        self.addCleanup(self.backend.close)
        self.addCleanup(self.backend.shutdown, socket.SHUT_RDWR)
        self.port = freePort()
        self.lines: list[str] = []

    def echo(self) -> None:
        """
        Serve each connection in a thread.
        """

        def serve(sock: socket.socket) -> None:
            with sock, contextlib.suppress(OSError):
                while data := sock.recv(65536):
                    sock.sendall(data)

        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.backend.accept()
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

    def start(self, *words: str, line: str = "tunnel up", lines: int = 2) -> subprocess.Popen[str]:
        """
        Start the program with two workers, and wait until both are up, or what C{line} says.
        """
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tlstunnel", "-s", "-L", NAME, "--pool", str(self.pool)),
                *("-l", f"127.0.0.1:{self.port}", "--workers", "2"),
                *("-r", f"127.0.0.1:{self.backend.getsockname()[1]}", *words),
            ],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            stderr=subprocess.PIPE,
            text=True,
            # So that a signal can be sent to all its processes, and to no others.
            start_new_session=True,
        )
        assert process.stderr is not None
        stderr = process.stderr
        reading = threading.Thread(target=lambda: self.lines.extend(iter(stderr.readline, "")))

        def clean() -> None:
            process.terminate()
            process.wait(WAIT_SECONDS)
            reading.join(WAIT_SECONDS)
            stderr.close()

        self.addCleanup(clean)
        reading.start()
        self.until(lambda: self.count(line) == lines)
        return process

    def count(self, words: str) -> int:
        """
        How many lines of the log have C{words}.
        """
        return sum(words in line for line in self.lines)

    def until(self, condition: Callable[[], bool]) -> None:
        """
        Wait for C{condition}, within bounds.
        """
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), end, "".join(self.lines))
            time.sleep(0.01)

    def connect(self) -> ssl.SSLSocket:
        """
        One connection that works.
        """
        sock = socket.create_connection(("127.0.0.1", self.port), WAIT_SECONDS)
        wrapped = self.context.wrap_socket(sock, server_hostname=NAME)
        wrapped.sendall(b"x")
        self.assertEqual(wrapped.recv(1), b"x")
        return wrapped

    def certificates(self) -> set[bytes | None]:
        """
        What the worker shows that gets a connection.
        """
        with self.connect() as connection:
            return {connection.getpeercert(binary_form=True)}

    def processes(self, parent: subprocess.Popen[str]) -> list[int]:
        """
        The pids of the workers.
        """
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def test_connectionsAreServedAndTheLogSaysByWhom(self) -> None:
        """
        Each worker's lines name it.
        """
        self.start()
        for _ in range(20):
            self.connect().close()
        self.until(lambda: self.count("bytes sent") == 20)
        workers = {
            found.group(1)
            for line in self.lines
            if "bytes sent" in line and (found := re.search(r"\[worker (\d)", line))
        }
        self.assertTrue(workers and workers <= {"1", "2"}, workers)

    def test_aKilledWorkerCostsOnlyItsOwnConnectionsAndIsReplaced(self) -> None:
        """
        Those of the other go on, new ones are served, and there are two workers again.
        """
        parent = self.start()
        connections = [self.connect() for _ in range(30)]
        before = self.processes(parent)
        os.kill(before[0], signal.SIGKILL)
        self.connect().close()
        alive = 0
        for each in connections:
            with contextlib.suppress(OSError), each:
                each.sendall(b"y")
                alive += each.recv(1) == b"y"
        self.until(lambda: self.count("tunnel up") == 3)
        after = self.processes(parent)
        self.assertEqual(len(after), 2)
        self.assertIn(before[1], after)
        self.assertNotIn(before[0], after)
        self.connect().close()
        self.until(lambda: self.count("bytes sent") >= alive + 1)

    def test_noTicketsAreSent(self) -> None:
        """
        They would resume nothing.
        """
        self.start()
        with self.connect() as connection:
            connection.sendall(b"y")
            self.assertEqual(connection.recv(1), b"y")
            assert connection.session is not None
            self.assertFalse(connection.session.has_ticket)

    def test_theyAreWhereThatIsAskedFor(self) -> None:
        """
        Each worker has a key of its own for them.
        """
        self.start("--resumption", "on")
        with self.connect() as connection:
            connection.sendall(b"y")
            self.assertEqual(connection.recv(1), b"y")
            assert connection.session is not None
            self.assertTrue(connection.session.has_ticket)

    def test_SIGTERMEndsAllInOrder(self) -> None:
        """
        With exit code 0, and no worker is left.
        """
        parent = self.start()
        workers = self.processes(parent)
        self.assertEqual(len(workers), 2)
        parent.terminate()
        self.assertEqual(parent.wait(WAIT_SECONDS), 0)
        for pid in workers:
            self.assertRaises(ProcessLookupError, os.kill, pid, 0)
        self.until(lambda: self.count("] stopped") == 2 and self.count(" stopped") == 3)
        self.assertEqual(self.count("error:"), 0, self.lines)

    def test_whatIsJustStartingIsStoppedToo(self) -> None:
        """
        Before anybody serves.
        """
        parent = self.start(line="starting 2 workers", lines=1)
        parent.terminate()
        self.assertEqual(parent.wait(WAIT_SECONDS), 0)
        self.until(lambda: self.count(" stopped") >= 1)
        self.assertEqual(self.count("error:"), 0, self.lines)

    def untilRefused(self) -> None:
        """
        Wait until nobody listens any more, within bounds.
        """

        def isRefused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", self.port), WAIT_SECONDS).close()
            except ConnectionRefusedError:
                return True
            return False

        self.until(isRefused)

    def test_SIGTERMToAllOfThemCutsNothing(self) -> None:
        """
        As service managers send it: what moves goes on, new connections are refused meanwhile, and
        nothing is logged as an error.
        """
        parent = self.start()
        with self.connect() as connection:
            os.killpg(parent.pid, signal.SIGTERM)
            self.untilRefused()
            self.assertIsNone(parent.poll())
            for _ in range(20):
                connection.sendall(b"y")
                self.assertEqual(connection.recv(1), b"y")
        self.assertEqual(parent.wait(WAIT_SECONDS), 0)
        self.until(lambda: self.count(" stopped") == 3)
        self.assertEqual(self.count("error:"), 0, self.lines)

    def test_theSecondSIGTERMEndsAllAtOnce(self) -> None:
        """
        To whomever it is sent.
        """
        parent = self.start()
        with self.connect() as connection:
            os.killpg(parent.pid, signal.SIGTERM)
            self.untilRefused()
            os.killpg(parent.pid, signal.SIGTERM)
            self.assertEqual(connection.recv(1), b"")
        self.assertEqual(parent.wait(WAIT_SECONDS), 0)
        self.until(lambda: self.count("; stopped") + self.count(": stopped") == 1)

    def test_aSignalToAWorkerIsForItsParent(self) -> None:
        """
        Which gets it as well, where it is meant for the program.
        """
        parent = self.start()
        worker = self.processes(parent)[0]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(worker, number)
        self.connect().close()
        parent.send_signal(signal.SIGHUP)
        self.until(lambda: self.count("reloaded identities") == 1)
        self.assertIn(worker, self.processes(parent))

    def test_workersEndWithTheirParent(self) -> None:
        """
        Also when it is killed, as nobody would stop them then; and they say why.
        """
        parent = self.start()
        workers = self.processes(parent)
        parent.kill()
        parent.wait(WAIT_SECONDS)
        self.until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))
        self.assertEqual(self.count("the parent is gone"), 2)

    def test_SIGHUPReachesAllWorkers(self) -> None:
        """
        Each shows the new certificate from then on.
        """
        parent = self.start()
        before = self.certificates()
        createIdentity(Pool(self.pool, asked=False), Identity.parse(NAME), replace=True)
        parent.send_signal(signal.SIGHUP)
        self.until(lambda: self.count("reloaded identities") == 1)
        # Both workers get some of so many connections.
        after = {certificate for _ in range(20) for certificate in self.certificates()}
        self.assertEqual(len(after), 1)
        self.assertTrue(before.isdisjoint(after))

    def test_aMistakeIsSaidOnce(self) -> None:
        """
        By the parent, before any worker is started.
        """
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tlstunnel", "-s", "-L", "nobody.example.org"),
                *("--pool", str(self.pool), "-l", f"127.0.0.1:{self.port}"),
                *("-r", "127.0.0.1:1", "--workers", "2"),
            ],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_systemdsSocketsAreServed(self) -> None:
        """
        By their name, by the convention of sd_listen_fds(3).
        """
        listener = socket.create_server(("127.0.0.1", self.port))
        self.addCleanup(listener.close)
        os.set_inheritable(listener.fileno(), True)
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", _HAND_DOWN, str(listener.fileno())),
                *(sys.executable, "-m", "tlstunnel", "-s", "-L", NAME, "--pool", str(self.pool)),
                *("-l", "systemd:front", "-r", f"127.0.0.1:{self.backend.getsockname()[1]}"),
            ],
            env={
                **os.environ,
                "PYTHONPATH": str(TOP),
                "LISTEN_FDS": "1",
                "LISTEN_FDNAMES": "front",
            },
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.connect().close()
