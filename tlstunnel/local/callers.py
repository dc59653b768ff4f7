"""
Which process it is that has connected to a UNIX socket of ours.

The system remembers it from when it connected (SO_PEERCRED, SO_PEERGROUPS; unix(7), socket(7)), so
what the process does later, and who gets its number after it, changes nothing.  Nothing else would
do: the user database has the groups that a user could have, and not those that a process has given
up, and what /proc has of a number may be another process by now.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from tlstunnel.identity.caller import Caller, isAnybodys, numberOfStrangers
from tlstunnel.local.refusals import Unidentified

# What Python has no name for (asm-generic/socket.h).
_SO_PEERGROUPS = 59

# struct ucred of unix(7): pid, uid, gid.
_CREDENTIALS = struct.Struct("=iII")

# Of a group; these numbers are unsigned.
_NUMBER = struct.Struct("=I")

#: Stands for the user of a program, if the system does not say who that is.
UNKNOWN = -1

#: The most bytes that Python asks the system for.
PYTHONS_MOST = 1024


def callerOf(sock: socket.socket) -> Caller:
    """
    Who has connected at the other end of C{sock}.

    @raise Unidentified: the system does not say it.
    """
    try:
        packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, gid = _CREDENTIALS.unpack(packed)
        groups = _groups(sock)
    except OSError as error:
        raise Unidentified(f"the system does not say who you are: {error.strerror}") from None
    if isAnybodys("user", uid):
        raise Unidentified(
            f"you may be anybody: who has no number in the user namespace of the service is "
            f"{uid} there; run the service outside of it, or the program as a user that is "
            "mapped and has another number"
        )
    # A group that may be any is none.
    known = frozenset((gid, *groups)) - {numberOfStrangers("group")}
    return Caller(uid, known, pid)


def _groups(sock: socket.socket) -> list[int]:
    try:
        packed = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, PYTHONS_MOST)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        packed = _many(sock)
    return [number for (number,) in _NUMBER.iter_unpack(packed)]


def _many(sock: socket.socket) -> bytes:
    """
    The groups of a process that has more of them than Python asks for.

    @raise OSError: it cannot be said which.
    """
    ask = ctypes.CDLL(None, use_errno=True).getsockopt
    # The first look is for how long they are.  They cannot change in between.
    length = ctypes.c_uint32(0)
    for _ in range(2):
        room = ctypes.create_string_buffer(length.value or 1)
        failed = ask(sock.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, room, ctypes.byref(length))
        if not failed:
            return room.raw[: length.value]
        code = ctypes.get_errno()
        if code != errno.ERANGE:
            break
    raise OSError(code, os.strerror(code))
