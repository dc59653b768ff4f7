"""
C{tlstunnel} as another user, who cannot read where Python and this checkout are: all that it may
need, also a provider of OpenSSL, is loaded before it becomes that user.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from tlstunnel.tls import openssl

# What commands import when they run, and Python for names of hosts.
_LATER = (
    "encodings.idna",
    "tlstunnel.agent.service",
    "tlstunnel.commands.identity",
    "tlstunnel.commands.run",
)


def asUser(uid: int, gid: int | None = None) -> tuple[str, ...]:
    """
    What stands before a command of C{python -m tlstunnel} to let it run as that user.

    @param gid: the primary group; of the same number, if there is none.
    """
    who = f"{uid}:{uid if gid is None else gid}"
    return (sys.executable, "-m", "tests.interop.asuser", who)


def become(uid: int, gid: int | None = None) -> None:
    """
    Be that user, in no group but that one, or that of the same number.
    """
    os.setgroups([])
    os.setgid(uid if gid is None else gid)
    os.setuid(uid)


def main(who: str, *command: str) -> int:
    """
    Run C{command}, which is C{python -m tlstunnel ARGUMENTS}.

    @param who: the numbers of the user and the group.
    @return: its exit code.
    """
    openssl.configure()
    for name in _LATER:
        import_module(name)
    from tlstunnel.__main__ import main as run
    from tlstunnel.program.commandline import listProtocols

    listProtocols()
    become(*map(int, who.split(":")))
    return run(list(command[3:]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
