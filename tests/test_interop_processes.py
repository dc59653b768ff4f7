"""
How the interop tests start programs, and end them.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop import guard, sockets
from tests.interop.processes import until
from tests.ports import BLOCK, freePort

CHECKOUT = Path(__file__).resolve().parents[1]

#: A run with a server whose child listens; it says so, and waits.
RUN = """\
import sys
from pathlib import Path
from tests.interop.processes import Process

directory, port = Path(sys.argv[1]), int(sys.argv[2])
server = "import socket; s = socket.create_server(('127.0.0.1', %d)); input()" % port
shell = "sleep 300 | python -c \\"$0\\"; true".replace("python", sys.executable)
Process(directory).spawn(["sh", "-c", shell, server], [port])
print("ready", flush=True)
sys.stdin.read()
"""


class ListeningTests(SynchronousTestCase):
    """
    Who listens.
    """

    def test_bothFamiliesAreFound(self) -> None:
        """
        The kernel's answer, and its lists where it gives none, have what listens, and only that.
        """
        for look in (sockets.asked, sockets.listed):
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with self.subTest(look=look, host=host), socket.socket(family) as server:
                    server.bind((host, 0))
                    port = server.getsockname()[1]
                    self.assertFalse(look(port))
                    server.listen()
                    self.assertTrue(look(port))
                    with socket.create_connection((host, port)) as client:
                        self.assertFalse(look(client.getsockname()[1]))
                    server.close()
                    self.assertFalse(look(port))

    def test_aKernelThatCannotBeAsked(self) -> None:
        """
        Its lists are read.
        """

        def refuse(port: int) -> bool:
            raise OSError

        self.patch(sockets, "asked", refuse)
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.assertTrue(sockets.listening(server.getsockname()[1]))


class PortTests(SynchronousTestCase):
    """
    Ports for programs that are started later.
    """

    def test_twoProcessesNeverGetTheSame(self) -> None:
        """
        Each has blocks of its own while it runs.
        """
        program = (
            "from tests.ports import freePort; "
            f"print(*(freePort() for _ in range({BLOCK * 2})), flush=True); input()"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        ports = [freePort()]
        for process in processes:
            assert process.stdout is not None
            ports += map(int, process.stdout.readline().split())
        for process in processes:
            process.communicate(b"\n")
        self.assertEqual(len(ports), 1 + 4 * BLOCK)
        self.assertEqual(len(set(ports)), len(ports))


class GuardTests(SynchronousTestCase):
    """
    What a killed run leaves behind.
    """

    def test_whatEndedIsNotKilledAgain(self) -> None:
        """
        Only groups that began and did not end are left.
        """
        self.assertEqual(guard.left([b"+10\n", b"+11\n", b"-10\n", b"+12\n", b"-12\n"]), {11})

    def test_aServerAndItsChildrenEndWithAKilledRun(self) -> None:
        """
        However the run ends.
        """
        port = freePort()
        directory = Path(self.mktemp())
        directory.mkdir()
        command = [sys.executable, "-c", RUN, str(directory.absolute()), str(port)]
        with subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as run:
            assert run.stdout is not None
            self.assertEqual(run.stdout.readline(), b"ready\n")
            self.assertTrue(sockets.listening(port))
            run.kill()
        until(lambda: not sockets.listening(port), "the server ends")
