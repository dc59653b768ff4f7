"""
The secrets that backends know us by: each in a file of its own, for nobody else to read.
"""

from __future__ import annotations

from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.pem import readFile

#: The most bytes of a secret, or of a user and a password.
LARGEST_SECRET = 1024


def readSecret(path: Path) -> str:
    """
    Read a file with one line.

    @raise ConfigurationError: it cannot be read, or can be by too many, or has something else.
    """
    content = readFile(path, private=True)
    line = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        secret = line.decode()
    except UnicodeDecodeError:
        secret = ""
    if not (0 < len(line) <= LARGEST_SECRET and secret.isprintable()):
        raise ConfigurationError(
            str(path),
            "does not have one line of printable characters (UTF-8)",
            "write the secret into its only line",
        )
    return secret


def readUser(path: Path) -> tuple[str, str]:
    """
    Read a file with one line C{user:password}.

    @raise ConfigurationError: as L{readSecret}.
    """
    user, _, password = readSecret(path).partition(":")
    if not (user and password):
        raise ConfigurationError(
            str(path), "does not have a line user:password", "write one into it"
        )
    return user, password
