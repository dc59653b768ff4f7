"""
Ports for programs that are started later.

Those that the system gives to whoever connects are left out: a port that was free a moment ago
could be one of them by then.  Nor can another process that runs tests come in between: each takes
its ports from a block of its own, whose first port it holds.
"""

from __future__ import annotations

import random
import socket

#: Below where Linux, BSD and macOS begin to give them out.
PORTS = range(20000, 32000)

BLOCK = 100

_held: list[socket.socket] = []
_left: list[int] = []


def _bound(port: int) -> socket.socket | None:
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        return None
    return probe


def _takeBlock() -> None:
    """
    Hold a block until this process ends, and shuffle its ports.
    """
    for first in random.sample(PORTS[::BLOCK], len(PORTS) // BLOCK):
        holder = _bound(first)
        if holder is not None:
            _held.append(holder)
            _left.extend(random.sample(range(first + 1, first + BLOCK), BLOCK - 1))
            return
    raise AssertionError(f"tests hold all ports from {PORTS[0]} to {PORTS[-1]}")


def freePort() -> int:
    """
    A loopback TCP port that nobody uses, never the same twice.
    """
    while True:
        if not _left:
            _takeBlock()
        port = _left.pop()
        probe = _bound(port)
        if probe is not None:
            probe.close()
            return port
