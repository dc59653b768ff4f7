"""
The program under a service manager: what that hears, and the sockets that it hands down.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import pwd
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.ports import freePort
from tests.program.processes import TLSTUNNEL, TOP, TWISTD, WAIT_SECONDS
from tests.supervisor import Supervisor, handingDown
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

NAME = "server.example.org"

#: All ways to run a tunnel in the foreground, with what each counts.
KINDS = (
    (TLSTUNNEL, ()),
    (TLSTUNNEL, ("--workers", "2")),
    (TWISTD, ()),
    (TWISTD, ("--workers", "2")),
)


def _isKnown(process: subprocess.Popen[str], states: list[str]) -> bool:
    """
    Whether C{process} has told a state, or has ended.
    """
    return bool(states) or process.poll() is not None


class SupervisedTestCase(SynchronousTestCase):
    """
    A tunnel, its supervisor, and what it logs.
    """

    def setUp(self) -> None:
        """
        A pool with one identity, and a free port.
        """
        self.pool = Path(self.mktemp()).resolve()
        createIdentity(Pool(self.pool, asked=False), Identity.parse(NAME))
        self.port = freePort()
        self.lines: list[str] = []
        self.supervise()

    def supervise(self, isAbstract: bool = False) -> None:
        """
        Have a supervisor that has heard nothing yet.
        """
        self.supervisor = Supervisor(isAbstract)
        self.addCleanup(self.supervisor.close)

    def words(self, *more: str, local: str = "") -> list[str]:
        """
        The options of the tunnel.
        """
        local = local or f"127.0.0.1:{self.port}"
        words = ["-s", "-l", local, "-r", "127.0.0.1:1", "-L", NAME]
        return [*words, "--pool", str(self.pool), *more]

    def configuration(self, *names: str, local: str = "127.0.0.1:0") -> Path:
        """
        A file with tunnels of these names, which does not change by itself.
        """
        file = self.pool.parent / f"{self.pool.name}.toml"
        text = "[process]\nreload-on-change = false\n"
        for name in names:
            text += f"""
                [tunnel.{name}]
                mode = "server"
                local = ["{local.replace("NAME", name)}"]
                local-id = ["{NAME}"]
                remote = ["127.0.0.1:1"]
                pool = "{self.pool}"
                """
        file.write_text(text)
        file.chmod(0o600)
        return file

    def start(
        self,
        *command: str,
        before: tuple[str, ...] = (),
        sockets: tuple[socket.socket, ...] = (),
        names: str = "",
        **variables: str,
    ) -> subprocess.Popen[str]:
        """
        Start Python with C{command}.

        @param before: a program that starts it.
        @param sockets: what is handed down, with C{names}.
        """
        handing, descriptors = handingDown(sockets) if sockets or variables else ([], [])
        if sockets:
            variables |= {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names}
        process = subprocess.Popen(
            [*handing, *before, sys.executable, *command],
            env={
                **os.environ,
                "PYTHONPATH": str(TOP),
                "PYTHONDONTWRITEBYTECODE": "1",
                "NOTIFY_SOCKET": self.supervisor.path,
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=descriptors,
        )
        for number in descriptors:
            os.close(number)
        assert process.stdout is not None
        stdout = process.stdout
        reading = threading.Thread(target=lambda: self.lines.extend(iter(stdout.readline, "")))

        def clean() -> None:
            process.kill()
            process.wait(WAIT_SECONDS)
            reading.join(WAIT_SECONDS)
            stdout.close()

        self.addCleanup(clean)
        reading.start()
        return process

    def until(self, words: str) -> None:
        """
        Wait until a line of the log has C{words}.
        """
        end = time.monotonic() + WAIT_SECONDS
        while not any(words in line for line in self.lines):
            self.assertLess(time.monotonic(), end, "".join(self.lines))
            time.sleep(0.01)

    def greets(self, address: str | tuple[str, int]) -> None:
        """
        A client of the tunnel sees who it is.
        """
        context = ssl.create_default_context(cafile=str(self.pool / "ca" / "cert.pem"))
        kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        with socket.socket(kind) as sock:
            sock.settimeout(WAIT_SECONDS)
            sock.connect(address)
            with context.wrap_socket(sock, server_hostname=NAME) as client:
                self.assertTrue(client.getpeercert())


class MessagesTests(SupervisedTestCase):
    """
    What the supervisor hears.
    """

    def test_theLifeOfAProcess(self) -> None:
        """
        Ready once connections are served, by all workers where there are some; then the same for
        each reload, and at the end.
        """
        for program, more in KINDS:
            self.supervise()
            process = self.start(*program, *self.words(*more))
            workers = ", 2 workers" if more else ""
            ready = {"READY": "1", "STATUS": f"1 tunnel up, 0 connections{workers}"}
            self.assertEqual(self.supervisor.await_("READY"), ready)
            self.greets(("127.0.0.1", self.port))
            before = time.monotonic_ns() // 1000
            process.send_signal(signal.SIGHUP)
            self.supervisor.await_("READY", "RELOADING", "READY")
            reloading = self.supervisor.messages[-2][1]
            self.assertEqual(reloading["STATUS"], "reloading")
            after = time.monotonic_ns() // 1000
            self.assertLess(before, int(reloading["MONOTONIC_USEC"]))
            self.assertLess(int(reloading["MONOTONIC_USEC"]), after)
            process.terminate()
            last = self.supervisor.await_("READY", "RELOADING", "READY", "STOPPING")
            self.assertRegex(last["STATUS"], r"\Astopping, \d connections? left")
            self.assertEqual(process.wait(WAIT_SECONDS), 0)

    def test_aReloadThatIsRefused(self) -> None:
        """
        Says why, and that nothing has changed; the next one is good again.
        """
        key = self.pool / NAME / "privkey.pem"
        for program, more in KINDS[:2]:
            self.supervise()
            process = self.start(*program, *self.words(*more))
            self.supervisor.await_("READY")
            key.chmod(0o644)
            process.send_signal(signal.SIGHUP)
            status = self.supervisor.await_("READY", "RELOADING", "READY")["STATUS"]
            self.assertIn(f"; reload refused: {key}: ", status)
            self.assertTrue(status.endswith("; the old state stays"), status)
            key.chmod(0o600)
            process.send_signal(signal.SIGHUP)
            ready = self.supervisor.await_("READY", "RELOADING", "READY", "RELOADING", "READY")
            self.assertNotIn("refused", ready["STATUS"])
            process.kill()
            process.wait(WAIT_SECONDS)

    def test_allTunnelsOfAFile(self) -> None:
        """
        Are counted, from the start on and after each reload; what is wrong with the file is told.
        """
        for program in (TLSTUNNEL, TWISTD):
            self.supervise()
            file = self.configuration("one", "two", "three")
            process = self.start(*program, "--config", str(file))
            ready = self.supervisor.await_("READY")
            self.assertEqual(ready["STATUS"], "3 tunnels up, 0 connections")
            self.configuration("one")
            process.send_signal(signal.SIGHUP)
            ready = self.supervisor.await_("READY", "RELOADING", "READY")
            self.assertEqual(ready["STATUS"], "1 tunnel up, 0 connections")
            file.write_text(file.read_text() + 'moed = "server"\n')
            process.send_signal(signal.SIGHUP)
            ready = self.supervisor.await_(*("READY", "RELOADING") * 2, "READY")
            words = f"1 tunnel up, 0 connections; reload refused: {file}:"
            self.assertTrue(ready["STATUS"].startswith(words), ready)
            self.assertIn("tunnel.one.moed: ", ready["STATUS"])
            process.terminate()
            self.assertEqual(process.wait(WAIT_SECONDS), 0)

    def test_anAbstractSocket(self) -> None:
        """
        Is one, too.
        """
        self.supervise(isAbstract=True)
        self.start(*TLSTUNNEL, *self.words())
        self.supervisor.await_("READY")

    def test_aSocketThatIsNotThereIsOneLine(self) -> None:
        """
        The tunnel serves all the same.
        """
        self.supervisor.path += "-elsewhere"
        process = self.start(*TLSTUNNEL, *self.words())
        self.until("tunnel up")
        process.send_signal(signal.SIGHUP)
        self.until("reloaded identities")
        process.terminate()
        self.assertEqual(process.wait(WAIT_SECONDS), 0)
        about = [line for line in self.lines if "service manager" in line]
        self.assertEqual(len(about), 1, self.lines)
        self.assertIn(f"NOTIFY_SOCKET {self.supervisor.path!r}: No such file", about[0])

    def test_workersDoNotHearOfIt(self) -> None:
        """
        It is for their parent alone.
        """
        words = self.words("--workers", "2")
        # Else only root may see it.
        parent = self.start(*TLSTUNNEL, *words, WATCHDOG_USEC="9000000", PYTHONDEVMODE="1")
        self.supervisor.await_("READY")
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        self.assertEqual(len(children), 2)
        for child in children:
            environment = Path(f"/proc/{child}/environ").read_bytes()
            for name in (b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"WATCHDOG_PID"):
                self.assertNotIn(name, environment)

    def test_whoBecomesSomebodyElseIsHeard(self) -> None:
        """
        As under twistd, also where that one could not connect to the socket.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        Path(self.supervisor.path).chmod(0o600)
        uid = pwd.getpwnam("nobody").pw_uid
        process = self.start(*TWISTD[:-1], f"--uid={uid}", TWISTD[-1], *self.words())
        self.supervisor.await_("READY")
        status = Path(f"/proc/{process.pid}/status").read_text()
        self.assertIn(f"\nUid:\t{uid}\t{uid}", status)
        process.terminate()
        self.supervisor.await_("READY", "STOPPING")

    def test_standardErrorMayBeClosed(self) -> None:
        """
        The socket is not in its place.
        """
        shell = ("sh", "-c", 'exec "$@" 2>&-', "sh")
        for program, more in KINDS:
            self.supervise()
            process = self.start(*program, *self.words(*more), before=shell)
            self.supervisor.await_("READY")
            process.terminate()
            self.supervisor.await_("READY", "STOPPING")
            self.assertEqual(process.wait(WAIT_SECONDS), 0)
            for _, message in self.supervisor.messages:
                self.assertLessEqual(set(message), {"READY", "STOPPING", "STATUS"})

    def test_aDaemonSaysWhoItIs(self) -> None:
        """
        Before the process that was started ends, as the daemon would be taken for dead else.
        """
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        pidfile = directory / "pid"
        twistd = (*TWISTD[:2], f"--pidfile={pidfile}", f"--logfile={directory / 'log'}", TWISTD[-1])
        process = self.start(*twistd, *self.words(), WATCHDOG_USEC="2000000")
        self.assertEqual(process.wait(WAIT_SECONDS), 0)
        pid = int(pidfile.read_text())
        self.addCleanup(os.kill, pid, signal.SIGTERM)
        self.assertNotEqual(pid, process.pid)
        self.supervisor.until(lambda told: told == ["READY"])
        messages = [message for _, message in self.supervisor.messages]
        self.assertEqual(messages[:2], [{"MAINPID": str(pid)}, {"WATCHDOG": "1"}])

    def test_SIGTERMInItsFirstMoments(self) -> None:
        """
        Whenever it comes, the process ends, and nobody is ready after that.
        """
        for milliseconds in range(0, 100, 20):
            self.supervise()
            process = self.signalled(signal.SIGTERM, milliseconds)
            # Before Python runs our first line the signal ends any program.
            self.assertIn(process.wait(WAIT_SECONDS), (0, -signal.SIGTERM))
            whole = ["READY", "STOPPING"]
            self.assertIn(self.supervisor.states(), ([], whole, whole[1:]))

    def test_SIGHUPInItsFirstMoments(self) -> None:
        """
        Whenever it comes, we are ready, and so again after the reload.
        """
        for milliseconds in range(0, 100, 20):
            self.supervise()
            process = self.signalled(signal.SIGHUP, milliseconds)
            self.supervisor.until(partial(_isKnown, process))
            if process.poll() is not None:
                self.assertEqual(process.returncode, -signal.SIGHUP)
                continue
            process.terminate()
            self.assertEqual(process.wait(WAIT_SECONDS), 0)
            first, *more, last = self.supervisor.states()
            self.assertEqual((first, last), ("READY", "STOPPING"))
            self.assertIn(more, ([], ["RELOADING"], ["RELOADING", "READY"]))

    def signalled(self, number: int, milliseconds: int) -> subprocess.Popen[str]:
        """
        A tunnel that got a signal so long after it was started.
        """
        process = self.start(*TLSTUNNEL, *self.words("--workers", "2"))
        # Not to wait for anything, but to be at another moment each time.
        time.sleep(milliseconds / 1000)
        process.send_signal(number)
        return process


class WatchdogTests(SupervisedTestCase):
    """
    What the watchdog hears.
    """

    #: Connections that shake hands.
    CONNECTIONS = 1000
    #: Those that do at the same time, on our side.
    CLIENTS = 16
    #: After so many seconds of silence the watchdog would bite.
    LIMIT = 2.0

    def test_itHearsOfUsWhileAThousandConnectionsShakeHands(self) -> None:
        """
        All of which are there at once.
        """
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = self.CONNECTIONS + 100
        if before[1] < needed:
            raise SkipTest(f"this needs {needed} descriptors, and {before[1]} are allowed")
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, before[0]), before[1]))
        # The kernel connects what nobody accepts.
        backend = socket.create_server(("127.0.0.1", 0), backlog=self.CONNECTIONS)
        self.addCleanup(backend.close)
        words = self.words("--handshake-timeout", str(WAIT_SECONDS * 2))
        words[words.index("-r") + 1] = f"127.0.0.1:{backend.getsockname()[1]}"
        self.start(*TLSTUNNEL, *words, WATCHDOG_USEC=str(int(self.LIMIT * 1e6)))
        self.supervisor.await_("READY")
        context = ssl.create_default_context(cafile=str(self.pool / "ca" / "cert.pem"))

        def shake(sock: socket.socket) -> bool:
            with context.wrap_socket(sock, server_hostname=NAME) as client:
                return client.version() == "TLSv1.3"

        began = time.monotonic()
        address = ("127.0.0.1", self.port)
        sockets = [
            socket.create_connection(address, WAIT_SECONDS * 2) for _ in range(self.CONNECTIONS)
        ]
        with concurrent.futures.ThreadPoolExecutor(self.CLIENTS) as clients:
            self.assertEqual(sum(clients.map(shake, sockets)), self.CONNECTIONS)
        # The next one that comes is after all that.
        ended = time.monotonic()
        self.supervisor.until(lambda _: self.pings()[-1] > ended)
        pings = [each for each in self.pings() if each > began - self.LIMIT]
        gaps = [later - sooner for sooner, later in itertools.pairwise(pings)]
        self.assertGreater(len(gaps), 0)
        self.assertLess(max(gaps), self.LIMIT)

    def pings(self) -> list[float]:
        """
        When it has heard of us.
        """
        return [when for when, message in self.supervisor.messages if "WATCHDOG" in message]

    def test_aWatchdogThatIsNotConfiguredHearsNothing(self) -> None:
        """
        And nothing is said about it.
        """
        process = self.start(*TLSTUNNEL, *self.words())
        self.supervisor.await_("READY")
        process.terminate()
        self.supervisor.await_("READY", "STOPPING")
        self.assertEqual(self.pings(), [])
        self.assertNotIn("WATCHDOG", "".join(self.lines))

    def test_aWorkerThatStandsStillIsReplaced(self) -> None:
        """
        The watchdog hears from the parent, which would not notice else.
        """
        words = self.words("--workers", "2")
        parent = self.start(*TLSTUNNEL, *words, WATCHDOG_USEC="1000000")
        self.supervisor.await_("READY")
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGSTOP)
        self.until("worker 1: has not answered for 1 s")
        self.until("worker 1 ended after")
        self.greets(("127.0.0.1", self.port))

    def test_nonsenseIsOneLine(self) -> None:
        """
        The tunnel serves all the same.
        """
        self.start(*TLSTUNNEL, *self.words(), WATCHDOG_USEC="soon")
        self.supervisor.await_("READY")
        self.until("WATCHDOG_USEC is 'soon', and not a number above 0")
        self.assertEqual(sum("WATCHDOG" in line for line in self.lines), 1)


class ActivationTests(SupervisedTestCase):
    """
    Sockets that the supervisor hands down.
    """

    def listen(self) -> tuple[socket.socket, tuple[str, int]]:
        """
        A socket of TCP that listens.
        """
        sock = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(sock.close)
        host, port = sock.getsockname()
        return sock, (host, port)

    def test_allSocketsOfANameAreServed(self) -> None:
        """
        Of TCP and UNIX ones, also by workers, and after a reload; another one is warned of.
        """
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        for program, more in KINDS:
            self.supervise()
            self.lines.clear()
            first, there = self.listen()
            second, also = self.listen()
            other, _ = self.listen()
            path = f"{directory}/front"
            local = socket.socket(socket.AF_UNIX)
            self.addCleanup(local.close)
            local.bind(path)
            local.listen()
            process = self.start(
                *(*program, *self.words(*more, local="systemd:front")),
                sockets=(first, other, second, local),
                names="front:spare:front:front",
            )
            self.supervisor.await_("READY")
            for address in (there, also, path):
                self.greets(address)
            process.send_signal(signal.SIGHUP)
            self.supervisor.await_("READY", "RELOADING", "READY")
            for address in (there, also, path):
                self.greets(address)
            self.until("no tunnel listens at systemd:spare, which was handed down to us")
            self.assertEqual(sum("systemd:spare" in line for line in self.lines), 1)
            process.terminate()
            self.assertEqual(process.wait(WAIT_SECONDS), 0)
            # The path is the supervisor's.
            self.assertTrue(Path(path).is_socket())
            Path(path).unlink()

    def test_tunnelsOfAFileHaveThemByName(self) -> None:
        """
        Also one that comes, goes, and comes again with reloads; while it is gone, there is a
        warning.
        """
        first, there = self.listen()
        second, also = self.listen()
        file = self.configuration("one", "two", local="systemd:NAME")
        process = self.start(
            *TLSTUNNEL, "--config", str(file), sockets=(first, second), names="one:two"
        )
        self.supervisor.await_("READY")
        for names in (("one",), ("one", "two")):
            self.configuration(*names, local="systemd:NAME")
            before = self.supervisor.states()
            process.send_signal(signal.SIGHUP)
            self.supervisor.await_(*before, "RELOADING", "READY")
        for address in (there, also):
            self.greets(address)
        self.until("no tunnel listens at systemd:two")
        self.assertEqual(sum("no tunnel listens" in line for line in self.lines), 1)

    def test_aNameThatNobodyHandedDownIsOneLine(self) -> None:
        """
        With the names there are.
        """
        sock, _ = self.listen()
        for more in ((), ("--workers", "2")):
            self.lines.clear()
            words = self.words(*more, local="systemd:front")
            process = self.start(*TLSTUNNEL, *words, sockets=(sock,), names="back")
            self.assertEqual(process.wait(WAIT_SECONDS), 1)
            self.until("tlstunnel: --local systemd:front: no such socket was handed down to us; ")
            self.assertEqual(len(self.lines), 1)
            self.assertIn("there are: back", self.lines[0])

    def test_systemdsOwnToolHandsThemDown(self) -> None:
        """
        systemd-socket-activate(1), where it is installed.
        """
        tool = shutil.which("systemd-socket-activate")
        if tool is None:
            raise SkipTest("there is no systemd-socket-activate")
        activate = (tool, "-l", f"127.0.0.1:{self.port}", "--fdname=front", "-E", "PYTHONPATH")
        self.start(*TLSTUNNEL, *self.words(local="systemd:front"), before=activate)
        self.until("Listening on")
        # The first connection starts the program, and waits until it serves.
        self.greets(("127.0.0.1", self.port))
