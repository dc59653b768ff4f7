"""
Under which circumstances C{tlstunnel -l stdio} is started, and what may happen to it: each ends
with the right exit code, and where that is not 0 with its reason.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

from tests.interop.harness import InteropTestCase, Stage, find, requireRoot, until
from tests.interop.test_stdio import NAME, Counting, words
from tests.interop.tunnel import ENVIRONMENT
from tests.program.processes import AS_STRANGER

#: Seconds for whatever is awaited.
PATIENCE = 30.0

_STREAMS = ("stdin", "stdout", "stderr")


class Carrier:
    """
    Carries connections to a server, and can cut them.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._socks: list[socket.socket] = []
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listening.accept()
                other = socket.create_connection(("127.0.0.1", self._to))
                self._socks += one, other
                for ends in (one, other), (other, one):
                    Thread(target=self._carry, args=ends, daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """
        End all connections, as somebody on the way could, without the end of TLS.
        """
        for each in self._socks:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """
        Carry no more.
        """
        self._listening.close()


class Saying(Counting):
    """
    A backend that says much, and then waits for the end.
    """

    content = b"y" * 4_000_000

    def serve(self, connection: socket.socket) -> None:
        """
        Speak to one client.
        """
        connection.sendall(self.content)
        while connection.recv(65536):
            pass


class Ending(Counting):
    """
    A backend that ends first.
    """

    heard = b""

    def serve(self, connection: socket.socket) -> None:
        """
        Speak to one client.
        """
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            self.heard += data


class LifeTests(InteropTestCase):
    """
    All of them go to one tunnel in server mode.
    """

    backend: ClassVar[Counting]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        """
        A backend, and its certificate.
        """
        stage.authority.issue(NAME)
        cls.backend = Counting()

    def server(self, backend: int | None = None) -> int:
        """
        The port of the tunnel.
        """
        return self.serverMode(f"127.0.0.1:{backend or self.backend.port}", NAME, None).port

    def started(self, *more: str, port: int | None = None, **given: Any) -> subprocess.Popen[bytes]:
        """
        One that goes there, with pipes unless something else is given.
        """
        pipes = dict.fromkeys(_STREAMS, subprocess.PIPE)
        settings = {"env": {**os.environ, **ENVIRONMENT}, **pipes, **given}
        command = words(self.stage, port or self.server(), *more)
        process: subprocess.Popen[bytes] = subprocess.Popen(command, **settings)

        def stop() -> None:
            process.kill()
            process.wait()
            for each in (process.stdin, process.stdout, process.stderr):
                if each is not None:
                    with contextlib.suppress(OSError):
                        each.close()

        self.addCleanup(stop)
        return process

    def outcome(self, said: bytes, *more: str, **given: Any) -> tuple[int, bytes, bytes]:
        """
        What comes of C{said}, and its end.
        """
        process = self.started(*more, **given)
        out, err = process.communicate(said, PATIENCE)
        return process.returncode, out, err

    # Who starts it

    def test_aUserWithoutAHome(self) -> None:
        """
        Neither an account nor HOME is needed.
        """
        requireRoot("a program of somebody else")
        anchors = self.stage.authority.anchors
        environment = {**os.environ, **ENVIRONMENT}
        environment.pop("HOME", None)
        command = words(self.stage, self.server())
        at = command.index("--pool")
        command[at : at + 2] = "--trust", str(anchors)
        if True:
            done = subprocess.run(
                [sys.executable, "-c", AS_STRANGER, *command[3:]],
                input=b"x" * 9,
                capture_output=True,
                env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
                cwd="/",
                timeout=PATIENCE,
                check=False,
            )
            self.assertEqual((done.returncode, done.stdout), (0, b"heard 9"), done.stderr)

    def test_standardErrorIsClosed(self) -> None:
        """
        Nothing takes its place: what would have been said there is not in the connection.
        """
        shell = find("sh", "dash")
        for port, code in (self.server(), 0), (1, 1):
            command = words(self.stage, port)
            done = subprocess.run(
                [shell, "-c", 'exec "$@" 2>&-', "sh", *command],
                input=b"x",
                stdout=subprocess.PIPE,
                env={**os.environ, **ENVIRONMENT},
                timeout=PATIENCE,
                check=False,
            )
            self.assertEqual((done.returncode, done.stdout), (code, b"" if code else b"heard 1"))

    def test_standardErrorIsFull(self) -> None:
        """
        The exit code is the same.
        """
        with Path("/dev/full").open("wb") as full:
            self.assertEqual(self.outcome(b"x", port=1, stderr=full)[0], 1)
            self.assertEqual(self.outcome(b"x", stderr=full)[:2], (0, b"heard 1"))

    def test_standardOutputIsFull(self) -> None:
        """
        That is no clean end.
        """
        with Path("/dev/full").open("wb") as full:
            code, _, err = self.outcome(b"x", stdout=full)
        self.assertEqual((code, err), (1, b"tlstunnel: standard output: No space left on device\n"))

    def test_inputThatIsAtItsEndAlready(self) -> None:
        """
        The answer still comes.
        """
        self.assertEqual(self.outcome(b"", stdin=subprocess.DEVNULL), (0, b"heard 0", b""))

    def test_inputThatCannotBeRead(self) -> None:
        """
        What was read before is not taken for all of it by anybody.
        """
        path = self.stage.directory("input")
        path.touch()
        with path.open("wb") as unreadable:
            code, out, err = self.outcome(b"", stdin=unreadable)
        self.assertEqual((code, out), (1, b""))
        self.assertEqual(err, b"tlstunnel: reset: standard input: Bad file descriptor\n")

    def test_pipesThatDoNotWait(self) -> None:
        """
        Some programs make those so that they give to others.
        """
        ours, theirs = socket.socketpair()
        ours2, theirs2 = socket.socketpair()
        for each in (theirs, theirs2):
            each.setblocking(False)
        process = self.started(stdin=theirs, stdout=theirs2)
        theirs.close()
        theirs2.close()
        time.sleep(3)
        with ours, ours2:
            ours.sendall(b"x" * 100_000)
            ours.shutdown(socket.SHUT_WR)
            ours2.settimeout(PATIENCE)
            self.assertEqual(ours2.recv(100), b"heard 100000")
        self.assertEqual(process.wait(PATIENCE), 0)

    def wasCut(self) -> None:
        """
        To the server, this was no end.
        """
        log = self._tunnels[-1]
        until(lambda: ": truncated: " in log.log or ": reset: " in log.log, "the end")

    # A terminal

    @contextlib.contextmanager
    def terminal(self) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        """
        One that a person sits at.
        """
        ours, theirs = pty.openpty()
        try:
            process = self.started(
                stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
            )
            os.close(theirs)
            yield ours, process
        finally:
            with contextlib.suppress(OSError):
                os.close(ours)

    def heard(self, terminal: int, expected: bytes) -> None:
        """
        C{expected} appears there.
        """
        heard = b""
        deadline = time.monotonic() + PATIENCE
        while expected not in heard and time.monotonic() < deadline:
            if select.select([terminal], [], [], 1)[0]:
                with contextlib.suppress(OSError):
                    heard += os.read(terminal, 65536)
        self.assertIn(expected, heard)

    def test_aPersonTypes(self) -> None:
        """
        And ends with ^D.
        """
        with self.terminal() as (terminal, process):
            os.write(terminal, b"hello\n\x04")
            self.heard(terminal, b"heard 6")
            self.assertEqual(process.wait(PATIENCE), 0)

    def test_theTerminalGoesAway(self) -> None:
        """
        Nothing is left behind.
        """
        with self.terminal() as (terminal, process):
            os.write(terminal, b"hello\n")
            time.sleep(3)
            os.close(terminal)
            self.assertEqual(process.wait(PATIENCE), 1)
            self.wasCut()

    # Signals

    def test_signalsAtEveryMoment(self) -> None:
        """
        None of them ends it well, or with a traceback.
        """
        port = self.server()
        for number in signal.SIGTERM, signal.SIGINT:
            for seconds in (0.02, 0.06, 0.1, 0.3, 0.8, 1.5, 3.0):
                process = self.started(port=port)
                time.sleep(seconds)
                process.send_signal(number)
                code = process.wait(PATIENCE)
                assert process.stderr is not None
                said = process.stderr.read()
                # Python itself has one where it is interrupted before it comes to us.
                if b"<frozen " not in said:
                    self.assertNotIn(b"Traceback", said)
                self.assertNotEqual(code, 0, f"{number} after {seconds}")

    def test_aSignalWhileNobodyReads(self) -> None:
        """
        It does not wait for a reader then.
        """
        saying = Saying()
        self.addCleanup(saying.stop)
        process = self.started(port=self.server(saying.port))
        assert process.stdin is not None and process.stdout is not None
        process.stdout.read(1)
        time.sleep(1)
        process.terminate()
        self.assertEqual(process.wait(PATIENCE), 1)
        self.wasCut()

    def test_aSignalWhileTheLastIsNotRead(self) -> None:
        """
        The connection is over, and what is left is for somebody who does not take it.
        """
        saying = Saying()
        saying.content = b"y" * 300_000
        self.addCleanup(saying.stop)
        process = self.started(port=self.server(saying.port))
        assert process.stdin is not None and process.stdout is not None
        process.stdout.read(1)
        process.stdin.close()
        process.stdin = None
        time.sleep(2)
        self.assertIs(process.poll(), None)
        process.terminate()
        self.assertNotEqual(process.wait(PATIENCE), 0)

    # The network

    def test_theNetworkIsCut(self) -> None:
        """
        What came is there, and it was not the end.
        """
        saying = Saying()
        self.addCleanup(saying.stop)
        carrier = Carrier(self.server(saying.port))
        self.addCleanup(carrier.stop)
        process = self.started(port=carrier.port)
        assert process.stdout is not None
        self.assertEqual(len(process.stdout.read(4_000_000)), 4_000_000)
        carrier.cut()
        _, err = process.communicate(None, PATIENCE)
        self.assertEqual(process.returncode, 1)
        self.assertRegex(err, rb"\Atlstunnel: (truncated|reset): [^\n]*\n\Z")

    def test_theServerEndsFirst(self) -> None:
        """
        What is said to it after that is still said.
        """

        ending = Ending()
        self.addCleanup(ending.stop)
        process = self.started(port=self.server(ending.port))
        assert process.stdin is not None and process.stdout is not None
        self.assertEqual(process.stdout.read(), b"bye")
        process.stdin.write(b"x" * 200_000)
        process.stdin.close()
        process.stdin = None
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual(len(ending.heard), 200_000)

    def test_theReaderGoesAway(self) -> None:
        """
        In the middle.
        """
        saying = Saying()
        self.addCleanup(saying.stop)
        process = self.started(port=self.server(saying.port))
        assert process.stdout is not None
        process.stdout.read(1000)
        process.stdout.close()
        self.assertEqual(process.wait(PATIENCE), 1)
        assert process.stderr is not None
        self.assertIn(b"tlstunnel: ", process.stderr.read())

    def test_theReaderTakesItsTime(self) -> None:
        """
        What is left at the end is not lost.
        """
        saying = Saying()
        self.addCleanup(saying.stop)
        process = self.started(port=self.server(saying.port))
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.stdin = None
        time.sleep(3)
        self.assertEqual(len(process.stdout.read()), 4_000_000)
        self.assertEqual(process.wait(PATIENCE), 0)
