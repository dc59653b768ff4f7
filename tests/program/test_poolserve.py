"""
Tests for C{tlstunnel pool serve}, and for C{[pool-service]} in a file: the program, run, with
programs of this host that hand over connections.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.ports import freePort
from tests.program.processes import TLSTUNNEL, TOP, TWISTD, WAIT_SECONDS
from tests.program.test_supervised import NAME, SupervisedTestCase
from tests.users import STRANGER

SERVE = (*TLSTUNNEL, "pool", "serve")

# Somebody without a name, a home and any right, who can read the program; and without an output
# for errors where that is asked for.
_AS_STRANGER = f"""
import encodings.idna, os, sys
import tlstunnel.commands.pool, tlstunnel.commands.run, tlstunnel.poolservice.service
from tlstunnel.__main__ import main
os.environ.pop("HOME", None)
os.setgroups([])
os.setgid({STRANGER})
os.setuid({STRANGER})
sys.exit(main())
"""


class PoolServeTests(SupervisedTestCase):
    """
    The program.
    """

    def setUp(self) -> None:
        """
        A folder with short paths, which everybody can enter.
        """
        super().setUp()
        self.folder = Path(tempfile.mkdtemp())
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = str(self.folder / "pool.sock")

    def serving(self, *more: str) -> list[str]:
        """
        The words of a service.
        """
        return [*SERVE, "--socket", self.path, "--pool", str(self.pool), *more]

    def run_(self, *words: str, start: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """
        Run it to its end.
        """
        return subprocess.run(
            [*start, sys.executable, *words],
            env={**os.environ, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def fails(self, message: str, *words: str) -> None:
        """
        It does not start, and says so in one line.
        """
        done = self.run_(*words)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(message, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def echo(self) -> tuple[str, int]:
        """
        A server with TLS, which says again what it hears.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own = self.pool / NAME
        context.load_cert_chain(own / "fullchain.pem", own / "privkey.pem")
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)

        def serve() -> None:
            sock, _ = listening.accept()
            sock.settimeout(WAIT_SECONDS)
            with context.wrap_socket(sock, server_side=True) as server:
                while heard := server.recv(1000):
                    server.send(heard)
                with contextlib.suppress(OSError):
                    server.unwrap()

        threading.Thread(target=serve, daemon=True).start()
        host, port = listening.getsockname()
        return host, port

    def handOver(
        self, path: str = "", server: tuple[str, int] | None = None
    ) -> tuple[dict[str, str], socket.socket | None]:
        """
        Do what a program does that is a client.

        @param server: where it connects to; by default L{echo}.
        @return: the answer, and the plaintext socket.
        """
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(control.close)
        control.settimeout(WAIT_SECONDS)
        control.connect(path or self.path)
        with socket.create_connection(server or self.echo(), WAIT_SECONDS) as sock:
            request = f"tls\nrole=client\nremote={NAME}\nlocal=-\n"
            socket.send_fds(control, [request.encode()], [sock.fileno()])
        message, descriptors, _, _ = socket.recv_fds(control, 65536, 1)
        verb, _, rest = message.decode().partition("\n")
        answer = {"verb": verb} | dict(line.split("=", 1) for line in rest.splitlines())
        plain = socket.socket(fileno=descriptors[0]) if descriptors else None
        if plain is not None:
            self.addCleanup(plain.close)
            plain.settimeout(WAIT_SECONDS)
        return answer, plain

    def serves(self, path: str = "") -> socket.socket:
        """
        A program gets what it wants.

        @return: the plaintext socket.
        """
        answer, plain = self.handOver(path)
        self.assertEqual((answer["verb"], answer.get("remote")), ("ok", NAME))
        assert plain is not None
        self.speaks(plain)
        return plain

    def speaks(self, plain: socket.socket) -> None:
        """
        The connection is there.
        """
        plain.send(b"hello")
        self.assertEqual(plain.recv(100), b"hello")

    def test_theLifeOfAProcess(self) -> None:
        """
        It says where it listens, serves, also through a reload, and ends once the last connection
        has ended; the socket is gone then.
        """
        process = self.start(*self.serving())
        ready = self.supervisor.await_("READY")
        self.assertEqual(ready["STATUS"], "the pool service up, 0 connections")
        self.until(f"pool service up: {self.path} for programs, pool {self.pool} with 1 identity")
        plain = self.serves()
        process.send_signal(signal.SIGHUP)
        self.supervisor.await_("READY", "RELOADING", "READY")
        self.until("reloaded the pool service")
        self.speaks(plain)
        self.serves().close()
        process.terminate()
        self.supervisor.await_("READY", "RELOADING", "READY", "STOPPING")
        self.speaks(plain)
        plain.close()
        self.assertEqual(process.wait(WAIT_SECONDS), 0)
        self.assertFalse(Path(self.path).exists())
        self.until(f"closed; identity {NAME}, TLSv1.3")
        self.until("stopped")

    def test_aFileMayHaveItAndNoTunnel(self) -> None:
        """
        With the status, where it stands beside tunnels; also under twistd.
        """
        port = freePort()
        file = self.folder / "tlstunnel.toml"
        file.write_text(
            f'[pool-service]\nsocket = "unix:pool.sock"\npool = "{self.pool}"\n'
            f'[status]\nlocal = "127.0.0.1:{port}"\n'
        )
        for program in (TLSTUNNEL, TWISTD):
            self.supervise()
            process = self.start(*program, "--config", str(file))
            self.supervisor.await_("READY")
            plain = self.serves()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json") as answer:
                document = json.load(answer)
            (service,) = document["tunnels"]
            self.assertEqual((service["name"], service["mode"]), ("pool-service", "pool"))
            self.assertEqual((service["state"], service["open"]), ("up", 1))
            self.assertEqual([each["identity"] for each in service["identities"]], [NAME])
            (connection,) = document["connections"]["shown"]
            self.assertEqual((connection["tunnel"], connection["identity"]), ("pool-service", NAME))
            plain.close()
            process.terminate()
            self.assertEqual(process.wait(WAIT_SECONDS), 0)

    def test_aReloadTakesUpWhatTheFileSays(self) -> None:
        """
        Another socket, no service any more, or what cannot be, which changes nothing; what was
        handed over goes on.
        """
        file = self.folder / "tlstunnel.toml"

        def write(text: str) -> None:
            file.write_text("[process]\nreload-on-change = false\n" + text)

        def reload() -> None:
            before = self.supervisor.states()
            process.send_signal(signal.SIGHUP)
            self.supervisor.await_(*before, "RELOADING", "READY")

        service = f'[pool-service]\nsocket = "unix:NAME"\npool = "{self.pool}"\n'
        write(service.replace("NAME", "pool.sock"))
        process = self.start(*TLSTUNNEL, "--config", str(file))
        self.supervisor.await_("READY")
        plain = self.serves()
        write(service.replace("NAME", "other.sock"))
        reload()
        self.until("reloaded: 1 changed (pool-service)")
        self.assertFalse(Path(self.path).exists())
        other = str(self.folder / "other.sock")
        self.serves(other)
        write(f'[pool-service]\nsocket = "{self.folder}/no/s"\npool = "{self.pool}"\n')
        reload()
        self.until("not reloaded, the old state stays: ")
        self.until(f"tlstunnel.toml:4: pool-service.socket: {self.folder}/no/s: No such file")
        self.serves(other)
        write(
            f'[tunnel.web]\nmode = "server"\nlocal = ["127.0.0.1:0"]\nlocal-id = ["{NAME}"]\n'
            f'remote = ["127.0.0.1:1"]\npool = "{self.pool}"\n'
        )
        reload()
        self.until("1 removed (pool-service)")
        self.assertFalse(Path(other).exists())
        self.speaks(plain)

    def test_theStatusIsAnOption(self) -> None:
        """
        Of loopback addresses alone; one that somebody has is named in its words.
        """
        port = freePort()
        self.start(*self.serving("--status", f"127.0.0.1:{port}"))
        self.supervisor.await_("READY")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            self.assertEqual(answer.status, 200)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            page = answer.read().decode()
        self.assertIn("peer: whom each program names", page)
        shown = self.run_(*TLSTUNNEL, "status", "--status", f"127.0.0.1:{port}").stdout
        (line,) = (each for each in shown.splitlines() if each.startswith("pool-service"))
        self.assertEqual(line.split()[:4], ["pool-service", "up", "pool", "any"])
        other = [*SERVE, "--socket", self.path + "2", "--pool", str(self.pool), "--status"]
        self.fails(
            f"--status 127.0.0.1:{port}: Address already in use", *other, f"127.0.0.1:{port}"
        )
        done = self.run_(*other, "192.0.2.1:1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("can be reached by other hosts", done.stderr)

    def test_itTakesSocketsThatWereHandedDown(self) -> None:
        """
        Each by its name; the paths stay, as they are the supervisor's.
        """
        both = []
        for name, kind in (("native", socket.SOCK_SEQPACKET), ("v2", socket.SOCK_STREAM)):
            sock = socket.socket(socket.AF_UNIX, kind)
            self.addCleanup(sock.close)
            sock.bind(str(self.folder / name))
            sock.listen()
            both.append(sock)
        words = ["--pool", str(self.pool), "--socket", "systemd:pool"]
        process = self.start(
            *(*SERVE, *words, "--v2-socket", "systemd:pool-v2"),
            sockets=(both[0], both[1]),
            names="pool:pool-v2",
        )
        self.supervisor.await_("READY")
        self.serves(str(self.folder / "native")).close()
        process.send_signal(signal.SIGHUP)
        self.supervisor.await_("READY", "RELOADING", "READY")
        self.serves(str(self.folder / "native")).close()
        process.terminate()
        self.assertEqual(process.wait(WAIT_SECONDS), 0)
        self.assertTrue((self.folder / "native").exists())
        process = self.start(*SERVE, *words, sockets=(both[1],), names="pool")
        self.assertEqual(process.wait(WAIT_SECONDS), 1)
        self.until("is not a UNIX socket of messages; use ListenSequentialPacket= with a path")

    def test_whatKeepsItFromStartingIsOneLine(self) -> None:
        """
        With what to do.
        """
        pool = ["--pool", str(self.pool)]
        self.fails("make the directory /nonexistent", *SERVE, *pool, "--socket", "/nonexistent/s")
        self.fails("there is no directory", *SERVE, "--pool", "/nonexistent", "--socket", self.path)
        self.start(*self.serving())
        self.supervisor.await_("READY")
        self.fails("Address already in use; stop what listens there", *self.serving())
        words = [*SERVE, *pool, "--socket", self.path + "2", "--socket-group", "nobody-is-this"]
        self.fails("--socket-group nobody-is-this: there is no such group", *words)
        self.assertFalse(Path(self.path + "2").exists())
        file = self.folder / "x"
        file.write_text("")
        self.fails("something else is there", *SERVE, *pool, "--socket", str(file))

    def test_aStaleSocketIsReplaced(self) -> None:
        """
        One that was killed leaves it behind.
        """
        self.start(*self.serving()).kill()
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        Path(self.path).unlink(missing_ok=True)
        stale.bind(self.path)
        stale.close()
        self.supervise()
        self.start(*self.serving())
        self.supervisor.await_("READY")
        self.serves()

    def test_signalsOfTheFirstMomentAreObeyed(self) -> None:
        """
        Whenever they come: one that ends it does, with 0, and a reload waits until it serves.
        """
        for pause in (0.03, 0.06, 0.1, 0.2):
            process = self.start("-X", "importtime", *self.serving())
            # Before that it is Python that is asked to end.
            self.until("tlstunnel.program.unreadable")
            time.sleep(pause)
            process.send_signal(signal.SIGHUP)
            process.terminate()
            self.assertEqual(process.wait(WAIT_SECONDS), 0, "".join(self.lines))
            self.assertFalse(Path(self.path).exists())
            self.lines.clear()
        process = self.start("-X", "importtime", *self.serving())
        self.until("tlstunnel.program.unreadable")
        time.sleep(0.03)
        process.send_signal(signal.SIGHUP)
        self.until("reloaded the pool service")
        self.serves()

    def test_nobodyServesWithoutAHome(self) -> None:
        """
        And without standard error; where there is no pool, a line says that it is needed.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can be somebody else")
        pool = self.folder / "pool"
        shutil.copytree(self.pool, pool)
        for each in (pool, *pool.rglob("*")):
            os.chown(each, STRANGER, STRANGER)
        self.folder.chmod(0o777)
        words = ["pool", "serve", "--socket", self.path]
        done = self.run_("-c", _AS_STRANGER, *words)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--pool: is needed, as we have no home directory", done.stderr)
        shell = ("sh", "-c", 'exec "$@" 2>&-', "sh")
        process = self.start("-c", _AS_STRANGER, *words, "--pool", str(pool), before=shell)
        self.supervisor.await_("READY")
        self.serves().close()
        process.terminate()
        self.assertEqual(process.wait(WAIT_SECONDS), 0)

    def test_programsOfOtherUsersGetWhatTheyMayUse(self) -> None:
        """
        Anybody may connect, and be nobody.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can be somebody else")
        self.start(*self.serving())
        self.supervisor.await_("READY")
        server = self.echo()
        os.seteuid(STRANGER)
        try:
            answer, plain = self.handOver(server=server)
        finally:
            os.seteuid(0)
        self.assertEqual((answer["verb"], answer["local"]), ("ok", ""))
        assert plain is not None
        self.speaks(plain)
