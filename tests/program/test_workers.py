"""
Tests for L{tlstunnel.program.workers} and L{tlstunnel.net.inherit}: several processes for one
tunnel.
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

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.net.inherit import descriptors

TOP = Path(__file__).resolve().parents[2]
PATIENCE = 30

# What systemd does: the socket becomes descriptor 3 of the process that is named.
_HAND_DOWN = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)
NAME = "server.example.org"


class DescriptorsTests(SynchronousTestCase):
    """
    What sd_listen_fds(3) says.
    """

    def test_socketsAreForTheProcessThatIsNamed(self) -> None:
        """
        Another process, or none, has none.
        """
        self.assertEqual(descriptors({"LISTEN_PID": "1", "LISTEN_FDS": "2"}, 2), [])
        self.assertEqual(descriptors({}, 2), [])

    def test_namesAreOptional(self) -> None:
        """
        Without names, or with too few, all are nameless.
        """
        both = {"LISTEN_PID": "2", "LISTEN_FDS": "2"}
        self.assertEqual(descriptors(both, 2), [("", 3), ("", 4)])
        self.assertEqual(descriptors({**both, "LISTEN_FDNAMES": "a"}, 2), [("", 3), ("", 4)])
        named = {**both, "LISTEN_FDNAMES": "a:b"}
        self.assertEqual(descriptors(named, 2), [("a", 3), ("b", 4)])

    def test_nonsenseIsNamed(self) -> None:
        """
        A number that is none is an error of who started us.
        """
        for count in ("", "x", "-1", "99999999"):
            environment = {"LISTEN_PID": "2", "LISTEN_FDS": count}
            self.assertRaises(ConfigurationError, descriptors, environment, 2)


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
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
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

    def start(self, *words: str) -> subprocess.Popen[str]:
        """
        Start the program with two workers, and wait until both are up.
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
        )
        assert process.stderr is not None
        stderr = process.stderr
        reading = threading.Thread(target=lambda: self.lines.extend(iter(stderr.readline, "")))

        def clean() -> None:
            process.terminate()
            process.wait(PATIENCE)
            reading.join(PATIENCE)
            stderr.close()

        self.addCleanup(clean)
        reading.start()
        self.until(lambda: self.count("tunnel up") == 2)
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
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end, "".join(self.lines))
            time.sleep(0.01)

    def connect(self) -> ssl.SSLSocket:
        """
        One connection that works.
        """
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        wrapped = self.context.wrap_socket(sock, server_hostname=NAME)
        wrapped.sendall(b"x")
        self.assertEqual(wrapped.recv(1), b"x")
        return wrapped

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
            session = connection.session
            self.assertFalse(session is not None and session.has_ticket)

    def test_SIGTERMEndsAllInOrder(self) -> None:
        """
        With exit code 0, and no worker is left.
        """
        parent = self.start()
        workers = self.processes(parent)
        parent.terminate()
        self.assertEqual(parent.wait(PATIENCE), 0)
        for pid in workers:
            self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    def test_workersEndWithTheirParent(self) -> None:
        """
        Also when it is killed: nobody would stop them.
        """
        parent = self.start()
        workers = self.processes(parent)
        parent.kill()
        parent.wait(PATIENCE)
        self.until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))

    def test_SIGHUPReachesAllWorkers(self) -> None:
        """
        Each reads identities and trust again.
        """
        parent = self.start()
        parent.send_signal(signal.SIGHUP)
        self.until(lambda: self.count("reloaded identities") == 2)

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
            timeout=PATIENCE,
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
