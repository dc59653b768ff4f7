"""
What to do where the system does not let us use a file: the command that helps, and no riddle.

It looks at modes and owners, knows nothing of what is in a file, and changes nothing.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=64)
def userName(uid: int) -> str:
    """
    What a user is called; the number, where the system knows no name.
    """
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return str(uid)


def ourName() -> str:
    """
    What the user is called as whom we run.
    """
    return userName(os.geteuid())


def toRead(path: Path) -> str:
    """
    What lets us read a file, or look into a directory, that we may not.

    No command makes it readable to more people than us: private keys are refused that others can
    read.
    """
    user = ourName()
    resolved = Path(os.path.realpath(path))
    found = _barring(resolved)
    if found is not None:
        right = "a+rx" if found == resolved else "a+x"
        return (
            f"we run as user {user}, whom the directory {found} keeps out: run "
            f"'chmod {right} {shlex.quote(str(found))}', or use another place"
        )
    file = shlex.quote(str(path))
    try:
        status = resolved.stat()
    except OSError:
        status = None
    if status is None or os.access(resolved, os.R_OK, effective_ids=True):
        # Something else forbids it, such as AppArmor, or it has changed meanwhile.
        return f"see with 'namei -l {file}' what keeps user {user} from it"
    if status.st_uid == os.geteuid():
        return f"run 'chmod u+r {file}'"
    group = _groupOf(status)
    if group:
        return f"run 'usermod -aG {group} {user}' to put user {user} into its group, and restart"
    return f"we run as user {user}: run 'chown {user} {file}'"


def toEnter(pool: Path) -> str:
    """
    What lets us use a directory that is a pool, and all in it; nothing where we may look into it.
    """
    if os.access(pool, os.X_OK, effective_ids=True):
        return ""
    user = ourName()
    return (
        f"run 'chown -R {user} {shlex.quote(str(pool))}' to give the whole of it to user {user}, "
        "as whom we run, or name another one"
    )


def toWrite(path: Path) -> str:
    """
    What lets us make C{path} in a pool, which we may not.
    """
    folder = next(each for each in path.absolute().parents if os.path.lexists(each))
    return f"let user {ourName()} write in {folder}, or give another `pool`"


def _barring(path: Path) -> Path | None:
    """
    The first directory on the way to C{path}, or at its end, that we cannot search; C{None} if
    there is none.
    """
    for each in (*reversed(path.parents), path):
        wanted = os.R_OK | os.X_OK if each == path else os.X_OK
        if os.path.isdir(each) and not os.access(each, wanted, effective_ids=True):  # noqa: PTH112
            return each
    return None


def _groupOf(status: os.stat_result) -> str:
    """
    The group that may read a file of root's, as C{ssl-cert} may on Debian; empty if there is none.
    """
    if status.st_uid != 0 or not status.st_gid or not status.st_mode & stat.S_IRGRP:
        return ""
    try:
        return grp.getgrgid(status.st_gid).gr_name
    except (KeyError, OSError):
        return ""
