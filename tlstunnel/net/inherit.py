"""
Sockets that whoever started us listens at already: systemd's socket activation, and our own
workers, by the same convention (sd_listen_fds(3)).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from tlstunnel.address import InheritedAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.claim import Claim

#: The first descriptor that is handed down.
FIRST_DESCRIPTOR = 3

# How a unit gets what carries streams, or messages (systemd.socket(5)).
_DIRECTIVES = {
    socket.SOCK_STREAM: "ListenStream=",
    socket.SOCK_SEQPACKET: "ListenSequentialPacket=",
}

# Streams of whatever family.
_ANY = Claim(())

# Those that have become sockets of ours: nobody gets one twice, and closing it closes it.
_taken: set[int] = set()

# What was handed down, once we have looked: in a daemon we are another process later.
_offered: list[tuple[str, int]] = []


def descriptors(environment: Mapping[str, str], pid: int) -> list[tuple[str, int]]:
    """
    The descriptors that were handed down to process C{pid}, each with its name.

    @raise ConfigurationError: if the variables make no sense.
    """
    count = environment.get("LISTEN_FDS")
    if count is None or environment.get("LISTEN_PID") != str(pid):
        return []
    if not (count.isascii() and count.isdigit() and len(count) < 5):
        raise ConfigurationError(
            "LISTEN_FDS", f"is {count!r}, and not a number of sockets", "see who set it"
        )
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    if len(names) != int(count):
        names = [""] * int(count)
    return [(name, FIRST_DESCRIPTOR + number) for number, name in enumerate(names)]


def offered() -> list[tuple[str, int]]:
    """
    The descriptors that were handed down to this process, each with its name.

    @raise ConfigurationError: if the variables make no sense.
    """
    if not _offered:
        _offered.extend(descriptors(os.environ, os.getpid()))
    return _offered


def take(name: str, claim: Claim = _ANY) -> list[socket.socket]:
    """
    The sockets of that name, or all if it is empty.  Their paths, where they have some, are not
    ours to remove.

    @param claim: what they are for.
    @raise ConfigurationError: if there are none, they do not listen, or are of another kind.
    """
    subject = claim.subject(InheritedAddress(name))
    sockets = []
    for offer, descriptor in offered():
        if descriptor in _taken or (name and offer != name):
            continue
        try:
            os.set_inheritable(descriptor, False)
            sock = socket.socket(fileno=descriptor)
        except OSError as error:
            raise ConfigurationError(
                subject, f"descriptor {descriptor}: {error.strerror}", "see who handed it to us"
            ) from None
        _taken.add(descriptor)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.close()
            raise ConfigurationError(
                subject,
                f"descriptor {descriptor} does not listen",
                f"use {_DIRECTIVES[claim.kind]} with Accept=no in the unit",
            )
        if not claim.takes(sock):
            sock.close()
            place = "a path" if claim.isLocal else "an address, a port or a path"
            raise ConfigurationError(
                subject,
                f"descriptor {descriptor} is not {claim.wanted}",
                f"use {_DIRECTIVES[claim.kind]} with {place}",
            )
        sock.setblocking(False)
        sockets.append(sock)
    if not sockets:
        raise ConfigurationError(subject, "no such socket was handed down to us", _remedy())
    return sockets


def _remedy() -> str:
    """
    What to do where there is no socket.
    """
    if offered():
        names = ", ".join(sorted({name for name, _ in offered() if name})) or "none with a name"
        return f"there are: {names}"
    owner = os.environ.get("LISTEN_PID", "")
    if owner and owner != str(os.getpid()):
        return f"they are for process {owner[:20]!r}: start us without a shell in between"
    return "start us from a systemd socket unit"
