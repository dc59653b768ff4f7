"""
What tests of keys by reference have in common.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.keyreference import writeReference
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

#: What a provider of OpenSSL has in it.
PROVIDER_ENTRY = b"OSSL_provider_init"

#: The address of a key, where it does not matter whether there is one.
URI = "pkcs11:token=mail;object=key?pin-source=file:/nonexistent/pin"


def fakeModule(path: Path, entry: bytes) -> Path:
    """
    A file that looks like a module for this system, and that nothing can load.
    """
    path.write_bytes(Path(sys.executable).read_bytes()[:20] + entry)
    path.chmod(0o755)
    return path


def refer(pool: Pool, identity: Identity, uri: str = URI) -> Path:
    """
    Put an identity into a pool, whose key is said to be in a token.

    @return: the file that says so.
    """
    createIdentity(pool, identity, replace=True)
    file = pool.directoryOf(identity) / "privkey.pem"
    file.write_bytes(writeReference(uri))
    return file
