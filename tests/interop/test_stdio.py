"""
One connection that somebody else has made: programs that start C{tlstunnel -l stdio} to come to a
server, and inetd, which starts C{-l fd:0} for each client.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import ClassVar

from tests.interop.harness import InteropTestCase, Outcome, Stage, find, record, run
from tests.interop.servers.inetd import Inetd, SocketActivate
from tests.interop.servers.ssh import SSHD, Rsyncd
from tests.interop.tunnel import ENVIRONMENT

NAME = "shell.test.example"


def words(stage: Stage, port: int, *more: str) -> list[str]:
    """
    The command that comes to the server at C{port}.
    """
    return [
        *(sys.executable, "-m", "tlstunnel", "-c", "-l", "stdio", "-r", f"127.0.0.1:{port}"),
        *("-R", NAME, "--pool", str(stage.authority.pool), *more),
    ]


class Counting:
    """
    A backend that says, once a client has ended its direction, how much it has said.
    """

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                Thread(target=self._meet, args=(connection,), daemon=True).start()

    def _meet(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        """
        Speak to one client.
        """
        heard = 0
        while data := connection.recv(65536):
            heard += len(data)
        connection.sendall(b"heard %d" % heard)

    def stop(self) -> None:
        """
        Serve nobody any more.
        """
        self._listening.close()


class SSHTests(InteropTestCase):
    """
    Through two tunnels: one that ssh, git or rsync start, and one before the server.
    """

    ssh: ClassVar[SSHD]
    rsync: ClassVar[Rsyncd]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        """
        Start the servers.
        """
        stage.authority.issue(NAME)
        cls.ssh = stage.start(SSHD(stage.directory("ssh")))
        cls.rsync = stage.start(Rsyncd(stage.directory("rsync")))

    def configuration(self, *more: str) -> Path:
        """
        That of a client of ssh which comes by two tunnels.
        """
        server = self.serverMode(f"127.0.0.1:{self.ssh.port}", NAME, None)
        return self.ssh.client(shlex.join(words(self.stage, server.port, *more)), NAME)

    def started(self, *command: str, say: str = "", **environment: str) -> Outcome:
        """
        Run a client to its end.
        """
        return run(command, say, seconds=60, environment={**ENVIRONMENT, **environment})

    def test_aCommandOfAShell(self) -> None:
        """
        It gets its input to the end, and its exit code arrives.
        """
        configuration = str(self.configuration())
        outcome = self.started(
            "ssh", "-F", configuration, NAME, "cat; exit 7", say="hello\n" * 9999
        )
        self.assertEqual((outcome.code, outcome.text), (7, "hello\n" * 9999))
        record("none", "client", "openssh-client", "ssh with ProxyCommand and -l stdio")
        record("none", "server", self.ssh, "a command of a shell, its input, exit code")

    def test_theReasonIsShownToTheUserOfSSH(self) -> None:
        """
        Where the server is not the one that is expected.
        """
        configuration = str(self.configuration("--pin", "sha256//" + "A" * 43 + "="))
        outcome = self.started("ssh", "-F", configuration, NAME, "true")
        self.assertEqual(outcome.code, 255)
        self.assertIn("tlstunnel: identity: ", outcome.text)

    def test_git(self) -> None:
        """
        A push and a clone, of more than any buffer holds.
        """
        base = self.stage.directory("git")
        base.mkdir()
        source, bare, copy = base / "source", base / "bare", base / "copy"
        git = find("git", "git")
        configured = {
            "GIT_SSH_COMMAND": f"ssh -F {self.configuration()}",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        for name in "AUTHOR", "COMMITTER":
            configured |= {f"GIT_{name}_NAME": "x", f"GIT_{name}_EMAIL": "x@test.example"}
        self.started(git, "init", "-q", "--bare", str(bare)).expect()
        self.started(git, "init", "-q", str(source)).expect()
        (source / "large").write_bytes(os.urandom(3_000_000))
        for command in ("add", "large"), ("commit", "-q", "-m", "x"):
            self.started(git, "-C", str(source), *command, **configured).expect()
        url = f"ssh://{NAME}{bare}"
        push = ("push", "-q", url, "HEAD:refs/heads/main")
        self.started(git, "-C", str(source), *push, **configured).expect()
        self.started(git, "clone", "-q", "-b", "main", url, str(copy), **configured).expect()
        self.assertEqual((copy / "large").read_bytes(), (source / "large").read_bytes())
        record("none", "client", "git", "push and clone over ssh and -l stdio")

    def test_rsyncOverSSH(self) -> None:
        """
        Both directions at once.
        """
        base = self.stage.directory("rsync")
        base.mkdir()
        (base / "from").write_bytes(os.urandom(2_000_000))
        shell = f"ssh -F {self.configuration()}"
        self.started("rsync", "-e", shell, str(base / "from"), f"{NAME}:{base}/to").expect()
        self.assertEqual((base / "to").read_bytes(), (base / "from").read_bytes())

    def test_rsyncByAProgramThatConnects(self) -> None:
        """
        It gives one socket for input and output.
        """
        content = os.urandom(2_000_000)
        (self.rsync.directory / "files" / "a").write_bytes(content)
        server = self.serverMode(f"127.0.0.1:{self.rsync.port}", NAME, None)
        target = self.stage.directory("copy")
        connect = shlex.join(words(self.stage, server.port))
        environment = {"RSYNC_CONNECT_PROG": connect}
        source = f"rsync://{NAME}/files/a"
        self.started("rsync", source, str(target), **environment).expect()
        self.assertEqual(target.read_bytes(), content)
        record("none", "client", "rsync", "RSYNC_CONNECT_PROG with -l stdio")


class InetdTests(InteropTestCase):
    """
    Whoever starts C{-l fd:0}.
    """

    backend: ClassVar[Counting]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        """
        A backend, and its certificate.
        """
        stage.authority.issue(NAME)
        cls.backend = Counting()

    def inetd(self, kind: Callable[..., Inetd] = Inetd, *more: str) -> Inetd:
        """
        One that starts a tunnel in server mode.
        """
        pool = ("--pool", str(self.stage.authority.pool))
        given = (
            "-s",
            "-l",
            "fd:0",
            "-L",
            NAME,
            "-r",
            f"127.0.0.1:{self.backend.port}",
            *pool,
            *more,
        )
        found = kind(self.stage.directory("inetd"), *given)
        found.start()
        self.addCleanup(found.stop)
        return found

    def answered(self, port: int, *more: str) -> None:
        """
        A client is served, with its end first.
        """
        command = words(self.stage, port, *more)
        outcome = run(command, "x" * 100_000, environment=ENVIRONMENT)
        self.assertEqual((outcome.code, outcome.text), (0, "heard 100000"))

    def heardInClear(self, port: int, said: bytes) -> bytes:
        """
        What a stranger hears that speaks no TLS.
        """
        heard = b""
        with socket.create_connection(("127.0.0.1", port), 30) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(said)
                while data := sock.recv(65536):
                    heard += data
        return heard

    def test_inetd(self) -> None:
        """
        A connection each.
        """
        inetd = self.inetd()
        for _ in range(2):
            self.answered(inetd.port)
        record("none", "server", inetd, "-l fd:0, nowait")

    def test_systemd(self) -> None:
        """
        As for a socket with Accept=yes.
        """
        activated = self.inetd(SocketActivate)
        self.answered(activated.port)
        record("none", "server", activated, "-l fd:0, Accept=yes")

    def test_behindAnotherProxy(self) -> None:
        """
        Which says who is there before all else; or it does not, and is refused.
        """
        inetd = self.inetd(Inetd, "--proxy-from", "127.0.0.0/8")
        self.answered(inetd.port, "--proxy-out", "v1", "--proxy-out-to", "network")
        self.assertEqual(self.heardInClear(inetd.port, b"\x16\x03\x01\x00\x05hello"), b"")

    def test_strangersHearNothingInClear(self) -> None:
        """
        Standard error is the connection, too: whatever goes wrong, from the first word of the
        command line on, is for the log of the system.
        """
        for more in (
            ("--verbose",),
            ("--deny", "127.0.0.0/8"),
            ("--no-such-option",),
            ("--remote-id-file", "/nonexistent"),
            ("--key-log", str(self.stage.base / "keys")),
        ):
            heard = self.heardInClear(self.inetd(Inetd, *more).port, b"GET / HTTP/1.0\r\n\r\n")
            # An alert, if anything.
            self.assertEqual((heard[:1] or b"\x15", len(heard) in (0, 7)), (b"\x15", True), heard)
