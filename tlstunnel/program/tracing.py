"""
The settings for who looks for a fault: rows of the table in L{tlstunnel.program.options}.
"""

from __future__ import annotations

import os
from pathlib import Path

from tlstunnel.program.option import Option, Section
from tlstunnel.program.values import inFolder, text

#: What stands for the file that programs with NSS, curl and browsers write such secrets to.
FROM_ENVIRONMENT = "env"

_VARIABLE = "SSLKEYLOGFILE"


def keyLogFile(given: object) -> str:
    """
    Where the secrets go.

    @raise ValueError: to where the environment says, and it says nothing.
    """
    path = text(given)
    if path != FROM_ENVIRONMENT:
        return path
    path = os.environ.get(_VARIABLE, "")
    if not path:
        raise ValueError(f"is env, and {_VARIABLE} is not set; set it, or give a file")
    return path


def _keyLogInFolder(path: str, folder: Path) -> str:
    return path if path == FROM_ENVIRONMENT else inFolder(path, folder)


TRACING = (
    Option(
        "trace",
        Section.LOG,
        "append to this file what is said in clear before TLS, and which messages of TLS are "
        "exchanged, with their alerts",
        "Nothing secret is in it, and nothing of what TLS protects. It is for nobody else to read, "
        "ends at 16 MiB, and is opened anew at a reload. See the page about tracing.",
        argument="FILE",
        parse=text,
        default=None,
        place=inFolder,
    ),
    Option(
        "key-log",
        Section.LOG,
        "append to this file the keys of all connections, for Wireshark: whoever has it can read "
        "everything; env: the file that SSLKEYLOGFILE names",
        "That variable alone does nothing. There is a warning at every start. It is as private as, "
        "and ends like, the file of `trace`.",
        argument="FILE|env",
        parse=keyLogFile,
        default=None,
        place=_keyLogInFolder,
    ),
)
