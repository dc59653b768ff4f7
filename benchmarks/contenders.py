"""
What a contender is: a tunnel that can be started for a measurement, and what it can do.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.credentials import Credentials

Mode = Literal["server", "client"]
MODES: tuple[Mode, ...] = ("server", "client")

#: The tree that these benchmarks belong to.
CHECKOUT = Path(__file__).resolve().parents[1]

#: What is negotiated before TLS in some measurement.
DIALECTS = ("smtp", "lmtp", "imap", "pop3", "nntp", "sieve", "ftp", "postgresql", "mysql")


@dataclass(frozen=True)
class Setup:
    """
    What one tunnel has to do: accept at C{listen}, connect to C{backend}, ports on loopback.

    @ivar directory: where its configuration may be written.
    @ivar dialect: what leads up to TLS, one of L{DIALECTS}; empty where TLS begins at once.
    @ivar demanding: whether a server demands a certificate of its clients.
    @ivar workers: processes or threads that share the work; who always has many has them anyway.
    """

    mode: Mode
    listen: int
    backend: int
    credentials: Credentials
    directory: Path
    dialect: str = ""
    demanding: bool = False
    workers: int = 1

    @property
    def poolSocket(self) -> str:
        """@return: where a pool service is to listen."""
        return str(self.directory / "pool.sock")

    def write(self, name: str, content: str) -> str:
        """@return: the path of a new file of configuration."""
        path = self.directory / name
        path.write_text(content)
        return str(path)


@dataclass(frozen=True)
class Contender:
    """
    @ivar command: makes the command line of the tunnel in the foreground.
    @ivar version: a command whose output names the version by the first number in it.
    @ivar modes: what it can do; a plain relay does nothing for TLS and is run once.
    @ivar dialects: what it can negotiate in server mode, of L{DIALECTS}; smtp in both.
    @ivar idleLimit: at most so many idle connections; more would only show the machine's limits.
    @ivar forks: a process for each connection: it is given fewer of them.
    @ivar quick: whether it takes part in the quick form.
    @ivar isPool: whether it is a pool service: connections to the backend are handed over to it.
    @ivar startSeconds: how long it may take until it listens.
    """

    name: str
    command: Callable[[Setup], list[str]]
    version: tuple[str, ...]
    modes: tuple[Mode, ...] = MODES
    tls: bool = True
    dialects: frozenset[str] = frozenset()
    idleLimit: int = 10_000
    forks: bool = False
    quick: bool = True
    isPool: bool = False
    startSeconds: float = 15.0

    def canSpeak(self, dialect: str) -> bool:
        """@return: whether it knows C{dialect}; where it is empty, whether it knows any."""
        return dialect in self.dialects if dialect else bool(self.dialects)

    def installedVersion(self) -> str | None:
        """@return: the version, or C{None} where the program is missing."""
        try:
            done = subprocess.run(
                self.version,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except FileNotFoundError:
            return None
        found = re.search(r"\d+\.\d+[\w.+~-]*", done.stdout)
        return found.group() if found and not done.returncode else None


def python(tree: Path) -> tuple[str, ...]:
    """
    @return: a command line that starts this interpreter with the code in C{tree}, whatever is
        installed in it and whatever directory it is started in.
    """
    return ("env", f"PYTHONPATH={tree}", sys.executable, "-P")
