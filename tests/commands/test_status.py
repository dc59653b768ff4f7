"""
Tests for C{tlstunnel status} and C{tlstunnel health}: the real program asks about this process.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import Mock

from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE
from tests.status.stage import LOOPBACK, StatusTests
from tlstunnel.address import UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.status import client

CHECKOUT = Path(__file__).parents[2]


def run(*words: str, seconds: float = PATIENCE) -> tuple[int, str, str]:
    """
    What a command prints, to both its outputs, and its exit code; to be called in a thread.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tlstunnel", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    return done.returncode, done.stdout, done.stderr


class CommandTests(StatusTests):
    """
    Both commands.
    """

    async def ask_(self, *words: str) -> tuple[int, str, str]:
        """
        A command about this process.
        """
        return await deferToThread(run, *words, "--status", self.status.addresses[0])

    async def test_showsTunnelsAndConnections(self) -> None:
        """
        A table with a line for each.
        """
        backend = self.listen()
        service = self.before(backend, name="submission", dialect="smtp")
        code, text, errors = await self.ask_("status")
        self.assertEqual((code, errors), (0, ""))
        (line,) = (each for each in text.splitlines() if each.startswith("submission"))
        for each in ("up", "server", "smtp", service.addresses[0]):
            self.assertIn(each, line)
        self.assertIn("the tunnel is up", text)
        self.assertIn("server.example.org", text)

    async def test_showsOpenConnections(self) -> None:
        """
        With the peer and what it has sent.
        """
        backend = self.listen()
        service = self.before(backend)

        def connect() -> tuple[str, list[socket.socket]]:
            client = self.connect(service)
            accepted, _ = backend.accept()
            client.write(b"x" * 3000)
            accepted.recv(3000, socket.MSG_WAITALL)
            host, port = client.sock.getsockname()
            return f"{host}:{port}", [client.sock, accepted]

        peer, sockets = await deferToThread(connect)
        for each in sockets:
            self.addCleanup(each.close)
        _, text, _ = await self.ask_("status")
        (line,) = (each for each in text.splitlines() if each.startswith(peer))
        self.assertIn("TLSv1.3", line)
        self.assertIn("2.9 KiB", line)

    async def test_showsTheSameAsJSON(self) -> None:
        """
        As /status.json has it.
        """
        self.before(self.listen())
        code, text, _ = await self.ask_("status", "--json")
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(text)["tunnels"][0]["name"], "web")

    async def test_showsWhatReloadsChanged(self) -> None:
        """
        And what is odd in it is escaped.
        """
        self.ledger.reloaded("failed", problems=["a:1: \x1b[31mred"])
        _, text, _ = await self.ask_("status")
        self.assertIn("failed", text)
        self.assertIn("a:1: \\x1b[31mred", text)

    async def test_watchesUntilItIsInterrupted(self) -> None:
        """
        A document a line; an interrupt is no mistake.
        """
        self.before(self.listen())

        def watch() -> tuple[list[str], int]:
            with subprocess.Popen(
                [
                    *(sys.executable, "-m", "tlstunnel", "status", "--json", "--watch"),
                    *("--status", self.status.addresses[0]),
                ],
                stdout=subprocess.PIPE,
                text=True,
                cwd=CHECKOUT,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            ) as process:
                assert process.stdout is not None
                lines = [process.stdout.readline() for _ in range(2)]
                process.send_signal(2)
                return lines, process.wait(PATIENCE)

        lines, code = await deferToThread(watch)
        times = [json.loads(line)["time"] for line in lines]
        self.assertLess(times[0], times[1])
        self.assertEqual(code, 0)

    async def test_aWatchEndsWithItsReader(self) -> None:
        """
        As head(1) leaves after some lines.
        """
        self.before(self.listen())

        def watch() -> int:
            with subprocess.Popen(
                [
                    *(sys.executable, "-m", "tlstunnel", "status", "--watch"),
                    *("--status", self.status.addresses[0]),
                ],
                stdout=subprocess.PIPE,
                cwd=CHECKOUT,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            ) as process:
                self.addCleanup(process.kill)
                assert process.stdout is not None
                process.stdout.readline()
                process.stdout.close()
                return process.wait(PATIENCE)

        self.assertEqual(await deferToThread(watch), 0)

    async def test_healthIsTheExitCode(self) -> None:
        """
        Nothing is printed while all is well, and one line else.
        """
        service = self.before(self.listen())
        self.assertEqual(await self.ask_("health"), (0, "", ""))
        await service.stopService()
        self.status._answers._document._due = 0.0
        code, text, errors = await self.ask_("health")
        self.assertEqual((code, text), (1, ""))
        self.assertEqual(errors, f"tlstunnel: {self.status.addresses[0]}: tunnel web is down\n")

    async def test_asksOverAUNIXSocket(self) -> None:
        """
        Given by its path.
        """
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/status"
            service = self.show((UNIXAddress(path),))
            self.before(self.listen())
            found = await deferToThread(run, "health", "--status", path)
            self.assertEqual(found, (0, "", ""))
            service.stopService()

    async def test_whereNobodyAnswersIsOneLine(self) -> None:
        """
        With what to do.
        """
        address = self.status.addresses[0]
        self.status.stopService()
        for command in ("status", "health"):
            code, text, errors = await deferToThread(run, command, "--status", address)
            self.assertEqual((code, text), (1, ""))
            self.assertRegex(
                errors, rf"\Atlstunnel: --status {address}: nothing answers there .*; see .*\n\Z"
            )

    def answering(self, *said: bytes) -> str:
        """
        Another server, that answers so one request after the other.

        @return: its address.
        """
        other = self.listen()

        def answer() -> None:
            for each in said:
                accepted, _ = other.accept()
                with accepted:
                    accepted.recv(1000)
                    accepted.sendall(each)

        done = deferToThread(answer)
        self.addCleanup(lambda: done)
        return f"127.0.0.1:{other.getsockname()[1]}"

    async def test_whoIsNoStatusIsOneLine(self) -> None:
        """
        Another server may listen there, which says what it likes.
        """
        good = b"HTTP/1.1 200 OK\r\n\r\n"
        for said in (
            b"",
            b"220 mx ESMTP\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 " + b"9" * 5000 + b"\r\n\r\n",
            good + b"[1]",
            good + b"[" * 100_000,
            good + b'{"version": 1}',
            good + b'{"version": 1, "software": {"version": 1}, "host": null, "problems": 5}',
        ):
            address = self.answering(said)
            code, text, errors = await deferToThread(run, "status", "--status", address)
            self.assertEqual((code, text), (1, ""))
            self.assertEqual(errors.count("\n"), 1, errors)
            self.assertIn("not the status of tlstunnel", errors)

    async def test_whoIsNoStatusIsNotHealthy(self) -> None:
        """
        Although it says that all is well.
        """
        for said, problem in (
            (b"HTTP/1.1 200 OK\r\n\r\n<html>Welcome", "not the status of tlstunnel"),
            (b"HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n", "not the status of tlstunnel"),
            (b"HTTP/1.1 404 Not Found\r\n\r\n\x1b[31mno\n", ": \\x1b[31mno\n"),
        ):
            address = self.answering(said)
            code, text, errors = await deferToThread(run, "health", "--status", address)
            self.assertEqual((code, text, errors.count("\n")), (1, "", 1), errors)
            self.assertIn(problem, errors)

    async def test_whoMayNotAskIsToldWhoMay(self) -> None:
        """
        That nobody listened there would be wrong.
        """
        refused = PermissionError(errno.EACCES, "Permission denied")
        self.patch(client, "_exchange", Mock(side_effect=refused))
        with self.assertRaisesRegex(ConfigurationError, "may not ask there .*; ask as root, or as"):
            client.ask(UNIXAddress("/run/status"), "/health")

    async def test_anotherVersionIsNamed(self) -> None:
        """
        Nothing is guessed of what it means.
        """
        for version, shown in ((b"99", "99"), (rb'"\u001b[31m"', r"\x1b[31m")):
            address = self.answering(b'HTTP/1.1 200 OK\r\n\r\n{"version": ' + version + b"}")
            _, _, errors = await deferToThread(run, "status", "--status", address)
            self.assertIn(f"with version {shown} of", errors)

    def file(self, text: str) -> str:
        """
        A configuration file.
        """
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    async def test_theFileSaysWhereToAsk(self) -> None:
        """
        Also while something else in it is wrong, which is not the fault of the one that runs.
        """
        self.before(self.listen())
        file = self.file(
            f'[status]\nlocal = "{self.status.addresses[0]}"\n[tunnel.web]\nmode = "nonsense"\n'
        )
        self.assertEqual(await deferToThread(run, "health", "--config", file), (0, "", ""))
        code, text, _ = await deferToThread(run, "status", "--config", file)
        self.assertEqual(code, 0)
        self.assertIn("the tunnel is up", text)

    async def test_aFileThatDoesNotSayItIsOneLine(self) -> None:
        """
        With the place, and what to do.
        """
        for text, problem in (
            ("[tunnel.web]\n", r":1: status.local: is missing, .*; add a table \[status\]"),
            ('[status]\nlocal = "nowhere"\n', r":2: status.local: .*; write nowhere:PORT"),
            ("[status\n", r":1: has no \] behind the name of a table: \[status; write \[status\]"),
        ):
            file = self.file(text)
            for command in ("status", "health"):
                code, printed, errors = await deferToThread(run, command, "--config", file)
                self.assertEqual((code, printed, errors.count("\n")), (1, "", 1), errors)
                self.assertRegex(errors, problem)

    async def test_mistakesAreUsage(self) -> None:
        """
        Exit code 2, and one line before the one that names the help.
        """
        for words in (
            ("status",),
            ("health",),
            ("health", "--status", "nowhere"),
            ("health", "--status", ":1", "--config", "a"),
        ):
            code, _, errors = await deferToThread(run, *words)
            self.assertEqual((code, errors.count("\n")), (2, 2), errors)

    async def test_anAddressWithoutAnyIsThisHost(self) -> None:
        """
        As the file may have it: ":9290" is asked on this host.
        """
        service = self.show((LOOPBACK,))
        self.before(self.listen())
        port = service.addresses[0].rsplit(":", 1)[1]
        self.assertEqual((await deferToThread(run, "health", "--status", f":{port}"))[0], 0)
