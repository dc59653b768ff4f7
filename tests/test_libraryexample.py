"""
Tests for the program in C{docs/example/library_example.py}.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import PATIENCE, SERVER, Plain
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.pool import Pool

TOP = Path(__file__).resolve().parents[1]
EXAMPLE = TOP / "docs" / "example" / "library_example.py"


class ExampleTests(SynchronousTestCase):
    """
    The program that C{docs/library.md} shows, run as it stands.
    """

    def setUp(self) -> None:
        """
        A pool, and a backend.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        # Trial's temporary names are too long for sun_path.
        self.app = f"{os.path.relpath(directory)}/app"
        self.pool = Pool(directory.resolve() / "pool", asked=False)
        createIdentity(self.pool, SERVER)
        self.backend = socket.create_server(("127.0.0.1", 0))
        self.backend.settimeout(PATIENCE)
        self.addCleanup(self.backend.close)

    def command(self, *words: str) -> list[str]:
        """
        How the example is run.
        """
        backend = f"127.0.0.1:{self.backend.getsockname()[1]}"
        return [sys.executable, str(EXAMPLE), *words, f"unix:{self.app}", "0", backend]

    def environment(self) -> dict[str, str]:
        """
        Where it is run.
        """
        return {**os.environ, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self) -> subprocess.Popen[str]:
        """
        Run it, and wait until it serves.
        """
        process = subprocess.Popen(
            self.command(str(self.pool.path), str(SERVER)),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.port = int(self.line(process, "serving .* port ([0-9]+)")[1])
        return process

    def line(self, process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
        """
        The next line of its log that is like C{pattern}.
        """
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise self.failureException(f"no line is like {pattern!r}: {''.join(lines)}")

    def connect(self) -> tuple[Plain, Plain]:
        """
        An app, and the backend that it has reached.
        """
        app = socket.socket(socket.AF_UNIX)
        app.settimeout(PATIENCE)
        app.connect(self.app)
        self.addCleanup(app.close)
        backend, _ = self.backend.accept()
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        return Plain(app), Plain(backend)

    def test_anAppReachesTheBackend(self) -> None:
        """
        Over TLS with an identity that is proved, as both tunnels log.
        """
        process = self.start()
        app, backend = self.connect()
        app.write(b"question")
        self.assertEqual(backend.read(8), b"question")
        backend.write(b"answer")
        backend.end()
        self.assertEqual(app.read(7), b"answer")
        app.close()
        found = [self.line(process, r"\[(server|client)\] (.*)") for _ in range(2)]
        lines = {each[1]: each[2] for each in found}
        self.assertEqual(lines.keys(), {"server", "client"})
        for name, line in lines.items():
            self.assertIn("closed; ", line)
            self.assertIn(", TLSv1.3 ", line)
            self.assertEqual("identity server.example.org," in line, name == "client")
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(self.line(process, "open: .*")[0], "open: {'client': 0, 'server': 0}")

    def test_anAppIsResetWhenTheTunnelIsKilled(self) -> None:
        """
        Though its UNIX socket is closed by nobody but the kernel.
        """
        process = self.start()
        app, backend = self.connect()
        app.write(b"question")
        self.assertEqual(backend.read(8), b"question")
        backend.write(b"half of the ans")
        self.assertEqual(app.read(15), b"half of the ans")
        process.kill()
        self.assertTrue(app.isReset())

    def test_SIGHUPRenews(self) -> None:
        """
        From then on there is another certificate; whoever is connected stays so.
        """

        def certificate() -> bytes | None:
            context = ssl.create_default_context(cafile=str(self.pool.path / "ca" / "cert.pem"))
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as sock:
                with context.wrap_socket(sock, server_hostname=SERVER.domain) as wrapped:
                    self.backend.accept()[0].close()
                    return wrapped.getpeercert(binary_form=True)

        process = self.start()
        app, backend = self.connect()
        before = certificate()
        createIdentity(self.pool, SERVER, replace=True)
        self.assertEqual(certificate(), before)
        process.send_signal(signal.SIGHUP)
        for name in "server", "client":
            self.line(process, f"{name} is renewed")
        self.assertNotEqual(certificate(), before)
        app.write(b"still here")
        self.assertEqual(backend.read(10), b"still here")

    def test_aFailedReloadChangesNothing(self) -> None:
        """
        The log says why.
        """
        process = self.start()
        (self.pool.path / str(SERVER) / "privkey.pem").unlink()
        process.send_signal(signal.SIGHUP)
        self.line(process, "server is as before: .*privkey.pem")
        self.connect()

    def test_SIGTERMEndsAll(self) -> None:
        """
        What is left is closed and counted, and the exit code is 0.
        """
        process = self.start()
        app, _ = self.connect()
        process.terminate()
        self.assertTrue(app.atEnd())
        self.line(process, "client: 1 stopped")
        self.line(process, "server: 1 ")
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_aMistakeIsOneLine(self) -> None:
        """
        And exit code 1.
        """
        done = subprocess.run(
            self.command(str(self.pool.path), "nobody.example.org"),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("nobody.example.org", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)
