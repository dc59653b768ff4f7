"""
Starting a program: with the plaintext as its standard input and output, on one socket, as inetd
does it.

The process is started without a copy of ours (vfork(2)), since to copy the tables of a large one
takes many times as long as all the rest.  What a process has to set itself, such as its user, its
limits and its terminal, is done by L{tlstunnel.net.launcher}, which becomes the program then.

A program inherits nothing of us but its user, its umask and its limits: no descriptor beside the
first three, no signal that is ignored or blocked, no variable of the environment, and neither our
session nor our directory.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tlstunnel.address import ExecAddress

#: Descriptors that a program may have, unless it is told otherwise: we may have very many, and
#: some programs close all that there might be, or cannot count beyond.
USUAL_DESCRIPTORS = 1024

#: The columns and rows of a terminal.
TERMINAL_SIZE = "80x24"

# What Python runs, and how: with nothing of the environment or of other packages.
_LAUNCHER = Path(__file__).with_name("launcher.py")
_PYTHON_OPTIONS = ("-I", "-S", "-B")


@dataclass(frozen=True)
class User:
    """
    As whom a program runs.

    @ivar name: how the system calls him.
    @ivar groups: the numbers of all groups that he is in.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Launch:
    """
    How to start one program.

    @ivar address: what was asked for.
    @ivar path: where it is.
    @ivar user: as whom it runs; C{None} as we do.
    @ivar limits: the numbers of limits of setrlimit(2), and what they are to be.
    @ivar isOnTerminal: whether it has a terminal.
    """

    address: ExecAddress
    path: str
    user: User | None = None
    limits: tuple[tuple[int, int], ...] = ()
    isOnTerminal: bool = False

    @property
    def command(self) -> list[str]:
        """
        What is executed: the program, or what becomes it.
        """
        settings = []
        if self.user is not None:
            groups = ",".join(map(str, self.user.groups))
            settings.append(f"user={self.user.uid}:{self.user.gid}:{groups}")
        settings += [f"limit={number}:{value}" for number, value in self.limits]
        if self.isOnTerminal:
            settings.append(f"terminal={TERMINAL_SIZE}")
        if not settings:
            return [self.path, *self.address.words[1:]]
        launcher = [sys.executable, *_PYTHON_OPTIONS, str(_LAUNCHER)]
        return [*launcher, *settings, self.path, *self.address.words]


@dataclass(frozen=True)
class Launched:
    """
    A program that was started.

    @ivar pid: its process, which leads a group and a session of its own.
    @ivar sock: the other end of its standard input and output; non-blocking.
    @ivar complaints: a pipe that has what it says on standard error; non-blocking.
    """

    pid: int
    sock: socket.socket
    complaints: int


def start(launch: Launch, environment: Mapping[str, str]) -> Launched:
    """
    Start a program.

    @raise OSError: that cannot be.
    """
    ours, theirs = socket.socketpair()
    complaints: list[int] = []
    try:
        complaints += os.pipe()
        with _defaultSignals():
            process = subprocess.Popen(
                launch.command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=complaints[1],
                cwd="/",
                env={_encoded(key): _encoded(value) for key, value in environment.items()},
                start_new_session=True,
            )
    except BaseException:
        ours.close()
        for each in complaints[:1]:
            os.close(each)
        raise
    finally:
        theirs.close()
        for each in complaints[1:]:
            os.close(each)
    # We wait for it ourselves, and nothing else may.
    process.returncode = 0
    _limitDescriptors(process.pid, launch)
    ours.setblocking(False)
    os.set_blocking(complaints[0], False)
    return Launched(process.pid, ours, complaints[0])


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _limitDescriptors(pid: int, launch: Launch) -> None:
    """
    Let a program have the usual number of descriptors, and more if it asks for them.
    """
    number = resource.RLIMIT_NOFILE
    soft, hard = resource.getrlimit(number)
    isGreater = soft == resource.RLIM_INFINITY or soft > USUAL_DESCRIPTORS
    if isGreater and number not in dict(launch.limits):
        try:
            resource.prlimit(pid, number, (USUAL_DESCRIPTORS, hard))
        except OSError:
            # It is gone already, or somebody else's by its mode.
            pass


def _nothing(number: int, frame: object) -> None:
    """
    Ignore a signal, and let what is executed have it.
    """


@contextmanager
def _defaultSignals() -> Iterator[None]:
    """
    What is ignored stays so in a program that is executed, and what is taken does not: so take them
    meanwhile.
    """
    ignored: list[int] = []
    if threading.current_thread() is threading.main_thread():
        every = signal.valid_signals()
        ignored = [each for each in every if signal.getsignal(each) is signal.SIG_IGN]
    for each in ignored:
        signal.signal(each, _nothing)
    try:
        yield
    finally:
        for each in ignored:
            signal.signal(each, signal.SIG_IGN)
