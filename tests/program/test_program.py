"""
Tests for the C{tlstunnel} program as users meet it: processes, and what they log.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from tests.certificates import Recipe, alternative, dns, make, numberedZero, root
from tests.loopback import PATIENCE
from tests.ports import freePort
from tests.program.processes import TLSTUNNEL, TWISTD, WAIT_SECONDS, ProgramTestCase, nameOf
from tlstunnel.__main__ import codeWhenInterrupted
from tlstunnel.program.options import OPTIONS, VIEW_OPTIONS


class ProgramTests(ProgramTestCase):
    """
    The program, run.
    """

    def test_helpIsForPeople(self) -> None:
        """
        Grouped, with an example for each mode, and exit code 0.
        """
        done = self.run_("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("tlstunnel -s -l [::]:443", done.stdout)
        self.assertIn("tlstunnel -c -l 127.0.0.1:2525", done.stdout)

    def test_theVersionIsShown(self) -> None:
        """
        Ours, not Twisted's.
        """
        self.assertRegex(self.run_("--version").stdout, r"^tlstunnel \d")

    def test_whoeverReadsTheBeginningOnlyStopsNothing(self) -> None:
        """
        As head(1) does: no error, no traceback, and the rest of the work is done.
        """
        reader, writer = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, writer)
        for words in (
            ["--help"],
            ["--list-protocols"],
            ["identity", "--help"],
            ["identity", "list", "--pool", str(self.pool)],
            ["identity", "renew", "--force", "--pool", str(self.pool)],
            ["chat-check", "smtp"],
        ):
            done = subprocess.run(
                [sys.executable, *TLSTUNNEL, *words],
                env=self.environment,
                stdout=writer,
                stderr=subprocess.PIPE,
                text=True,
                timeout=WAIT_SECONDS,
                check=False,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)

    def test_libraryWarningsAreNotForUsers(self) -> None:
        """
        A root with the serial number 0 makes cryptography speak to programmers, not to users.
        """
        odd = numberedZero(root("Odd"))
        issued = make(Recipe(san=alternative(dns("a.example"))), odd)
        directory = self.pool / "a.example"
        directory.mkdir()
        (self.pool / "trust").mkdir()
        pem = odd.certificate.public_bytes(Encoding.PEM)
        (self.pool / "trust" / "a.example.pem").write_bytes(pem)
        (directory / "fullchain.pem").write_bytes(issued.chainPEM() + pem)
        (directory / "privkey.pem").write_bytes(issued.keyPEM())
        (directory / "privkey.pem").chmod(0o600)
        for command in ("check a.example", "list", f"trust @. {directory / 'fullchain.pem'}"):
            done = self.run_("identity", *command.split(), "--pool", str(self.pool))
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        script = "from tlstunnel.__main__ import main; import warnings; code = main(['identity', "
        script += f"'list', '--pool', {str(self.pool)!r}]); warnings.warn('for programmers')"
        self.assertEqual(self.run_(program=("-c", script)).stderr, "")
        self.assertIn("for programmers", self.run_(program=("-W", "default", "-c", script)).stderr)

    def test_aQuietTunnelHasNoLineForAConnection(self) -> None:
        """
        Else it has.
        """
        for quiet in (), ("--quiet",):
            address = ("127.0.0.1", freePort())
            local = "{}:{}".format(*address)
            process = self.start(*TLSTUNNEL, *self.server("-l", local, *quiet))
            with socket.create_connection(address, WAIT_SECONDS) as client:
                peer = nameOf(client)
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                while client.recv(100):
                    pass
            process.terminate()
            assert process.stdout is not None
            self.assertEqual(peer not in process.stdout.read(), bool(quiet))

    def test_SIGTERMAndSIGINTEndItInOrder(self) -> None:
        """
        With exit code 0.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.start(*TLSTUNNEL, *self.server())
            process.send_signal(number)
            self.assertEqual(process.wait(WAIT_SECONDS), 0)

    def test_aStartThatWaitsForAnAgentEndsInOrderToo(self) -> None:
        """
        As any start; a check that is interrupted has found nothing, and says so by its code.
        """
        silent = Path(tempfile.mkdtemp()) / "agent"
        self.addCleanup(shutil.rmtree, silent.parent)
        described = silent.parent / "c.toml"
        described.write_text(
            f'[tunnel.t]\nmode = "server"\nlocal = "127.0.0.1:0"\nremote = "127.0.0.1:1"\n'
            f'local-id = "www.example.org"\nagent = "{silent}"\n'
        )
        with socket.socket(socket.AF_UNIX) as agent:
            agent.bind(str(silent))
            agent.listen()
            agent.settimeout(WAIT_SECONDS)
            for number in (signal.SIGTERM, signal.SIGINT):
                for words, code in (((), 0), (("--check",), 130)):
                    process = subprocess.Popen(
                        (sys.executable, *TLSTUNNEL, "--config", str(described), *words),
                        env=self.environment,
                    )
                    self.addCleanup(process.kill)
                    asking, _ = agent.accept()
                    with asking:
                        asking.settimeout(WAIT_SECONDS)
                        self.assertTrue(asking.recv(100))
                        process.send_signal(number)
                        self.assertEqual(process.wait(WAIT_SECONDS), code, (number, words))

    def test_whoeverOnlyLooksIsKnownByWhatHeHasToWrite(self) -> None:
        """
        As options may be shortened, as long as there is one only that begins so.
        """
        names = [each.name for each in OPTIONS]
        for option in (each.name for each in VIEW_OPTIONS):
            for length in range(1, len(option) + 1):
                short = option[:length]
                isIt = [each for each in names if each.startswith(short)] == [option]
                self.assertEqual(codeWhenInterrupted([f"--{short}"]), 130 if isIt else 0, short)

    def test_SIGHUPReloads(self) -> None:
        """
        And says so; the process lives.
        """
        process = self.start(*TLSTUNNEL, *self.server())
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        self.assertIn("reloaded", process.stdout.readline())
        process.terminate()
        self.assertEqual(process.wait(WAIT_SECONDS), 0)

    def test_anIdleConnectionDoesNotHoldUpTheEnd(self) -> None:
        """
        Who does not move is closed, and the exit code is still 0.
        """
        port = freePort()
        backend = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(backend.close)
        words = self.server("-l", f"127.0.0.1:{port}", remote=nameOf(backend))
        process = self.start(*TLSTUNNEL, *words)
        context = ssl.create_default_context(cafile=str(self.pool / "ca" / "cert.pem"))
        client = socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)
        with context.wrap_socket(client, server_hostname="server.example.org") as client:
            backend.settimeout(WAIT_SECONDS)
            plain, _ = backend.accept()
            self.addCleanup(plain.close)
            process.terminate()
            self.assertEqual(process.wait(WAIT_SECONDS), 0)
            self.assertEqual(client.recv(1), b"")

    def test_whoeverReadsNoLogStopsNothing(self) -> None:
        """
        Connections are served while the log goes to a full pipe, and the lines lost are counted.
        """
        for program in (TLSTUNNEL, TWISTD):
            self.readsNoLog(program)

    def readsNoLog(self, program: tuple[str, ...]) -> None:
        """
        Serve connections by C{program} while nobody reads what it logs.
        """
        address = ("127.0.0.1", freePort())
        local = "{}:{}".format(*address)
        process = self.start(*program, *self.server("-l", local))

        def connect() -> None:
            with socket.create_connection(address, WAIT_SECONDS) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                while client.recv(100):
                    pass

        assert process.stdout is not None
        # A page for the first line after all that was lost, and one for the line that counts them.
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 8192)
        for _ in range(100):
            connect()
        os.set_blocking(process.stdout.fileno(), False)
        # Connections may still be ending, so that the line may come among these.
        said = ""
        while chunk := process.stdout.read(100):
            said += chunk
        os.set_blocking(process.stdout.fileno(), True)
        connect()
        while not (found := re.search(r"there was no room: (\d+)\n", said)):
            said += process.stdout.readline()
        self.assertGreater(int(found[1]), 10)

    def test_JSONLinesAreLoggedWhereAskedFor(self) -> None:
        """
        Of the start, of what is risky, of connections, of reloads, and of the end.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(backend.close)
        remote = f"127.0.0.1:{backend.getsockname()[1]}"
        process, lines = self.logging(
            *self.server("--starttls", "http", remote=remote),
            *("--dialect-option", "allow-upgrade-desync", "-v"),
        )
        seen: list[str | None] = []
        notice = self.await_(lines, "notice", seen)
        self.assertEqual(
            (notice["level"], notice["worker"], notice["tunnel"]), ("warn", None, None)
        )
        start = self.await_(lines, "start", seen)
        self.assertEqual((start["mode"], start["dialect"]), ("server", "http"))
        self.assertEqual((start["local_id"], start["expected"]), ("server.example.org", None))
        host, port = start["local"].rsplit(":", 1)
        with socket.create_connection((host, int(port)), PATIENCE) as sock:
            peer = nameOf(sock)
            sock.sendall(b"EHLO x\r\n")
            said = self.await_(lines, "negotiation", seen)
            self.assertEqual((said["direction"], said["level"]), ("received", "debug"))
            refused = self.await_(lines, "connection", seen)
        self.assertEqual((refused["outcome"], refused["peer"]), ("malformed", peer))
        process.send_signal(signal.SIGHUP)
        self.assertIsNone(self.await_(lines, "reload", seen)["detail"])
        certificate = self.pool / "server.example.org" / "fullchain.pem"
        certificate.write_text("")
        process.send_signal(signal.SIGHUP)
        self.assertIn(str(certificate), self.await_(lines, "reload", seen)["detail"])
        process.terminate()
        self.await_(lines, "stop", seen)
        self.assertEqual(list(lines), [])

    def test_JSONLinesOfConnectionsThatAreServed(self) -> None:
        """
        The whole of what is known of them.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(backend.close)
        process, lines = self.logging(*self.server(remote=f"127.0.0.1:{backend.getsockname()[1]}"))
        seen: list[str | None] = []
        host, port = self.await_(lines, "start", seen)["local"].rsplit(":", 1)
        context = ssl.create_default_context(cafile=str(self.pool / "ca" / "cert.pem"))
        with (
            socket.create_connection((host, int(port)), PATIENCE) as sock,
            context.wrap_socket(sock, server_hostname="server.example.org") as wrapped,
            backend.accept()[0] as accepted,
        ):
            wrapped.sendall(b"hello")
            self.assertEqual(accepted.recv(5), b"hello")
            accepted.close()
            self.assertEqual(wrapped.recv(5), b"")
            wrapped.unwrap()
        line = self.await_(lines, "connection", seen)
        known = {name: line[name] for name in ("outcome", "detail", "hint", "sni", "to_plain")}
        self.assertEqual(
            known,
            {
                "outcome": "clean",
                "detail": None,
                "hint": None,
                "sni": "server.example.org",
                "to_plain": 5,
            },
        )
        process.terminate()
        self.await_(lines, "stop", seen)

    def test_JSONLinesOfWorkers(self) -> None:
        """
        Each says which it is; the parent, what becomes of them.
        """
        process, lines = self.logging(*self.server("--workers", "2"))
        seen: list[str | None] = []
        self.assertEqual(self.await_(lines, "workers", seen)["count"], 2)
        started = {self.await_(lines, "start", seen)["worker"] for _ in range(2)}
        self.assertEqual(started, {1, 2})
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if children.exists():
            os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
            ended = self.await_(lines, "worker", seen)
            self.assertIn(ended["worker"], {1, 2})
            self.assertIn("signal 9", ended["detail"])
            self.assertEqual(self.await_(lines, "start", seen)["worker"], ended["worker"])
        process.terminate()
        self.await_(lines, "stop", seen)

    def test_twistdRunsTheSameTunnel(self) -> None:
        """
        In the foreground, with the same options, and the same orderly end.
        """
        process = self.start(*TWISTD, *self.server())
        process.terminate()
        self.assertEqual(process.wait(WAIT_SECONDS), 0)

    def test_twistdSaysInOneLineWhatIsWrong(self) -> None:
        """
        No traceback there either.
        """
        done = self.run_(*self.server(name="nobody.example.org"), program=TWISTD)
        self.assertEqual(done.returncode, 1)
        self.assertIn("identity create", done.stderr + done.stdout)
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_theDemonstrationWorks(self) -> None:
        """
        Once, with exit code 0, and says who was verified.
        """
        done = self.run_("demo", "--once")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("verified the server as testsrv@tlspool.arpa2.lab", done.stdout)
        self.assertIn("TLSv1.3", done.stdout)
