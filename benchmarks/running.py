"""
A tunnel and its backend, started for one measurement and stopped after it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from benchmarks import accounting
from benchmarks.contenders import Contender, Mode, Setup
from benchmarks.credentials import Credentials
from benchmarks.load import IMPLICIT, Broken, Client, PooledClient, Speaking

_STOP_LIMIT = 1.0


@dataclass(frozen=True)
class Cores:
    """
    Where the tunnel runs and where everything else does; the same on a machine with one.

    @ivar every: all there are.
    """

    tunnel: frozenset[int]
    load: frozenset[int]
    every: tuple[int, ...]

    @classmethod
    def available(cls) -> Cores:
        cores = tuple(sorted(os.sched_getaffinity(0)))
        return cls(frozenset(cores[-1:]), frozenset(cores[:1]), cores)

    def forWorkers(self, count: int) -> Cores:
        """
        @return: a core for each of C{count} workers, as far as there are so many, and the others
            for the load; where no others are left it has to be on the same ones.
        """
        tunnel = frozenset(self.every[-count:])
        return Cores(tunnel, frozenset(self.every) - tunnel or tunnel, self.every)


class Failed(Exception):
    """A contender did not come up, or did something else than we measure; with what it said."""


@dataclass(frozen=True)
class Running:
    """
    @ivar pid: the tunnel's first process.
    @ivar client: the load on it.
    @ivar output: what it has printed.
    """

    contender: Contender
    mode: Mode
    pid: int
    client: Client
    output: IO[bytes]

    def processorTime(self, quiet: float = 0.1) -> float:
        """
        Seconds used so far.

        @param quiet: seconds in which the last connections are put away before.
        """
        time.sleep(quiet)
        return accounting.processorTime(self.pid)

    def failure(self, problem: Exception) -> Failed:
        """@return: C{problem} as a failure of this contender."""
        self.output.seek(0)
        printed = self.output.read()[-2000:].decode(errors="replace")
        return Failed(f"{self.contender.name}, {self.mode} mode: {problem}\n{printed}")

    def anonymousMemory(self) -> int:
        """Bytes in use once it is quiet."""
        time.sleep(0.5)
        return accounting.memory(self.pid)["anonymous"]


def _freePort() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End C{process} and its children: asked, then told."""
    members = accounting.tree(process.pid)
    process.terminate()
    try:
        process.wait(_STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for member in members[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def _isUp(where: int | str) -> bool:
    """Does somebody listen at a port, or for messages at the path of a socket?"""
    try:
        if isinstance(where, str):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                sock.connect(where)
        else:
            socket.create_connection(("127.0.0.1", where), timeout=1).close()
    except OSError:
        return False
    return True


def _await(process: subprocess.Popen[bytes], isUp: Callable[[], bool], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < limit:
        if isUp():
            return
        time.sleep(0.02)
    raise Broken("it does not listen")


@contextlib.contextmanager
def _backend(tls: Credentials | None, speaking: Speaking) -> Iterator[int]:
    command = [sys.executable, "-m", speaking.program, *speaking.backend]
    if tls is not None:
        command += ["--tls", str(tls.chain), str(tls.key)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        _stop(process)


@contextlib.contextmanager
def started(
    contender: Contender,
    mode: Mode,
    credentials: Credentials,
    cores: Cores,
    speaking: Speaking = IMPLICIT,
    workers: int = 1,
) -> Iterator[Running]:
    """
    @param cores: of which there are as many for the tunnel as it is to have workers, or all.
    @return: a tunnel that has forwarded a connection, on its own core.
    @raise Failed: it did not come up, or broke in what was done with it.
    """
    context = None
    if contender.tls and mode == "server":
        context = ssl.create_default_context(cafile=str(credentials.ca))
        # For those who ask for it.
        context.load_cert_chain(credentials.chain, credentials.key)
    backendTLS = credentials if contender.tls and mode == "client" else None
    # A tunnel's TLS is its own: what pins ours must not be inherited.
    environment = {name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"}
    with (
        _backend(backendTLS, speaking) as backend,
        tempfile.TemporaryDirectory() as scratch,
        tempfile.TemporaryFile() as output,
    ):
        port = _freePort()
        setup = Setup(
            *(mode, port, backend, credentials, Path(scratch), speaking.dialect),
            demanding=speaking.demanding and mode == "server",
            workers=workers,
        )
        process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores.tunnel)), *contender.command(setup)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
        if contender.isPool:
            client: Client = PooledClient(backend, setup.poolSocket)
        else:
            client = speaking.client(port, context)
        running = Running(contender, mode, process.pid, client, output)
        try:
            where = setup.poolSocket if contender.isPool else port
            _await(process, partial(_isUp, where), contender.startSeconds)
            running.client.check()
            # Some pin their workers themselves.
            for member in accounting.tree(process.pid) if workers == 1 else ():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(member, cores.tunnel)
            yield running
        except (Broken, OSError, EOFError) as problem:
            raise running.failure(problem) from problem
        finally:
            _stop(process)
