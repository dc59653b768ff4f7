"""
Encrypting passwords as MySQL does it where there is no TLS (sha2_password.cc): RSAES-OAEP with
SHA-1, over the password and a NUL, combined with the scramble.

For what programs encrypt there is one key for each process and its workers, since a program that
keeps it may meet another worker next time.  It is made in a thread, when the first tunnel needs it,
is in memory alone, and is gone with the process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from errno import ENOSYS
from itertools import cycle

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_public_key,
)

from tlstunnel.tls.nameless import Nameless

#: Which descriptor has the key, for workers.
VARIABLE = "TLSTUNNEL_MYSQL_KEY"

#: Bytes of the key, and so of all that is encrypted with it.
KEY_BYTES = 256

# What MySQL uses: it is no signature, and a collision is of no use against it.
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303


def combined(password: bytes, scramble: bytes) -> bytes:
    """
    C{password} XOR C{scramble}, which is repeated; and the other way round.
    """
    return bytes(each ^ key for each, key in zip(password, cycle(scramble), strict=False))


def sealed(password: bytes, scramble: bytes, pem: bytes) -> bytes:
    """
    C{password}, with its NUL, encrypted with somebody's key.

    @raise ValueError: says why that is not possible, and nothing of the password.
    """
    try:
        key = load_pem_public_key(pem)
    except (UnsupportedAlgorithm, ValueError):
        key = None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("no RSA key with which a password could be encrypted")
    try:
        return key.encrypt(combined(password, scramble), _OAEP)
    except ValueError:
        raise ValueError(f"a key of {key.key_size} bits is too short for the password") from None


def generate() -> rsa.RSAPrivateKey:
    """
    Make a key, which takes a tenth of a second and more.
    """
    return rsa.generate_private_key(65537, 8 * KEY_BYTES)


class CommonKey:
    """
    A key of several processes, the first of which makes it.
    """

    def __init__(self, file: Nameless) -> None:
        self._file = file

    def __call__(self) -> rsa.RSAPrivateKey:
        """
        The key; one for ourselves, unless there is a file.
        """
        if not self._file.isOpen:
            return generate()
        with self._file.alone() as descriptor:
            kept = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            if kept:
                found = load_der_private_key(kept, None)
                assert isinstance(found, rsa.RSAPrivateKey)
                return found
            key = generate()
            form = (Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            os.pwrite(descriptor, key.private_bytes(*form), 0)
            return key


class PasswordKey:
    """
    A key of our own.
    """

    def __init__(self, make: Callable[[], rsa.RSAPrivateKey] = generate) -> None:
        self._make = make
        self._made: Future[rsa.RSAPrivateKey] | None = None
        self._maker = 0

    def prepare(self) -> None:
        """
        Begin to make it, unless that is done.
        """
        # A process that was forked has no thread of its parent, who would be waited for in vain.
        if self._maker == os.getpid():
            return
        self._maker = os.getpid()
        thread = ThreadPoolExecutor(1, "tlstunnel-rsa")
        try:
            self._made = thread.submit(self._make)
        except RuntimeError:
            # The system has no room for one more.
            self._made = Future()
            self._made.set_result(self._make())
        thread.shutdown(wait=False)

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        self.prepare()
        assert self._made is not None
        # This seldom waits: it was begun before connections were accepted.
        return self._made.result()

    @property
    def public(self) -> bytes:
        """
        What programs are given of it.
        """
        key = self._key.public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def opened(self, sealed: bytes, scramble: bytes) -> bytes | None:
        """
        The password in C{sealed}, with the NUL at its end, as a server takes it inside TLS.

        @return: C{None} if it was not encrypted with this key and scramble, for whatever reason.
        """
        try:
            password = combined(self._key.decrypt(sealed, _OAEP), scramble)
        except ValueError:
            return None
        return password if password.endswith(b"\0") else None


def _inMemory() -> int:
    """
    A file that is on no disk.

    @raise OSError: the system has none.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError(ENOSYS, os.strerror(ENOSYS))
    return os.memfd_create("mysql-key")


#: Where this process and its workers have their key.
common = Nameless(VARIABLE, _inMemory)

#: That key.
process = PasswordKey(CommonKey(common))
