"""
Where data connections are listened for: at a port of the system's choice, or at one of a range.

A range may belong to several tunnels, processes and other programs: nobody keeps a list of what is
free in it, as the system knows.  A port is taken only until its connection has come.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from errno import EADDRINUSE
from math import gcd
from random import SystemRandom

from tlstunnel.errors import LimitReached

#: Ports of a range that are tried for one data connection: enough to find one where few are free,
#: and no more than takes a moment.
MAX_TRIES = 256

# Who can guess the next port may be there before its client.
_random = SystemRandom()


def listenBeside(control: socket.socket, ports: range | None = None) -> socket.socket:
    """
    A socket that listens where a control connection was accepted.

    @param ports: those that it may have; by default the system chooses.
    @raise OSError: there is no descriptor, address or port for it.
    @raise LimitReached: none of C{ports} is free.
    """
    if ports is None:
        return _listen(control, 0)
    for port in _candidates(ports):
        try:
            return _listen(control, port)
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise
    raise LimitReached(f"all ports from {ports[0]} to {ports[-1]} are in use")


def _listen(control: socket.socket, port: int) -> socket.socket:
    sock = socket.socket(control.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if port:
            # Else it would rest for a minute after each data connection that we end.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place = control.getsockname()
        sock.bind((place[0], port, *place[2:]))
        sock.listen(2)
    except OSError:
        sock.close()
        raise
    return sock


def _candidates(ports: range) -> Iterator[int]:
    """
    Which of a range to try, in an order that nobody can guess; all of it where it is small.
    """
    size = len(ports)
    place, step = _random.randrange(size), _random.randrange(size)
    # Then each place is met before the first comes again.
    while gcd(step, size) != 1:
        step = _random.randrange(size)
    for _ in range(min(size, MAX_TRIES)):
        yield ports[place]
        place = (place + step) % size
