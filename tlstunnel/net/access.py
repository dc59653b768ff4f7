"""
Who may connect to a UNIX socket: the permissions of its path (unix(7)).
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
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

    def apply(self, path: str) -> None:
        """
        Give the socket at C{path} what is asked for; to be done before it listens.

        @raise ConfigurationError: there is no such user or group, or the system does not let us.
        """
        if self.owner is not None:
            uid = _number("socket-owner", self.owner, "user", pwd.getpwnam, 2)
            _change(f"`socket-owner` {self.owner}", os.chown, path, uid, -1)
        if self.group is not None:
            gid = _number("socket-group", self.group, "group", grp.getgrnam, 2)
            _change(f"`socket-group` {self.group}", os.chown, path, -1, gid)
        if self.mode is not None:
            _change(f"`socket-mode` {self.mode:04o}", os.chmod, path, self.mode)


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


def _change(subject: str, change: Callable[..., None], path: str, *values: int) -> None:
    try:
        change(path, *values)
    except OSError as error:
        raise ConfigurationError(
            subject,
            f"{path} does not get it: {error.strerror}",
            "whoever is not root gives a socket to nobody else, and to groups of their own only",
        ) from None
