"""
The programs among the remotes of a tunnel: whether they can be started, and as whom.

They are looked for when the tunnel is prepared, so that what is missing is found at the start, by a
check, and at a reload, and not by the first client.
"""

from __future__ import annotations

import os
import pwd
import resource
import shlex
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from tlstunnel.address import ExecAddress, Remote
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.permission import toRead
from tlstunnel.net import edges
from tlstunnel.net.launch import Launch, User
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.execution import LIMITS

#: What programs find others by, where we do not know it ourselves.
USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def programsOf(tunnel: Tunnel) -> list[ExecAddress]:
    """
    The programs that a tunnel starts.
    """
    return [each for each in tunnel.remotes if isinstance(each, ExecAddress)]


def checkPrograms(tunnel: Tunnel) -> None:
    """
    See that programs may be among the remotes of C{tunnel}.

    @raise ConfigurationError: they may not.
    """
    programs = programsOf(tunnel)
    if not programs:
        for key in tunnel.execution.given:
            raise ConfigurationError(
                f"`{key}`", "is for a program in `remote`, and there is none", "leave it out"
            )
        return
    first = programs[0]
    subject = f"`remote` {first}"
    if tunnel.mode.connectsTLS:
        raise ConfigurationError(
            subject,
            "is a program, which is started for clients that have come by TLS, with `server` alone",
            "give the address of a server",
        )
    for remotes in _lists(tunnel):
        if len(remotes) > 1 and any(isinstance(each, ExecAddress) for each in remotes):
            raise ConfigurationError(
                subject,
                "is a program, which nothing can stand in for, and there are other remotes",
                "give it alone",
            )
    if tunnel.dialect.opensChannels or tunnel.dialect.dialsEarly(tunnel.options):
        why = (
            "its data connections go to the address of a server"
            if tunnel.dialect.opensChannels
            else "its server speaks before the client is verified"
        )
        raise ConfigurationError(
            subject, f"is a program, and not for {tunnel.dialect.name}: {why}", "give an address"
        )


def _lists(tunnel: Tunnel) -> Iterator[tuple[Remote, ...]]:
    yield tunnel.remote
    for each in tunnel.names:
        yield each.remote or ()
        yield from (remote for _, remote in each.remotes)


def launches(tunnel: Tunnel) -> Mapping[ExecAddress, Launch]:
    """
    How to start the programs of a tunnel.

    @raise ConfigurationError: one is not there, or cannot be executed, or not as it is said.
    """
    programs = programsOf(tunnel)
    if not programs:
        return {}
    if not edges.AVAILABLE:
        raise ConfigurationError(
            f"`remote` {programs[0]}",
            "is a program, and this system has no epoll to hear of its end by",
            "let another program start it, and give its address",
        )
    user = _user(tunnel.execution.user, programs[0])
    limits = _limits(tunnel)
    return {
        each: Launch(each, _find(each), user, limits, tunnel.execution.isOnTerminal)
        for each in programs
    }


def _find(address: ExecAddress) -> str:
    """
    The path of a program.
    """
    name = address.words[0]
    subject = f"`remote` {address}"
    if "/" in name:
        if not Path(name).is_absolute():
            raise ConfigurationError(
                subject, f"{name} is not an absolute path", "begin it with a slash"
            )
        path: str | None = name
    else:
        path = shutil.which(name, path=os.environ.get("PATH", USUAL_PATH))
    # What is in PATH may be found by a relative folder of it.
    path = None if path is None else str(Path(path).absolute())
    mode = None if path is None else _modeOf(path, subject)
    if path is None or mode is None:
        raise ConfigurationError(
            subject,
            f"there is no program {name}",
            "check its spelling, and whether it is installed",
        )
    if not stat.S_ISREG(mode):
        raise ConfigurationError(subject, f"{path} is no file", "name a program")
    if not os.access(path, os.X_OK):
        raise ConfigurationError(
            subject,
            f"{path} may not be executed",
            f"run 'chmod +x {shlex.quote(path)}', or check the path",
        )
    return path


def _modeOf(path: str, subject: str) -> int | None:
    """
    What is at C{path}, if anything is.

    @raise ConfigurationError: we are not let to see.
    """
    try:
        return Path(path).stat().st_mode
    except PermissionError as error:
        raise ConfigurationError(
            subject,
            f"{path} cannot be reached: {error.strerror}",
            toRead(Path(path)),
        ) from None
    except OSError:
        return None


def _user(name: str, program: ExecAddress) -> User | None:
    """
    As whom programs run; C{None} as we do.
    """
    isRoot = os.geteuid() == 0
    if not name:
        if isRoot:
            raise ConfigurationError(
                "`exec-user`",
                f"is missing, and {program} would run as root",
                "give the user as whom it is to run, even if that is to be root",
            )
        return None
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise ConfigurationError(
            f"`exec-user` {name}", "there is no such user", "check its spelling, or add it"
        ) from None
    if entry.pw_uid == os.geteuid():
        return None
    if not isRoot:
        raise ConfigurationError(
            f"`exec-user` {name}",
            "is somebody else, and only root can start programs for others",
            "leave it out, or run the tunnel as root",
        )
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(groups))


def _limits(tunnel: Tunnel) -> tuple[tuple[int, int], ...]:
    """
    What programs may take, by the numbers of setrlimit(2).
    """
    found: dict[int, int] = {}
    for name, value in tunnel.execution.limits:
        number = LIMITS[name]
        subject = f"`exec-limit` {name}"
        if number in found:
            raise ConfigurationError(subject, "is given twice", "give it once")
        hard = resource.getrlimit(number)[1]
        isAbove = hard != resource.RLIM_INFINITY and (
            value == resource.RLIM_INFINITY or value > hard
        )
        if isAbove:
            raise ConfigurationError(
                subject,
                f"is above {hard}, which is all that we may have ourselves",
                "give less, or raise that (ulimit, or Limit...= in a unit)",
            )
        found[number] = value
    return tuple(found.items())
