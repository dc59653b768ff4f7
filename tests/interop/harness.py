"""
What an interop test is made of; everything that tests and server modules use is imported from here.

::

    class SMTPTests(InteropTestCase):
        @classmethod
        def prepare(cls, stage: Stage) -> None:
            cls.certificate = stage.authority.issue("mail.test.example")
            cls.postfix = stage.start(Postfix(stage.directory("postfix"), cls.certificate))

        def test_aMailArrives(self) -> None:
            tunnel = self.tunnel("-c", "-r", f"127.0.0.1:{self.postfix.port}",
                                 "-R", "mail.test.example", "--starttls", "smtp")
            ... smtplib.SMTP("127.0.0.1", tunnel.port) ...
            record("smtp", "client", self.postfix, "mail sent")

Daemons, the tunnel and most clients are real processes; nothing here runs a reactor.  Trial does
not call C{setUpClass}, so a class names what its tests share in C{prepare}, which runs before the
first of them; another class's turn, or the end of the run, stops it.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.interop.certificates import Authority, ServerCertificate
from tests.interop.clients import Outcome, curl, gnutls, openssl, run, verified
from tests.interop.daemon import Daemon
from tests.interop.processes import Process, find, requireRoot, until
from tests.interop.results import record, version
from tests.interop.sockets import listening
from tests.interop.tunnel import TunnelProcess, tlstunnel
from tests.ports import freePort

__all__ = [
    "Authority",
    "Daemon",
    "InteropTestCase",
    "Outcome",
    "Process",
    "ServerCertificate",
    "Stage",
    "TunnelProcess",
    "curl",
    "find",
    "freePort",
    "gnutls",
    "listening",
    "openssl",
    "record",
    "requireRoot",
    "run",
    "tlstunnel",
    "until",
    "verified",
    "version",
]


class Startable(Protocol):
    """
    What a stage starts and stops.
    """

    def start(self) -> None: ...

    def stop(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def log(self) -> str: ...


S = TypeVar("S", bound=Startable)


class Stage:
    """
    What the tests of one class share: a directory, an authority with its pool, running servers.

    @ivar base: the directory, outside of the checkout, because daemons that are not root must
        reach it.
    """

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="tlstunnel-"))
        self.base.chmod(0o755)
        self.authority = Authority(self.base / "pool")
        self.started: list[Startable] = []
        self._names = 0

    def directory(self, name: str) -> Path:
        """
        A path below L{base} that is new; not created.
        """
        self._names += 1
        return self.base / f"{self._names}-{name}"

    def start(self, process: S) -> S:
        """
        Start a server that runs until the stage closes.
        """
        process.start()
        self.started.append(process)
        return process

    def close(self) -> None:
        """
        Stop everything, the last first, and remove the directory.
        """
        while self.started:
            self.started.pop().stop()
        shutil.rmtree(self.base, ignore_errors=True)


class InteropTestCase(SynchronousTestCase):
    """
    The base of all interop tests.

    @cvar stage: what this class shares; there from L{prepare} on.
    """

    stage: ClassVar[Stage]

    _current: ClassVar[tuple[type[InteropTestCase], Stage, Exception | None] | None] = None

    def assertSays(self, text: str, process: Process) -> None:
        """
        A program says C{text} in its log, now or soon: its peers may know of it before.
        """
        until(lambda: text in process.log, f"in the log: {text}")

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        """
        Start what the tests of this class share.  A C{SkipTest} from here skips them all, any
        other exception fails them all.
        """

    def setUp(self) -> None:
        cls = type(self)
        if InteropTestCase._current is None or InteropTestCase._current[0] is not cls:
            closeStage()
            cls.stage = Stage()
            problem: Exception | None = None
            try:
                cls.prepare(cls.stage)
            except Exception as error:  # noqa: BLE001 - each test raises it again
                problem = error
            InteropTestCase._current = (cls, cls.stage, problem)
        _, _, problem = InteropTestCase._current
        if problem is not None:
            raise problem
        self._tunnels: list[TunnelProcess] = []
        test = getattr(self, self._testMethodName)
        setattr(self, self._testMethodName, wraps(test)(lambda: self._explained(test)))

    def _explained(self, test: Callable[[], object]) -> None:
        """
        Show the logs of all that took part when the test does not succeed.
        """
        try:
            test()
        except SkipTest:
            raise
        except BaseException:
            for process in (*self.stage.started, *self._tunnels):
                print(f"\n=== {process.name} ===\n{process.log[-4000:]}", file=sys.stderr)
            raise

    def clientMode(
        self, remote: str, name: str, dialect: str | None, *options: str, socket: Path | None = None
    ) -> TunnelProcess:
        """
        A L{tunnel} to a TLS server.

        @param remote: its address, for C{-r}.
        @param name: who it must be, for C{-R}.
        @param dialect: None is TLS from the first byte.
        """
        upgrade = () if dialect is None else ("--starttls", dialect)
        return self.tunnel("-c", "-r", remote, "-R", name, *upgrade, *options, socket=socket)

    def serverMode(
        self, backend: str, name: str, dialect: str | None, *options: str
    ) -> TunnelProcess:
        """
        A L{tunnel} before a plaintext server.

        @param backend: its address, for C{-r}.
        @param name: who the tunnel is, for C{-L}.
        @param dialect: None is TLS from the first byte.
        """
        upgrade = () if dialect is None else ("--starttls", dialect)
        return self.tunnel("-s", "-L", name, "-r", backend, *upgrade, *options)

    def tunnel(self, *arguments: str, socket: Path | None = None) -> TunnelProcess:
        """
        Start a tunnel for this one test, after which it has to stop in order.

        @param arguments: all options but C{-l}; the stage's pool is taken unless there is another.
        @param socket: listen on this UNIX socket instead of a port.
        """
        if "--pool" not in arguments:
            arguments = ("--pool", str(self.stage.authority.pool), *arguments)
        tunnel = TunnelProcess(self.stage.directory("tunnel"), *arguments, socket=socket)
        self._tunnels.append(tunnel)
        tunnel.start()
        self.addCleanup(tunnel.stop)
        return tunnel


@atexit.register
def closeStage() -> None:
    """
    Stop what the class that ran last has started.
    """
    current, InteropTestCase._current = InteropTestCase._current, None
    if current is not None:
        current[1].close()
