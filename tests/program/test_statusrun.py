"""
The status of the real program: with one process and with workers, and through reloads.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.status.client import ask

CHECKOUT = Path(__file__).parents[2]
SERVER = Identity(None, "server.example.org")

#: Seconds for whatever the program is to do.
PATIENCE = 30.0


class StatusRunTests(SynchronousTestCase):
    """
    C{tlstunnel --config FILE} with a table C{status}.
    """

    timeout = 120

    def setUp(self) -> None:
        """
        A pool, and a backend.
        """
        # Paths of UNIX sockets are short.
        self.base = Path(tempfile.mkdtemp(prefix="tlstunnel-"))
        self.addCleanup(shutil.rmtree, self.base)
        createIdentity(Pool(self.base / "pool", asked=False), SERVER)
        self.backend = socket.create_server(("127.0.0.1", 0))
        self.backend.settimeout(PATIENCE)
        self.addCleanup(self.backend.close)
        self.file = self.base / "tunnels.toml"
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, workers: int = 1, tunnels: str = "web", status: str = "status") -> None:
        """
        Describe tunnels.

        @param status: the name of the UNIX socket where the status is shown; empty for nowhere.
        """
        text = f"[process]\nworkers = {workers}\nreload-on-change = false\n"
        if status:
            text += f'[status]\nlocal = "unix:{status}"\n'
        for name in tunnels.split():
            text += (
                f'[tunnel.{name}]\nmode = "server"\nlocal = "unix:{name}.sock"\npool = "pool"\n'
                f'local-id = "{SERVER}"\n'
                f'remote = "127.0.0.1:{self.backend.getsockname()[1]}"\n'
            )
        self.file.write_text(text)
        self.file.chmod(0o600)

    def start(self) -> subprocess.Popen[bytes]:
        """
        Run the program, until all its tunnels are up.
        """
        log = (self.base / "log").open("wb")
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [sys.executable, "-m", "tlstunnel", "--config", self.file],
            stderr=log,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )

        def stop() -> None:
            process.terminate()
            process.wait(PATIENCE)

        self.addCleanup(stop)
        self.process = process
        self.until(lambda: self.health()[0] == 200, "it is up")
        return process

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """
        Wait for what another process does.
        """
        due = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > due or (self.process and self.process.poll() is not None):
                self.fail(f"{what}: not in time\n{(self.base / 'log').read_text()}")
            time.sleep(0.05)

    def health(self, name: str = "status") -> tuple[int, bytes]:
        """
        What /health answers; 0 if nobody does.
        """
        try:
            return ask(UNIXAddress(str(self.base / name)), "/health")
        except ConfigurationError as error:
            return 0, str(error).encode()

    def document(self) -> Any:
        """
        The status.
        """
        code, body = ask(UNIXAddress(str(self.base / "status")), "/status.json")
        self.assertEqual(code, 200)
        return json.loads(body)

    def connect(self, name: str = "web") -> tuple[ssl.SSLSocket, socket.socket]:
        """
        A connection through a tunnel, with both its ends.
        """
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(str(self.base / f"{name}.sock"))
        context = ssl.create_default_context(cafile=str(self.base / "pool" / "ca" / "cert.pem"))
        client = context.wrap_socket(sock, server_hostname=str(SERVER))
        accepted, _ = self.backend.accept()
        self.addCleanup(client.close)
        self.addCleanup(accepted.close)
        return client, accepted

    def test_whoIsRefusedIsAddedUp(self) -> None:
        """
        Of all workers, each of which lets in as many; a reload forgets none.
        """
        self.write(workers=2)
        with self.file.open("a") as file:
            file.write("max-rate-per-address = 0.001\n")
        process = self.start()
        for _ in range(10):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(str(self.base / "web.sock"))

        def counted() -> list[int]:
            (tunnel,) = self.document()["tunnels"]
            return [tunnel["connections"], tunnel["refused"]["rate"]]

        self.until(lambda: sum(counted()) == 10, "all are counted")
        before = counted()
        self.assertIn(before, ([1, 9], [2, 8]))
        process.send_signal(signal.SIGHUP)
        self.until(lambda: self.document()["reloads"]["applied"] == 1, "it is reloaded")
        self.assertEqual(counted(), before)

    def test_workersAreAddedUp(self) -> None:
        """
        Connections of both count for the tunnel, and each says whose it is.
        """
        self.write(workers=2)
        self.start()
        for _ in range(20):
            self.connect()

        def isAllThere() -> bool:
            (tunnel,) = self.document()["tunnels"]
            return bool(tunnel["open"] == 20)

        self.until(isAllThere, "all connections are counted")
        document = self.document()
        self.assertEqual([each["worker"] for each in document["processes"]], [None, 1, 2])
        shown = document["connections"]["shown"]
        self.assertEqual(len(shown), 20)
        self.assertLessEqual({each["worker"] for each in shown}, {1, 2})
        self.assertEqual(len({each["pid"] for each in document["processes"]}), 3)

    def test_aWorkerThatHangsIsNamed(self) -> None:
        """
        The rest is shown, and all is not well; until it goes on.
        """
        self.write(workers=2)
        self.start()
        pid = self.document()["processes"][2]["pid"]
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        self.until(lambda: self.health() == (503, b"worker 2 does not answer\n"), "it is missed")
        self.assertEqual(self.document()["silent"], [2])
        os.kill(pid, signal.SIGCONT)
        self.until(lambda: self.health()[0] == 200, "it is back")

    def test_aWorkerThatIsReplacedIsThere(self) -> None:
        """
        Who takes its place is asked.
        """
        self.write(workers=2)
        self.start()
        pid = self.document()["processes"][1]["pid"]
        os.kill(pid, signal.SIGKILL)

        def isReplaced() -> bool:
            document = self.document()
            pids = [each["pid"] for each in document["processes"]]
            return bool(document["healthy"] and len(pids) == 3 and pid not in pids)

        self.until(isReplaced, "another one is there")

    def test_countersDoNotFallWithAWorker(self) -> None:
        """
        Neither when it hangs, nor when it is replaced.
        """
        self.write(workers=2)
        self.start()
        for _ in range(20):
            self.connect()

        def counted() -> tuple[int, bool, list[int]]:
            document = self.document()
            (tunnel,) = document["tunnels"]
            pids = [each["pid"] for each in document["processes"]]
            return tunnel["connections"], document["healthy"], pids

        self.until(lambda: counted()[0] == 20, "all connections are counted")
        for number in (1, 2):
            pid = counted()[2][number]
            os.kill(pid, signal.SIGSTOP)
            self.until(lambda: not counted()[1], "it is missed")
            self.assertEqual(counted()[0], 20)
            os.kill(pid, signal.SIGKILL)
            self.until(lambda: counted()[1], "another one is there")
            self.assertEqual(counted()[0], 20)

    def reloads(self, workers: int) -> None:
        """
        Tunnels come and go, connections go on, and so do the counters.
        """
        self.write(workers, "web mail")
        process = self.start()
        client, accepted = self.connect("web")
        self.write(workers, "mail sync")
        process.send_signal(signal.SIGHUP)
        self.until(lambda: self.document()["reloads"]["applied"] == 1, "it is reloaded")
        states = {each["name"]: each["state"] for each in self.document()["tunnels"]}
        self.assertEqual(states, {"mail": "up", "sync": "up", "web": "draining"})
        self.assertEqual(self.health()[0], 200)
        (reload,) = self.document()["reloads"]["last"]
        self.assertEqual(reload["changes"], ["tunnel sync: added", "tunnel web: removed"])
        client.close()
        accepted.close()
        self.until(
            lambda: "web" not in {each["name"] for each in self.document()["tunnels"]},
            "what was removed is gone with its last connection",
        )
        self.file.write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        self.until(lambda: self.document()["reloads"]["failed"] == 1, "it is refused")
        (problem,) = self.document()["reloads"]["last"][0]["problems"]
        self.assertIn("tunnels.toml:1: has no = after a key", problem)
        self.assertEqual(self.health()[0], 200)

    def test_reloadsAreShown(self) -> None:
        """
        By one process.
        """
        self.reloads(1)

    def test_reloadsAreShownWithWorkers(self) -> None:
        """
        By the one that reads the file.
        """
        self.reloads(2)

    def test_theStatusMoves(self) -> None:
        """
        A reload shows it somewhere else, or nowhere; what cannot be had changes nothing.
        """
        self.write()
        process = self.start()
        self.write(status="other")
        process.send_signal(signal.SIGHUP)
        self.until(lambda: self.health("other")[0] == 200, "it is shown elsewhere")
        self.assertEqual(self.health()[0], 0)
        self.write(status="missing/status")
        process.send_signal(signal.SIGHUP)
        log = self.base / "log"
        self.until(lambda: "tunnels.toml:5: status.local: " in log.read_text(), "it is refused")
        self.assertEqual(self.health("other")[0], 200)
        self.write(status="")
        process.send_signal(signal.SIGHUP)
        self.until(lambda: self.health("other")[0] == 0, "it is shown nowhere")
        self.connect()

    def test_countsBeginWithTheStatus(self) -> None:
        """
        Where a reload brings it, new connections count, and those there are end in order.
        """
        self.write(status="")
        log = self.base / "log"
        process: subprocess.Popen[bytes]
        self.health = lambda name="status": (200, b"")  # type: ignore[method-assign]
        process = self.start()
        del self.health
        self.until(lambda: "tunnel up" in log.read_text(), "it is up")
        before = self.connect()
        self.write()
        process.send_signal(signal.SIGHUP)
        self.until(lambda: self.health()[0] == 200, "it is shown")
        self.assertEqual(self.document()["tunnels"][0]["open"], 0)
        self.connect()
        self.until(lambda: self.document()["tunnels"][0]["open"] == 1, "the new one counts")
        for each in before:
            each.close()
        self.until(lambda: "truncated: " in log.read_text(), "the old one ends")
        self.assertEqual(self.document()["tunnels"][0]["open"], 1)

    def test_anAddressInUseIsOneLine(self) -> None:
        """
        With file, line and key; nothing is started.
        """
        self.write()
        taken = self.backend.getsockname()[1]
        text = self.file.read_text().replace('"unix:status"', f'"127.0.0.1:{taken}"')
        self.file.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "tlstunnel", "--config", self.file],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"tunnels.toml:5: status.local: 127.0.0.1:{taken}: ", done.stderr)
        self.assertFalse((self.base / "web.sock").exists())
