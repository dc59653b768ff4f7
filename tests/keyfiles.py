"""
What tests of keys in files, and of keys by reference, have in common.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.trial.unittest import SynchronousTestCase as TestCase

from tlstunnel.identity import pem, soundness
from tlstunnel.identity.issuer import NewKey, createIdentity
from tlstunnel.identity.keyreference import writeReference
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.tls import keycheck

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


def withRSA(pool: Pool, identity: Identity, bits: int = 2048) -> Path:
    """
    Put an identity into a pool that has an RSA key, of which nobody knows whether it is sound.

    @return: the file of the key.
    """
    key = rsa.generate_private_key(65537, bits)
    createIdentity(pool, identity, replace=True, makeKey=lambda: NewKey(key, key))
    return pool.directoryOf(identity) / "privkey.pem"


def noteExaminations(test: TestCase) -> list[threading.Thread]:
    """
    Note from now on in which thread it is found out whether an RSA key is sound.
    """
    threads: list[threading.Thread] = []

    def loaded(content: bytes, password: None, **given: bool) -> PrivateKeyTypes:
        key = load_pem_private_key(content, password, **given)
        if isinstance(key, rsa.RSAPrivateKey) and not given["unsafe_skip_rsa_key_validation"]:
            threads.append(threading.current_thread())
        return key

    def isSound(key: rsa.RSAPrivateKey) -> bool:
        threads.append(threading.current_thread())
        return asked(key)

    asked = keycheck.isSound
    test.patch(pem, "load_pem_private_key", loaded)
    test.patch(keycheck, "isSound", isSound)
    test.patch(soundness, "known", soundness.Soundness())
    return threads
