"""
Real operating system processes for the interop tests: found, started, awaited, and stopped by
process id.

Synchronous on purpose: no reactor runs here.  What is started listens on high loopback ports or on
UNIX sockets in its own directory.  Knows Linux; knows nothing of what it starts.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.interop import guard
from tests.interop.sockets import listening

#: Where programs are that a user's PATH does not name.
SYSTEM_PATH = ":".join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def find(program: str, package: str) -> str:
    """
    The full path of a program.

    @param program: a name, or a path in which C{*} matches (the last one wins), for programs
        outside of every C{PATH}.
    @param package: the Debian package to name when it is missing.
    @raise SkipTest: it is not installed.
    """
    if "/" in program:
        matches = sorted(map(str, Path("/").glob(program.lstrip("/"))))
        path = matches[-1] if matches else None
    else:
        path = shutil.which(program, path=SYSTEM_PATH)
    if path is None:
        raise SkipTest(
            f"NOT TESTED: {program} is not installed; "
            f"run: sh tests/interop/install (Debian package {package})"
        )
    return path


def requireRoot(what: str) -> None:
    """
    @raise SkipTest: the tests do not run as root, without which C{what} cannot be started.
    """
    if os.geteuid() != 0:
        raise SkipTest(f"NOT TESTED: {what} can only be started by root")


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """
    Wait for a condition that another process brings about.

    @raise AssertionError: C{what} did not happen in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


class Process:
    """
    One process of our own, with all its children, in a session of its own.

    @ivar directory: its state; what it prints goes to C{output} there.
    @ivar logs: further files of which L{log} shows the end.
    """

    #: Seconds that it has to begin to listen, and to end after SIGTERM.
    startTime = 20.0
    stopTime = 10.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs: list[Path] = [directory / "output"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def pid(self) -> int:
        """
        @raise AssertionError: it was not started, or was stopped.
        """
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        """
        Everything that it said, for the message of a failed test.
        """
        texts = [
            f"--- {path.name} ---\n{path.read_text(errors='backslashreplace')}"
            for path in self.logs
            if path.exists()
        ]
        return "\n".join(texts)

    def spawn(
        self,
        command: Sequence[str],
        addresses: Sequence[int | Path],
        user: str | None = None,
        environment: Mapping[str, str] = {},
        descriptors: Sequence[int] = (),
    ) -> None:
        """
        Start it, and wait until it listens on all addresses.

        @param user: the account it runs as, when we are root.
        @param descriptors: those that it inherits.
        @raise AssertionError: it ended, or does not listen in time; carries its log.
        """
        identity: dict[str, object] = {}
        if user is not None and os.geteuid() == 0:
            identity = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C", **environment},
                start_new_session=True,
                pass_fds=descriptors,
                **identity,  # type: ignore[call-overload]
            )
        process = self._process
        guard.began(process.pid)

        def ready() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {process.returncode}:\n{self.log}")
            return all(listening(address) for address in addresses)

        try:
            until(ready, f"{self.name} listens on {list(map(str, addresses))}", self.startTime)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log}") from None

    def kill(self) -> None:
        """
        End it and all its children at once, as a crash does; it can be started again.
        """
        process, self._process = self._process, None
        assert process is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        guard.ended(process.pid)

    def stop(self) -> int:
        """
        End it and all its children; to be called once or more.

        @return: its exit code; negative is a signal's number, as in L{subprocess}.
        """
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.terminate()
        try:
            process.wait(self.stopTime)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        guard.ended(process.pid)
        return process.returncode
