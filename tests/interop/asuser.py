"""
C{tlstunnel} as another user, who cannot read where Python and this checkout are: all that it may
need is loaded before it becomes that user; to be run by C{python -m tests.interop.asuser UID
ARGUMENTS}.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401
import os
import sys

import tlstunnel.agent.service
import tlstunnel.commands.identity
import tlstunnel.commands.run  # noqa: F401
from tlstunnel.__main__ import main
from tlstunnel.program.commandline import listProtocols


def become(uid: int) -> None:
    """
    Be that user, in no group of anybody else's.
    """
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


if __name__ == "__main__":
    listProtocols()
    become(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
