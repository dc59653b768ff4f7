"""
The base of the real servers: what L{tests.interop.servers} has one module each for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.interop.certificates import ServerCertificate
from tests.interop.processes import Process, find, requireRoot
from tests.ports import freePort


class Daemon(Process):
    """
    A real server on loopback, its configuration and state in a directory of its own.

    A subclass fills the class attributes, writes its files in L{configure} and returns in
    L{command} what runs in the foreground.

    @cvar packages: the Debian packages it needs; the first one's version is the server's.
    @cvar title: what people call it.
    @cvar program: its executable: a name, or a path in which C{*} matches.
    @cvar services: a name for each TCP port that it listens on.
    @cvar user: the account it is started as by root; None where it changes by itself.
    @cvar needsRoot: nobody else can start it.

    @ivar certificates: copies that the daemon can read; None: plaintext only, no STARTTLS.
    @ivar ports: by the names of L{services}.
    @ivar port: the first of them.
    @ivar sockets: UNIX sockets to wait for as well.
    """

    packages: ClassVar[tuple[str, ...]]
    title: ClassVar[str]
    program: ClassVar[str]
    services: ClassVar[tuple[str, ...]] = ("main",)
    user: ClassVar[str | None] = None
    needsRoot: ClassVar[bool] = False

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        """
        @param directory: created here, readable by all.
        """
        super().__init__(directory)
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if certificates is not None:
            certificates = certificates.copied(directory / "tls", self.user)
        self.certificates = certificates
        self.ports: dict[str, int] = {service: freePort() for service in self.services}
        self.sockets: list[Path] = []

    @property
    def port(self) -> int:
        return self.ports[self.services[0]]

    @property
    def executable(self) -> str:
        """
        @raise SkipTest: it is not installed.
        """
        return find(self.program, self.packages[0])

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """
        Write a file in the daemon's directory.

        @param name: relative; directories in it are created.
        """
        path = self.directory / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def configure(self) -> None:
        """
        Write configuration and initial state below L{directory}.
        """

    def command(self) -> Sequence[str]:
        """
        The command that runs the server in the foreground.
        """
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """
        Variables that the command needs beside our own.
        """
        return {}

    def populate(self) -> None:
        """
        What can only be done once it listens: accounts, tables, entries.
        """

    def start(self) -> None:
        """
        Start the server and return when it listens and is populated.

        @raise SkipTest: it is not installed, or we may not start it.
        @raise AssertionError: it does not come up; carries its log.
        """
        self.executable  # noqa: B018
        if self.needsRoot:
            requireRoot(self.title)
        self.configure()
        if self.user is not None and os.geteuid() == 0:
            self._giveAway(self.user)
        self.spawn(
            self.command(), [*self.ports.values(), *self.sockets], self.user, self.environment()
        )
        try:
            self.populate()
        except BaseException:
            self.stop()
            raise

    def _giveAway(self, user: str) -> None:
        for path in (self.directory, *self.directory.rglob("*")):
            shutil.chown(path, user)
