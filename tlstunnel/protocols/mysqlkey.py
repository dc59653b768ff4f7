"""
Encrypting passwords as MySQL does it where there is no TLS (sha2_password.cc): RSAES-OAEP with
SHA-1, over the password and a NUL, combined with the scramble.

For what programs encrypt there are keys of our own, one for each server: it is the server who
chooses the scramble, and with a key for all one could have us decrypt what was recorded on the way
to another.  Workers have them in common, since a program that keeps one may meet another worker
next time.  A key is made in a thread, when the first tunnel needs it, is in memory alone, and is
gone with the process.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from errno import ENOSYS
from hashlib import sha256
from io import BytesIO
from itertools import cycle
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeAlias

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

from tlstunnel.tls.anonymousfile import AnonymousFile

#: Which descriptor has the keys, for workers.
VARIABLE = "TLSTUNNEL_MYSQL_KEYS"

#: Bytes of a key, and so of all that is encrypted with it.
KEY_BYTES = 256

#: Servers that have one; then those that were needed last are kept.
MOST_KEYS = 1024

#: What makes a key.
Make: TypeAlias = Callable[[], rsa.RSAPrivateKey]

# What MySQL uses: it is no signature, and a collision is of no use against it.
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303


def combined(password: bytes, scramble: bytes) -> bytes:
    """
    C{password} XOR C{scramble}, which is repeated; and the other way round.
    """
    return bytes(each ^ key for each, key in zip(password, cycle(scramble), strict=False))


def encrypted(password: bytes, scramble: bytes, pem: bytes) -> bytes:
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

    # Locks of files keep out no threads.
    _lock = Lock()

    def __init__(self, file: AnonymousFile, name: str) -> None:
        """
        @param file: has all of them, each behind a digest of its name and its size.
        """
        self._file = file
        self._digest = sha256(name.encode()).digest()

    def __call__(self) -> rsa.RSAPrivateKey:
        """
        The key; one for ourselves, unless there is a file.
        """
        if not self._file.isOpen:
            return generate()
        with self._lock, self._file.alone() as descriptor:
            size = os.fstat(descriptor).st_size
            with BytesIO(os.pread(descriptor, size, 0)) as records:
                while digest := records.read(sha256().digest_size):
                    kept = records.read(int.from_bytes(records.read(2), "big"))
                    if digest == self._digest:
                        found = load_der_private_key(kept, None)
                        assert isinstance(found, rsa.RSAPrivateKey)
                        return found
            key = generate()
            kept = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            os.pwrite(descriptor, self._digest + len(kept).to_bytes(2, "big") + kept, size)
            return key


class Maker:
    """
    Makes keys in a thread, one after the other.
    """

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Future[rsa.RSAPrivateKey], Make]] = SimpleQueue()
        self._process = 0

    def begin(self, make: Make) -> Future[rsa.RSAPrivateKey]:
        """
        Have C{make} called, at some time.

        @return: its result; it can be cancelled by who does not want to wait for that.
        """
        # A process that was forked has no thread of its parent, and would wait in vain.
        if self._process != os.getpid():
            self._waiting = SimpleQueue()
            thread = Thread(target=self._work, args=(self._waiting,), daemon=True)
            with suppress(RuntimeError):  # as the system may have no room for a thread
                thread.start()
                self._process = os.getpid()
        made: Future[rsa.RSAPrivateKey] = Future()
        self._waiting.put((made, make))
        return made

    @staticmethod
    def _work(waiting: SimpleQueue[tuple[Future[rsa.RSAPrivateKey], Make]]) -> None:
        while True:
            made, make = waiting.get()
            if made.set_running_or_notify_cancel():
                try:
                    made.set_result(make())
                except Exception as error:  # noqa: BLE001 - whoever needs the key is told
                    made.set_exception(error)


class PasswordKey:
    """
    A key of our own, for the passwords that programs send to one server.
    """

    _maker = Maker()

    def __init__(self, make: Make = generate) -> None:
        self._make = make
        self._made: Future[rsa.RSAPrivateKey] = Future()
        self._process = 0

    def prepare(self) -> None:
        """
        Begin to make it, unless that is done.
        """
        if self._process != os.getpid():
            self._process = os.getpid()
            self._made = self._maker.begin(self._make)

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        self.prepare()
        # This seldom waits: it was begun before connections were accepted.
        if self._made.cancel():
            self._made = Future()
            self._made.set_result(self._make())
        return self._made.result()

    @property
    def public(self) -> bytes:
        """
        What programs are given of it.
        """
        key = self._key.public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def decrypted(self, encrypted: bytes, scramble: bytes) -> bytes | None:
        """
        The password in C{encrypted}, with the NUL at its end, as a server takes it inside TLS.

        @return: C{None} if it was not encrypted with this key and scramble, for whatever reason.
        """
        try:
            password = combined(self._key.decrypt(encrypted, _OAEP), scramble)
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
    return os.memfd_create("mysql-keys")


#: Where this process and its workers have their keys.
common = AnonymousFile(VARIABLE, _inMemory)


class PasswordKeys:
    """
    The keys of this process, one for each server.
    """

    def __init__(self, file: AnonymousFile) -> None:
        """
        @param file: where workers have them in common.
        """
        self._file = file
        self._kept: OrderedDict[str, PasswordKey] = OrderedDict()

    def of(self, server: str) -> PasswordKey:
        """
        The one for C{server}.
        """
        if server not in self._kept:
            self._kept[server] = PasswordKey(CommonKey(self._file, server))
            if len(self._kept) > MOST_KEYS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(server)
        return self._kept[server]


keys = PasswordKeys(common)
