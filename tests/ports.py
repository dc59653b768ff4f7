"""
Ports for programs that are started later.

Those that the system gives to whoever connects are left out: a port that was free a moment ago
could be one of them by then.
"""

from __future__ import annotations

import random
import socket

#: Below where Linux, BSD and macOS begin to give them out.
PORTS = range(20000, 32000)

_taken: set[int] = set()


def freePort() -> int:
    """
    A loopback TCP port that nobody uses, never the same twice.
    """
    while True:
        port = random.choice(PORTS)
        if port in _taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _taken.add(port)
        return port
