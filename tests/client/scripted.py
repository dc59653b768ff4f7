"""
A pool that does what a script says, for tests of its clients.
"""

from __future__ import annotations

import array
import gc
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.client import Plaintext, PoolError, asClient

TOP = Path(__file__).resolve().parents[2]

#: Seconds after which what blocks is a failure.
PATIENCE = 20.0

OK = (
    "ok\nlocal=alice@example.org\nremote=mail.example.org\nname=*.example.org\n"
    "version=TLSv1.3\nsuite=TLS_AES_256_GCM_SHA384\ngroup=X25519\nalpn=\nsni=mail.example.org\n"
)

Script = Callable[["Control"], None]


class Control:
    """
    A control connection, as the pool has it.

    @ivar handed: the connection that was handed over.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.handed = socket.socket()

    def close(self) -> None:
        """
        Let go of it.
        """
        self.handed.close()
        self.sock.close()

    def hears(self) -> str:
        """
        The next message.
        """
        data, descriptors, _, _ = socket.recv_fds(self.sock, 65536, 4)
        if descriptors:
            assert len(descriptors) == 1
            self.handed.close()
            self.handed = socket.socket(fileno=descriptors[0])
        return data.decode()

    def says(self, text: str | bytes, *sockets: socket.socket) -> None:
        """
        Send a message, and close all C{sockets} that go with it.
        """
        data = text if isinstance(text, bytes) else text.encode()
        numbers = array.array("i", [each.fileno() for each in sockets])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if sockets else []
        self.sock.sendmsg([data], rights)
        for each in sockets:
            each.close()

    def accepts(self, text: str = OK) -> socket.socket:
        """
        Hear a request, and grant it.

        @return: our end of the plaintext.
        """
        self.hears()
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE)
        self.says(text, theirs)
        return ours


def sends(text: str | bytes, count: int) -> Script:
    """
    A pool that says something, with so many sockets along, whatever it is asked.
    """

    def script(control: Control) -> None:
        control.hears()
        pairs = [socket.socketpair() for _ in range(count)]
        for ours, _ in pairs:
            ours.close()
        control.says(text, *(theirs for _, theirs in pairs))

    return script


class ClientTests(SynchronousTestCase):
    """
    Base class: a pool, and no descriptor that is left.

    @ivar path: of its socket.
    """

    def setUp(self) -> None:
        """
        A pool that nobody has a script for.
        """
        gc.collect()
        # What is there already is not looked at again: that is a hundred times as much.
        gc.freeze()
        self.before = self.descriptors()
        # Trial's temporary names are too long for sun_path.
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        self.path = f"{directory}/pool"
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening.bind(self.path)
        self.listening.listen(5)
        self.listening.settimeout(PATIENCE)
        self.threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []

    def tearDown(self) -> None:
        """
        The script has ended, and nothing is left.
        """
        for thread in self.threads:
            thread.join(PATIENCE)
        self.listening.close()
        self.assertEqual(self.errors, [])
        gc.collect()
        self.assertEqual(self.descriptors(), self.before)

    def descriptors(self) -> set[str]:
        """
        What this process has open.
        """
        found = set()
        for path in Path("/proc/self/fd").iterdir():
            try:
                found.add(f"{path.name} {path.readlink()}")
            except FileNotFoundError:
                # That of the directory itself.
                continue
        return found

    def pool(self, *scripts: Script) -> None:
        """
        Let each of C{scripts} serve one connection.
        """

        def serve() -> None:
            try:
                for script in scripts:
                    sock, _ = self.listening.accept()
                    sock.settimeout(PATIENCE)
                    control = Control(sock)
                    try:
                        script(control)
                    finally:
                        control.close()
            except ConnectionError:
                # The program has gone, as it may before it was told all.
                pass
            except BaseException as error:  # noqa: BLE001 - the test fails with it
                self.errors.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        self.threads.append(thread)

    def connection(self, timeout: float | None = PATIENCE) -> tuple[socket.socket, socket.socket]:
        """
        A TCP connection, and its other end.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ours = socket.create_connection(listening.getsockname())
            theirs, _ = listening.accept()
        ours.settimeout(timeout)
        theirs.settimeout(PATIENCE)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return ours, theirs

    def handOver(self, *scripts: Script, **options: Any) -> Plaintext:
        """
        Hand over the client's end of a connection.
        """
        self.pool(*scripts)
        sock, self.peer = self.connection(options.pop("socketTimeout", PATIENCE))
        plain = asClient(sock, "mail.example.org", path=self.path, **options)
        self.addCleanup(plain.close)
        return plain

    def refusal(self, *scripts: Script, **options: Any) -> PoolError:
        """
        The error of a connection that is not to be.
        """
        error: PoolError = self.assertRaises(PoolError, self.handOver, *scripts, **options)
        return error
