"""
How OpenSSL is configured where pyOpenSSL has no call for it: by a file that the library reads once,
when it is loaded.

So this has to be called first of all, and can do nothing where the library is loaded already: a
server then sends tickets that resume nothing, and knows two more groups.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_VARIABLE = "OPENSSL_CONF"
_BINDING = "cryptography.hazmat.bindings._rust"


def configure() -> None:
    """
    Load OpenSSL with our configuration, unless the administrator has given one, or it is too late.
    """
    if _VARIABLE in os.environ or _BINDING in sys.modules:
        return
    os.environ[_VARIABLE] = str(Path(__file__).with_suffix(".cnf"))
    try:
        __import__(_BINDING)
    finally:
        # Ours is not for the programs that we start.
        del os.environ[_VARIABLE]


def libraryVersion() -> str:
    """
    Which OpenSSL is loaded, as C{3.5.1}.
    """
    from OpenSSL import SSL

    words = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace").split()
    return words[1] if len(words) > 1 else "unknown"
