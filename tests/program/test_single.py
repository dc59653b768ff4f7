"""
Tests for a process that serves one connection: C{--local stdio} and C{fd:NUMBER}.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import ssl
import subprocess
import sys
import termios
import time
from array import array
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.program.processes import TLSTUNNEL, TOP, TWISTD, WAIT_SECONDS
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

HEADER = b"PROXY TCP4 203.0.113.9 198.51.100.7 4711 443\r\n"


def stop(listening: socket.socket) -> None:
    """
    Close C{listening}, and wake whoever waits there: a thread that does would keep a descriptor.
    """
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


class Answering:
    """
    A server that answers, once a client has ended, with how much it has said; several times.

    @ivar isReached: set once somebody has come.
    """

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.isReached = Event()
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self.listening.accept()
                self.isReached.set()
                with connection:
                    heard = 0
                    while data := connection.recv(65536):
                        heard += len(data)
                    connection.sendall(b"heard %d" % heard)
        except OSError:
            return


class SingleTests(SynchronousTestCase):
    """
    The program, run by whoever has a connection.
    """

    def setUp(self) -> None:
        """
        A pool, and a tunnel in server mode before a server.
        """
        self.pool = Path(self.mktemp()).resolve()
        createIdentity(Pool(self.pool, asked=False), Identity.parse("server.example.org"))
        self.environment = {**os.environ, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"}
        self.backend = Answering()
        self.addCleanup(stop, self.backend.listening)

    def command(self, *words: str, program: tuple[str, ...] = TLSTUNNEL) -> list[str]:
        """
        The words of a command line.
        """
        return [sys.executable, *program, *words, "--pool", str(self.pool)]

    def started(self, *words: str, **more: Any) -> Any:
        """
        The program, with pipes unless something else is given.
        """
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(self.command(*words), env=self.environment, **(pipes | more))

        def stop() -> None:
            process.kill()
            process.communicate()

        self.addCleanup(stop)
        return process

    def serverWords(self, local: str) -> list[str]:
        """
        A tunnel in server mode.
        """
        return ["-s", "-l", local, "-r", self.backend.address, "-L", "server.example.org"]

    def server(self) -> str:
        """
        The address of one that serves a connection for each that is made, as inetd starts it.
        """
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(stop, listening)

        def serve() -> None:
            with ExitStack() as stack:
                try:
                    while True:
                        connection, _ = listening.accept()
                        with connection:
                            process = subprocess.Popen[bytes](
                                self.command(*self.serverWords("fd:0")),
                                env=self.environment,
                                stdin=connection.fileno(),
                                stdout=connection.fileno(),
                                stderr=subprocess.DEVNULL,
                            )
                            stack.callback(process.wait)
                except OSError:
                    return

        Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{listening.getsockname()[1]}"

    def client(self, data: bytes, *words: str, **more: Any) -> tuple[int, bytes, str]:
        """
        What comes of a client with C{data} for its server.
        """
        given = words or ("-r", self.server(), "-R", "server.example.org")
        process = self.started("-c", "-l", "stdio", *given, **more)
        out, err = process.communicate(data, WAIT_SECONDS)
        return process.returncode, out, (err or b"").decode()

    def test_aConnectionIsServedToItsCleanEnd(self) -> None:
        """
        Its input ends first, and the answer still comes; and nothing is said about it.
        """
        self.assertEqual(self.client(b"hello"), (0, b"heard 5", ""))

    def test_muchArrivesWhole(self) -> None:
        """
        In spite of pipes that take less.
        """
        code, out, _ = self.client(b"x" * 3_000_000)
        self.assertEqual((code, out), (0, b"heard 3000000"))

    def test_aFileIsReadToItsEnd(self) -> None:
        """
        Which no reactor could watch.
        """
        path = Path(self.mktemp())
        path.write_bytes(b"y" * 100_000)
        with path.open("rb") as file:
            self.assertEqual(self.client(b"", stdin=file)[:2], (0, b"heard 100000"))

    def test_aServerThatIsNotBelievedIsTheReason(self) -> None:
        """
        In one line, and nothing went there.
        """
        code, out, err = self.client(b"secret", "-r", self.server(), "-R", "other.example.org")
        self.assertEqual((code, out), (1, b""))
        self.assertRegex(err, r"\Atlstunnel: tls: .*unrecognized_name.*hint.*\n\Z")

    def test_nobodyAtTheOtherEndIsTheReason(self) -> None:
        """
        As one line.
        """
        code, _, err = self.client(b"", "-r", "127.0.0.1:1", "-R", "server.example.org")
        self.assertEqual(code, 1)
        self.assertRegex(err, r"\Atlstunnel: connect: .*refused.*\n\Z")

    def test_aReaderThatGoesAwayEndsIt(self) -> None:
        """
        It does not wait for the rest of its input.
        """
        reader, writer = os.pipe()
        os.close(reader)
        process = self.started(
            *("-c", "-l", "stdio", "-r", self.server(), "-R", "server.example.org"), stdout=writer
        )
        os.close(writer)
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.close()
        process.stdin = None
        self.assertEqual(process.wait(WAIT_SECONDS), 1)

    def test_aSignalEndsIt(self) -> None:
        """
        With an exit code that is not that of a clean end.
        """
        words = ("-c", "-l", "stdio", "-r", self.server(), "-R", "server.example.org", "-v")
        process = self.started(*words)
        assert process.stderr is not None and process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        self.assertTrue(self.backend.isReached.wait(WAIT_SECONDS))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(WAIT_SECONDS), 1)

    def test_aSignalInTheFirstMomentIsNoCleanEnd(self) -> None:
        """
        Although one that listens has nothing to be sorry for then.
        """
        start = "import os, signal; from tlstunnel.program import signals; held = signals.hold\n"
        start += (
            "signals.hold = lambda code=0: (held(code), os.kill(os.getpid(), signal.SIGTERM))\n"
        )
        start += "from tlstunnel.__main__ import main; raise SystemExit(main())"
        for local, code in (("stdio",), 1), (("fd:0",), 1), (("127.0.0.1:0",), 0):
            words = self.serverWords(*local)
            done = subprocess.run(
                self.command(*words, program=("-c", start)),
                env=self.environment,
                capture_output=True,
                timeout=WAIT_SECONDS,
                check=False,
            )
            self.assertEqual((done.returncode, done.stderr), (code, b""), local)

    def test_whereAConnectionComesFromMayBeTheReason(self) -> None:
        """
        In one line.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ours = socket.create_connection(listening.getsockname())
            theirs, _ = listening.accept()
        with ours, theirs:
            words = (*self.serverWords("fd:0"), "--deny", "127.0.0.0/8")
            process = self.started(*words, stdin=theirs)
            theirs.close()
            assert process.stderr is not None
            said = process.stderr.read().decode()
            self.assertEqual(process.wait(WAIT_SECONDS), 1)
            self.assertRaises(ConnectionResetError, ours.recv, 1)
        self.assertRegex(said, r"\Atlstunnel: 127.0.0.1:[0-9]+ was refused for where .*\n\Z")

    def test_inputThatCannotBeReadIsNoEnd(self) -> None:
        """
        It is told as what it is, and the server does not take what it has for all.
        """
        path = Path(self.mktemp())
        with path.open("wb") as unreadable:
            code, out, err = self.client(b"", stdin=unreadable)
        self.assertEqual((code, out), (1, b""))
        self.assertEqual(err, "tlstunnel: reset: standard input: Bad file descriptor\n")

    def fails(self, message: str, *words: str, **more: Any) -> None:
        """
        The program ends with one line that has C{message}.
        """
        process = self.started(*words, **more)
        _, err = process.communicate(b"", WAIT_SECONDS)
        self.assertIn(message, err.decode())
        self.assertNotIn("Traceback", err.decode())
        self.assertNotEqual(process.returncode, 0)

    def headed(self, *words: str) -> tuple[Any, socket.socket]:
        """
        The program at one end of a UNIX socket, on which it waits for the rest of a header.

        @return: it, and the other end.
        """
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        ours.settimeout(WAIT_SECONDS)
        with theirs:
            more = {"stdin": theirs.fileno(), "stdout": theirs.fileno()}
            words = (*self.serverWords("fd:0"), "--proxy-from", "unix", *words)
            process = self.started(*words, **more)
        ours.sendall(HEADER[:9])
        deadline = time.monotonic() + WAIT_SECONDS
        unread = array("i", [1])
        while unread[0] and time.monotonic() < deadline:
            time.sleep(0.01)
            fcntl.ioctl(ours, termios.TIOCOUTQ, unread)
        return process, ours

    def test_aHeaderMayComeInPieces(self) -> None:
        """
        As anywhere.
        """
        _, sock = self.headed()
        sock.sendall(HEADER[9:])
        context = ssl.create_default_context(cafile=self.pool / "ca" / "cert.pem")
        with context.wrap_socket(sock, server_hostname="server.example.org") as client:
            client.sendall(b"hello")
            self.assertTrue(self.backend.isReached.wait(WAIT_SECONDS))

    def test_whomAHeaderNamesMayBeDenied(self) -> None:
        """
        Also if that is known only after a while.
        """
        process, sock = self.headed("--deny", "203.0.113.0/24")
        sock.sendall(HEADER[9:])
        complaint = process.communicate(timeout=WAIT_SECONDS)[1]
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"refused for where it comes from", complaint)
        self.assertFalse(self.backend.isReached.is_set())

    def test_aSignalEndsTheWaitForAHeader(self) -> None:
        """
        At once.
        """
        process, _ = self.headed()
        process.send_signal(signal.SIGTERM)
        complaint = process.communicate(timeout=WAIT_SECONDS)[1]
        self.assertEqual((process.returncode, complaint.count(b"\n")), (1, 1), complaint)

    def test_whatIsNoConnectionIsRefused(self) -> None:
        """
        A pipe, nothing at all, a socket that listens, and one of datagrams.
        """
        self.fails("descriptor 0 is no socket", *self.serverWords("fd:0"))
        self.fails("there is no descriptor 99", *self.serverWords("fd:99"))
        for sock in (socket.create_server(("127.0.0.1", 0)), socket.socket()):
            self.addCleanup(sock.close)
            self.fails("is not connected", *self.serverWords("fd:0"), stdin=sock)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            self.fails("a socket of another kind", *self.serverWords("fd:0"), stdin=sock)

    def test_closedStandardInputIsSaid(self) -> None:
        """
        And is not taken for what got its number since.
        """
        for local in ("stdio", "fd:0"):
            command = " ".join(map("'{}'".format, self.command(*self.serverWords(local))))
            done = subprocess.run(
                ["/bin/sh", "-c", f"exec {command} <&-"],
                env=self.environment,
                capture_output=True,
                timeout=WAIT_SECONDS,
                check=False,
            )
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"standard input is closed", done.stderr)

    def test_whatIsForManyIsRefused(self) -> None:
        """
        Several addresses, workers, twistd, and a file.
        """
        words = self.serverWords("stdio")
        self.fails("made for this process alone", *words, "-l", "127.0.0.1:0")
        self.fails("means nothing for one connection", *words, "--workers", "2")
        done = subprocess.run(
            self.command(*words, program=TWISTD),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        self.assertIn("which twistd does not take; give an address to listen at", done.stderr)
        path = Path(self.mktemp())
        path.write_text(
            '[tunnel.a]\nmode = "client"\nlocal = ["stdio"]\nremote = ["mail.example.org:25"]\n'
        )
        done = subprocess.run(
            [sys.executable, *TLSTUNNEL, "--config", str(path), "--check"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        self.assertIn("made for this process alone, and a file is for many", done.stdout)
