"""
Who may connect to a UNIX socket: the permissions of its path (unix(7)).
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlstunnel.errors import ConfigurationError


@dataclass(frozen=True)
class SocketAccess:
    """
    What is asked for; what is not is up to the system, and its umask.

    @ivar mode: permissions, of which those to write are what it takes to connect.
    @ivar owner: a user, by name or number.
    @ivar group: a group, by name or number.
    """

    mode: int | None = None
    owner: str | None = None
    group: str | None = None

    def bind(self, sock: socket.socket, path: str) -> None:
        """
        Bind C{sock} to C{path}, with the permissions that are asked for from the beginning: were
        they changed later, somebody else's file could stand there by then.

        @raise OSError: it cannot be bound.
        """
        if self.mode is None:
            sock.bind(path)
            return
        before = os.umask(0o777 & ~self.mode)
        try:
            sock.bind(path)
        finally:
            os.umask(before)

    def numbers(self) -> tuple[int, int]:
        """
        Those of the owner and the group; -1 for what is not asked for.

        @raise ConfigurationError: there is no such user or group.
        """
        uid = gid = -1
        if self.owner is not None:
            uid = _number("socket-owner", self.owner, "user", pwd.getpwnam, 2)
        if self.group is not None:
            gid = _number("socket-group", self.group, "group", grp.getgrnam, 2)
        return uid, gid

    def give(self, path: str) -> None:
        """
        Give the socket that was bound to C{path} to whom is asked for; to be done before it
        listens.

        @raise ConfigurationError: there is no such user or group, or the system does not let us.
        """
        uid, gid = self.numbers()
        if self.owner is not None:
            _give(f"`socket-owner` {self.owner}", path, uid, -1)
        if self.group is not None:
            _give(f"`socket-group` {self.group}", path, -1, gid)
        found = stat.S_IMODE(Path(path).lstat().st_mode)
        if self.mode is not None and found != self.mode:
            raise ConfigurationError(
                f"`socket-mode` {self.mode:04o}",
                f"{path} has {found:04o} instead, as its directory or file system wants",
                "choose another directory",
            )


@dataclass(frozen=True)
class Permissions:
    """
    The permissions that a socket which listens already has at its path.
    """

    path: str
    mode: int
    uid: int
    gid: int

    @classmethod
    def of(cls, path: str) -> Permissions:
        """
        Those that it has now.

        @raise OSError: it is not there any more.
        """
        found = Path(path).lstat()
        return cls(path, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)

    def change(self, access: SocketAccess) -> None:
        """
        Let it have what C{access} asks for.

        @raise ConfigurationError: it cannot have that.
        """
        if access.mode is not None:
            try:
                _setMode(self.path, access.mode)
            except OSError as error:
                raise ConfigurationError(
                    f"`socket-mode` {access.mode:04o}",
                    f"{self.path} does not get it: {error.strerror}",
                    "see who has replaced it",
                ) from None
        access.give(self.path)

    def restore(self) -> None:
        """
        Let it have these again, as far as that is possible.
        """
        with suppress(OSError):
            os.chown(self.path, self.uid, self.gid, follow_symlinks=False)
        with suppress(OSError):
            _setMode(self.path, self.mode)


def _setMode(path: str, mode: int) -> None:
    """
    As chmod does it, but never for what a link leads to that somebody has put there meanwhile.
    """
    if os.chmod in os.supports_follow_symlinks:
        Path(path).chmod(mode, follow_symlinks=False)
        return
    # Linux knows no other way.
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        Path(f"/proc/self/fd/{descriptor}").chmod(mode)
    finally:
        os.close(descriptor)


def _number(key: str, name: str, kind: str, find: Callable[[str], Any], field: int) -> int:
    """
    The number of a user or a group.
    """
    if name.isascii() and name.isdigit() and len(name) < 10:
        return int(name)
    try:
        return int(find(name)[field])
    except (KeyError, ValueError):
        raise ConfigurationError(
            f"`{key}` {name}", f"there is no such {kind}", "check its spelling, or give a number"
        ) from None


def _give(subject: str, path: str, uid: int, gid: int) -> None:
    try:
        os.chown(path, uid, gid, follow_symlinks=False)
    except OSError as error:
        raise ConfigurationError(
            subject,
            f"{path} does not get it: {error.strerror}",
            "whoever is not root gives a socket to nobody else, and to groups of their own only",
        ) from None
