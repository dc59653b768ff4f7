"""
Many tunnels in one file, as administrators run them: the real program serves twenty, and takes up
one change after the other, while transfers go on through all of them.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.ports import freePort
from tests.program.processes import TLSTUNNEL, TOP, TWISTD, WAIT_SECONDS
from tests.program.transfers import Peers, Transfer
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

TUNNELS = 20
TRANSFERS = 200
RELOADS = 50

#: Tunnels that no reload touches; the others are changed, moved and removed.
UNTOUCHED = 12

NAME = "server.example.org"

#: Descriptors that may be open at one look and not at another, as of connections that have just
#: ended.
SLACK_DESCRIPTORS = 12

#: How much memory may grow from the tenth reload to the last one: what allocators keep.
SLACK_BYTES = 8_000_000


class FleetTests(SynchronousTestCase):
    """
    The program with --config.
    """

    def setUp(self) -> None:
        """
        A pool, two backends, and a file with all tunnels.
        """
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.pool = Pool(self.directory / "pool", asked=False)
        createIdentity(self.pool, Identity.parse(NAME))
        self.context = ssl.create_default_context(cafile=str(self.pool.path / "ca" / "cert.pem"))
        self.peers = Peers()
        self.addCleanup(self.peers.close)
        self.backends = {tag: self.peers.backend(tag) for tag in (b"A", b"B")}
        self.ports = [freePort() for _ in range(TUNNELS + 2)]
        self.spare = self.ports[TUNNELS:]
        #: What the file says: the port, the backend, and whatever else, of each tunnel.
        self.tunnels: dict[str, tuple[int, bytes, str]] = {
            f"t{number:02}": (self.ports[number], b"A", "") for number in range(TUNNELS)
        }
        self.lines: list[str] = []
        self.workers = 1
        self.takesUp = False

    # The file and the program

    def write(self, more: str = "") -> None:
        """
        Write the file.
        """
        text = f"[process]\nworkers = {self.workers}\n"
        text += f"reload-on-change = {str(self.takesUp).lower()}\n"
        text += f'[defaults]\nmode = "server"\nlocal-id = "{NAME}"\npool = "pool"\n'
        for name, (port, tag, rest) in self.tunnels.items():
            text += f'[tunnel.{name}]\nlocal = "127.0.0.1:{port}"\n'
            text += f'remote = "127.0.0.1:{self.backends[tag]}"\n{rest}'
        (self.directory / "tunnels.toml").write_text(text + more)

    def start(self, workers: int, program: tuple[str, ...] = TLSTUNNEL) -> None:
        """
        Start the program, and wait until all is served.
        """
        self.workers = workers
        self.write()
        self.program = subprocess.Popen(
            [sys.executable, *program, "--config", self.directory / "tunnels.toml"],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.program.stdout is not None
        stdout = self.program.stdout
        reading = threading.Thread(target=lambda: self.lines.extend(iter(stdout.readline, "")))

        def clean() -> None:
            while self.program.poll() is None:
                # The second one ends it at once.
                self.program.terminate()
                time.sleep(0.1)
            reading.join(WAIT_SECONDS)
            stdout.close()

        self.addCleanup(clean)
        reading.start()
        self.until(lambda: self.count("tunnel up") == TUNNELS * workers)

    def count(self, words: str) -> int:
        """
        How many lines of the log have C{words}.
        """
        return sum(words in line for line in tuple(self.lines))

    def until(self, condition: Callable[[], bool]) -> None:
        """
        Wait for C{condition}, within bounds.
        """
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), end, "".join(self.lines[-30:]))
            self.assertIsNone(self.program.poll(), "".join(self.lines[-30:]))
            time.sleep(0.01)

    def reload(self, words: str) -> str:
        """
        Let it reload.

        @param words: what the log has to say then.
        @return: that line.
        """
        before = len(self.lines)
        self.program.send_signal(signal.SIGHUP)

        def said() -> list[str]:
            return [line for line in self.lines[before:] if "reloaded" in line]

        self.until(lambda: bool(said()))
        self.assertIn(words, said()[0])
        return said()[0]

    def processes(self) -> list[int]:
        """
        All of its processes.
        """
        pid = self.program.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def descriptors(self) -> list[int]:
        """
        How many each of them has.

        @raise SkipTest: we are not root, and nobody else may know.
        """
        try:
            return [len(tuple(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.processes()]
        except PermissionError:
            raise SkipTest("NOT TESTED: only root may count its descriptors") from None

    def memory(self) -> int:
        """
        What all of them have, in bytes.
        """
        return sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
            for pid in self.processes()
        )

    # What a client sees

    def connect(self, port: int) -> tuple[bytes, int]:
        """
        Connect through a tunnel.

        @return: which backend is there, and the number of the certificate.
        """
        sock = socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)
        with self.context.wrap_socket(sock, server_hostname=NAME) as connection:
            certificate = connection.getpeercert(binary_form=True)
            assert certificate is not None
            tag = connection.recv(1)
            return tag, x509.load_der_x509_certificate(certificate).serial_number

    def assertRefused(self, port: int) -> None:
        """
        Nobody listens at C{port}, as soon as all processes have heard of it.
        """

        def isRefused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), WAIT_SECONDS).close()
            except ConnectionRefusedError:
                return True
            return False

        self.until(isRefused)

    def assertServed(self, name: str) -> None:
        """
        New connections to a tunnel go where the file says, by whichever process they are served.
        """
        port, tag, _ = self.tunnels[name]
        for _ in range(2 * self.workers):
            self.assertEqual(self.connect(port)[0], tag, name)

    # The changes

    def add(self, turn: int) -> None:
        """
        There is one tunnel more.
        """
        name = f"more{turn}"
        self.tunnels[name] = (self.spare[0], b"B", "")
        self.write()
        self.reload(f"1 added ({name})")
        self.assertServed(name)

    def remove(self, turn: int) -> None:
        """
        It is gone again.
        """
        name = next(name for name in self.tunnels if name.startswith("more"))
        port, _, _ = self.tunnels.pop(name)
        self.write()
        self.reload(f"1 removed ({name})")
        self.assertRefused(port)

    def change(self, turn: int) -> None:
        """
        One has another backend, and another moves with its address to a new name.
        """
        changed, moved = f"t{UNTOUCHED + turn % 4:02}", f"t{UNTOUCHED + 4 + turn % 4:02}"
        moved = next(name for name in self.tunnels if name.startswith(moved))
        port, tag, rest = self.tunnels[changed]
        self.tunnels[changed] = (port, b"B" if tag == b"A" else b"A", rest)
        new = f"{moved[:3]}-{turn}"
        self.tunnels[new] = self.tunnels.pop(moved)
        self.write()
        line = self.reload(f"1 changed ({changed})")
        self.assertIn(f"1 added ({new})", line)
        self.assertIn(f"1 removed ({moved})", line)
        self.assertServed(changed)
        self.assertServed(new)

    def break_(self, turn: int) -> None:
        """
        Something is wrong, so nothing changes, be there other changes or not.
        """
        good = f'[tunnel.good]\nlocal = "127.0.0.1:{self.spare[1]}"\nremote = "127.0.0.1:1"\n'
        mistake, words = (
            ("[tunnel.bad\n", "tunnels.toml:"),
            ('[tunnel.bad]\nlocal = ":0"\nremote = "127.0.0.1:1"\nfoo = 1\n', "tunnel.bad.foo"),
            ('[tunnel.bad]\nlocal = ":0"\nremote = "x"\nlocal-id = "x.example"\n', "tunnel.bad"),
            (
                f'[tunnel.bad]\nremote = "[::1]:1"\nlocal = "127.0.0.1:{self.backends[b"A"]}"\n',
                "tunnel.bad.local",
            ),
            (
                '[tunnel.bad]\nlocal-id = "nobody.example.org"\nlocal = ":0"\nremote = "[::1]:1"\n',
                "nobody.example.org",
            ),
        )[turn // 5 % 5]
        self.write(good + mistake)
        self.assertIn(words, self.reload("not reloaded, the old state stays"))
        self.assertRefused(self.spare[1])
        self.assertServed("t12")
        self.write()

    def rotate(self, turn: int) -> None:
        """
        The certificate is a new one, for new connections of all tunnels.
        """
        port = self.tunnels["t00"][0]
        _, before = self.connect(port)
        createIdentity(self.pool, Identity.parse(NAME), replace=True)
        self.reload(f"reloaded: {len(self.tunnels)} unchanged")
        for name in ("t00", "t13"):
            for _ in range(2 * self.workers):
                self.assertNotEqual(self.connect(self.tunnels[name][0])[1], before)

    def serve(self, workers: int) -> None:
        """
        All of it.
        """
        self.start(workers)
        ports = [self.tunnels[f"t{number % TUNNELS:02}"][0] for number in range(TRANSFERS)]
        transfers = [Transfer(port) for port in ports]
        self.peers.begin(transfers, self.context, NAME)
        self.assertEqual([each.error for each in transfers if each.error], [])
        processes, before = self.processes(), self.descriptors()
        kinds = (self.add, self.change, self.break_, self.rotate, self.remove)
        memory = 0
        for turn in range(RELOADS):
            kinds[turn % len(kinds)](turn)
            if turn == 9:
                memory = self.memory()
        self.assertLess(self.memory(), memory + SLACK_BYTES)
        self.assertEqual(self.processes(), processes)
        for now, then in zip(self.descriptors(), before, strict=True):
            self.assertLessEqual(abs(now - then), SLACK_DESCRIPTORS)
        self.peers.end()
        self.assertEqual([each.error for each in transfers if each.error], [])
        self.assertGreater(min(each.count for each in transfers), 0)
        self.program.terminate()
        self.assertEqual(self.program.wait(WAIT_SECONDS), 0, "".join(self.lines[-30:]))
        self.assertEqual(self.count("Traceback"), 0)

    def test_nothingIsDisturbedByFiftyReloads(self) -> None:
        """
        In one process: each reload has the effect that the file says, no transfer loses a byte,
        and neither descriptors nor memory grow.
        """
        self.serve(workers=1)

    def test_norWithWorkers(self) -> None:
        """
        With two of them, which stay the same processes throughout.
        """
        self.serve(workers=2)

    def test_certificatesThatChangeAreTakenUpByThemselves(self) -> None:
        """
        No signal is needed, and nothing else is touched.
        """
        self.takesUp = True
        self.start(workers=2)
        port = self.tunnels["t00"][0]
        _, before = self.connect(port)
        createIdentity(self.pool, Identity.parse(NAME), replace=True)
        self.until(lambda: self.count(f"reloaded: {TUNNELS} unchanged") == 1)
        for _ in range(4):
            self.assertNotEqual(self.connect(port)[1], before)
        self.assertEqual(self.count("not reloaded"), 0)

    def test_underTwistd(self) -> None:
        """
        All the same, with workers.
        """
        self.start(2, TWISTD)
        self.assertServed("t03")
        self.add(0)
        self.program.terminate()
        self.assertEqual(self.program.wait(WAIT_SECONDS), 0)

    def test_aStartThatFailsSaysAllThatIsWrong(self) -> None:
        """
        A line each, with the place in the file; and nothing listens.
        """
        self.tunnels = {"good": (self.spare[0], b"A", ""), "taken": (self.backends[b"A"], b"B", "")}
        self.write(
            f'[tunnel.nobody]\nlocal = "127.0.0.1:{self.spare[1]}"\nremote = "127.0.0.1:1"\n'
            'local-id = "nobody.example.org"\n'
        )
        for workers in 1, 2:
            self.workers = workers
            done = subprocess.run(
                [sys.executable, *TLSTUNNEL, "--config", self.directory / "tunnels.toml"],
                env={**os.environ, "PYTHONPATH": str(TOP)},
                capture_output=True,
                text=True,
                timeout=WAIT_SECONDS,
                check=False,
            )
            self.assertEqual(done.returncode, 1)
            lines = done.stderr.splitlines()
            self.assertEqual(len(lines), 2, lines)
            self.assertIn("tunnel.taken.local: ", lines[0])
            self.assertIn("nobody.example.org", lines[1])
