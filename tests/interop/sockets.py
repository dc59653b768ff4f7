"""
Who listens on this machine.  Looked up, not tried: a connection would be a first visitor.

Knows Linux: ports are asked for by sock_diag(7), as all of /proc/net/tcp takes the kernel tens of
milliseconds to write when many connections were there before, and each test waits for many ports.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

_SOCK_DIAG = 4
_BY_FAMILY = 20
_ERROR = 2
_REQUEST_DUMP = 0x301
_LISTENING = 10


def listening(address: int | Path) -> bool:
    """
    Does a process listen there?

    @param address: a TCP port, or the path of a UNIX socket.
    """
    if isinstance(address, Path):
        sockets = map(str.split, Path("/proc/net/unix").read_text().splitlines())
        # One that is only bound has no flag yet.
        return any(each[7:] == [str(address)] and each[3] == "00010000" for each in sockets)
    try:
        return asked(address)
    except OSError:
        return listed(address)


def asked(port: int) -> bool:
    """
    Whether the kernel answers with a socket that listens on this port.

    @raise OSError: it does not take the question.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        states = 1 << _LISTENING
        question = struct.pack("=BBxxIH46x", family, socket.IPPROTO_TCP, states, socket.htons(port))
        header = struct.pack("=IHHII", 16 + len(question), _BY_FAMILY, _REQUEST_DUMP, 0, 0)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.send(header + question)
            _, kind = struct.unpack_from("=IH", kernel.recv(4096))
        if kind == _ERROR:
            raise OSError("no sock_diag")
        if kind == _BY_FAMILY:
            return True
    return False


def listed(port: int) -> bool:
    """
    Whether one is in the lists of all sockets, where the kernel cannot be asked.
    """
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            entries = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for entry in entries:
            fields = entry.split()
            if fields[1].endswith(f":{port:04X}") and fields[3] == f"{_LISTENING:02X}":
                return True
    return False
