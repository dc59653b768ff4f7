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
from typing import Any

from tlstunnel.errors import LimitReached

#: Ports of a range that are tried for one data connection: enough to find one where few are free,
#: and no more than takes a moment.
MAX_TRIES = 256

#: How often it may happen for one data connection that another one has the port in between.
MAX_RACES = 4

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
        return _listening(control, None)
    for _ in range(MAX_RACES):
        try:
            return _listening(control, ports)
        except OSError as error:
            # Else two have bound one port at the same moment, and the other listens.
            if error.errno != EADDRINUSE:
                raise
    raise LimitReached(f"others were faster at {MAX_RACES} ports from {ports[0]} to {ports[-1]}")


def _listening(control: socket.socket, ports: range | None) -> socket.socket:
    sock = socket.socket(control.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if ports is not None:
            # Else a port would rest for a minute after each data connection that we end.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(sock, control.getsockname(), ports)
        sock.listen(2)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, place: tuple[Any, ...], ports: range | None) -> None:
    if ports is None:
        sock.bind((place[0], 0, *place[2:]))
        return
    for port in _candidates(ports):
        try:
            sock.bind((place[0], port, *place[2:]))
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise
        else:
            return
    raise LimitReached(f"all ports from {ports[0]} to {ports[-1]} are in use")


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
