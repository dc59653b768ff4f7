"""
What was tested, with which version: one JSON line for each L{record}, for L{tests.interop.matrix}
to show.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from tests.interop.clients import PACKAGES
from tests.interop.daemon import Daemon

#: The versions of what tests/interop/unpack unpacked, in a file for each Debian package.
UNPACKED = Path("/opt/tlstunnel-interop/versions")


def directory() -> Path:
    """
    Where the lines are kept: C{TLSTUNNEL_INTEROP}, else C{_interop} in the checkout, which git
    ignores.
    """
    chosen = os.environ.get("TLSTUNNEL_INTEROP")
    path = Path(chosen) if chosen else Path(__file__).resolve().parents[2] / "_interop"
    if not path.exists():
        path.mkdir(parents=True, exist_ok=True)
        (path / ".gitignore").write_text("*\n")
    return path


@cache
def version(peer: str) -> str:
    """
    The upstream version of a Debian package, a client program, a Python distribution, or a module
    of Python itself.
    """
    package = PACKAGES.get(peer, peer)
    query = ["dpkg-query", "-W", "-f", "${Version}", package]
    try:
        if (UNPACKED / package).exists():
            debian = (UNPACKED / package).read_text().strip()
        else:
            debian = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        if peer in sys.stdlib_module_names:
            return f"Python {platform.python_version()}"
        return metadata.version(peer)
    return debian.rpartition(":")[2].partition("-")[0].partition("+")[0]


def record(dialect: str, role: str, peer: str | Daemon, what: str) -> None:
    """
    Note that something works; to be called at the end of a passing test.

    @param dialect: its name in C{--starttls}; C{none} for TLS at once.
    @param role: C{client} or C{server}: the mode in which the tunnel ran.
    @param peer: the real program at the TLS end: a server of ours, a client program, or the name
        of a Python module.
    @param what: what was done, as a short noun phrase: C{mail sent}, C{entry found}.
    @raise ValueError: C{role} is neither.
    """
    if role not in ("client", "server"):
        raise ValueError(role)
    if isinstance(peer, Daemon):
        name, found = peer.title, version(peer.packages[0])
    else:
        name, found = peer, version(peer)
    line = json.dumps(
        {"dialect": dialect, "role": role, "peer": name, "version": found, "what": what}
    )
    with (directory() / "results.jsonl").open("a") as results:
        results.write(line + "\n")
