"""
How OpenSSL is configured where pyOpenSSL has no call for it: by a file that the library reads once,
when it is loaded.

So this has to be called first of all, and can do nothing where the library is loaded already: a
server then sends tickets, also those that resume nothing, and knows two more groups.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_VARIABLE = "OPENSSL_CONF"
_BINDING = "cryptography.hazmat.bindings._rust"

#: How many tickets a server gives each client in TLS 1.3: the same for all contexts of a process.
_TICKETS = "TLSTUNNEL_TICKETS"
_NUMBER = "2"

_isOurs = False


def configure() -> None:
    """
    Load OpenSSL with our configuration, unless the administrator has given one, or it is too late.
    """
    global _isOurs  # noqa: PLW0603 - a process has the library once
    if _VARIABLE in os.environ or _BINDING in sys.modules:
        return
    _isOurs = True
    os.environ[_VARIABLE] = str(Path(__file__).with_suffix(".cnf"))
    try:
        __import__(_BINDING)
    finally:
        # Ours is not for the programs that we start.
        del os.environ[_VARIABLE]


def givesTickets() -> bool:
    """
    Whether servers of this process can let clients resume sessions of TLS 1.3.
    """
    return not _isOurs or os.environ.get(_TICKETS) == _NUMBER


def beginWithTickets() -> None:
    """
    Let servers of the processes that we start from now on give tickets.
    """
    os.environ[_TICKETS] = _NUMBER


def beginAnewWithTickets() -> None:
    """
    The same for this process, which begins once more: the library has read its configuration.
    Nothing may have been opened or taken yet that it needs.

    @raise OSError: the system does not let us.
    """
    beginWithTickets()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves


def libraryVersion() -> str:
    """
    Which OpenSSL is loaded, as C{3.5.1}.
    """
    from OpenSSL import SSL

    words = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace").split()
    return words[1] if len(words) > 1 else "unknown"
