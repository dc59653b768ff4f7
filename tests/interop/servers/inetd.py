"""
inetd: starts a program for each connection, which is its standard input, output and error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.interop.harness import Daemon
from tests.interop.tunnel import ENVIRONMENT


class Inetd(Daemon):
    """
    That of OpenBSD, which starts tlstunnel.
    """

    packages = ("openbsd-inetd",)
    title = "inetd (OpenBSD)"
    program = "inetd"
    needsRoot = True

    def __init__(self, directory: Path, *words: str, runs: str = "root") -> None:
        """
        @param words: the options of tlstunnel.
        @param runs: as whom.
        """
        super().__init__(directory)
        self._words = words
        self._runs = runs

    def configure(self) -> None:
        """
        One line.
        """
        start = self.write("start", f'#!/bin/sh\nexec {sys.executable} -m tlstunnel "$@"\n', 0o755)
        words = " ".join(("tlstunnel", *self._words))
        line = f"127.0.0.1:{self.port} stream tcp nowait {self._runs} {start} {words}\n"
        self.write("inetd.conf", line)

    def command(self) -> Sequence[str]:
        """
        In the foreground.
        """
        return [self.executable, "-i", str(self.directory / "inetd.conf")]

    def environment(self) -> Mapping[str, str]:
        """
        What it gives to what it starts.
        """
        return ENVIRONMENT


class SocketActivate(Inetd):
    """
    systemd's stand-in for itself, as with C{Accept=yes}.
    """

    packages = ("systemd",)
    title = "systemd-socket-activate"
    program = "systemd-socket-activate"
    needsRoot = False

    def command(self) -> Sequence[str]:
        """
        In the foreground.
        """
        passed = [word for name in ENVIRONMENT for word in ("-E", name)]
        return [
            *(self.executable, "--inetd", "--accept", "-l", f"127.0.0.1:{self.port}", *passed),
            *(sys.executable, "-m", "tlstunnel", *self._words),
        ]

    def environment(self) -> Mapping[str, str]:
        """
        As above, and a path to find programs by.
        """
        return {**ENVIRONMENT, "PATH": os.environ["PATH"]}
