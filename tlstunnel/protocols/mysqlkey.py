"""
Encrypting passwords as MySQL does it where there is no TLS (sha2_password.cc): RSAES-OAEP with
SHA-1, over the password and a NUL, combined with the scramble.

For what programs encrypt there are keys of our own, one for each server: it is the server who
chooses the scramble, and with a key for all one could have us decrypt what was recorded on the way
to another.  Workers have them in common, since a program that keeps one may meet another worker
next time.  Where programs of several users are served, each user has keys of its own.  A key is
made in a thread, before a tunnel accepts connections, or else when a program asks for it; it is in
memory alone, and is gone with the process.  No turn of the reactor ever waits for it.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from errno import ENOSYS
from hashlib import sha256
from io import BytesIO
from itertools import cycle
from threading import Lock
from weakref import WeakSet

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
from twisted.internet.defer import Deferred

from tlstunnel.protocols.mysqlmaker import Made, Make, Maker
from tlstunnel.protocols.weakly import weakly
from tlstunnel.tls.anonymousfile import AnonymousFile

#: Which descriptor has the keys, for workers.
VARIABLE = "TLSTUNNEL_MYSQL_KEYS"

#: Bytes of a key, and so of all that is encrypted with it.
KEY_BYTES = 256

#: Servers that have one, those of all users together.  Beyond that, who has most loses the one that
#: was not needed for longest.
MOST_KEYS = 1024

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
                        # One of ours has made it: to examine it holds up all threads.
                        found = load_der_private_key(
                            kept, None, unsafe_skip_rsa_key_validation=True
                        )
                        assert isinstance(found, rsa.RSAPrivateKey)
                        return found
            key = generate()
            kept = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            os.pwrite(descriptor, self._digest + len(kept).to_bytes(2, "big") + kept, size)
            return key


class PasswordKey:
    """
    A key of our own, for the passwords that programs send to one server.
    """

    _maker = Maker()

    def __init__(self, make: Make = generate, user: int | None = None) -> None:
        """
        @param user: whose programs it is for, where there are several users.
        """
        self._make = make
        self._user = user
        self._made: Made = Future()
        self._process = 0
        self._isAwaited = False
        self._waiting: WeakSet[Deferred[None]] = WeakSet()

    @property
    def isBegun(self) -> bool:
        """
        Whether it is made, or will be.
        """
        if self._process != os.getpid():
            return False
        return not self._made.done() or self._made.exception() is None

    @property
    def isMade(self) -> bool:
        """
        Whether there is nothing to wait for.
        """
        return self.isBegun and self._made.done()

    @property
    def mayBeKnown(self) -> bool:
        """
        Whether a program may have been given it by another worker, made or not made here.
        """
        return self.isBegun and self._user is None

    def prepare(self) -> None:
        """
        Begin to make it, unless that is done.
        """
        if not self.isBegun:
            self._process = os.getpid()
            self._isAwaited = False
            self._made = self._maker.begin(self._make)

    def whenMade(self, callFromThread: Callable[[Callable[[], None]], object]) -> Deferred[None]:
        """
        Wait for it, and begin to make it where that is not done.

        @param callFromThread: calls something in the thread of the reactor.
        @return: fires there once it is made, or fails as that did.  It can be cancelled; who lets
            go of it does not wait any longer.
        """
        made: Deferred[None] = Deferred(self._waiting.discard)
        self.prepare()
        if self._made.done():
            made.callback(None)
            return made
        self._waiting.add(made)
        if not self._isAwaited:
            self._isAwaited = True
            tell = weakly(self._tell)
            self._made.add_done_callback(lambda _: callFromThread(tell))
            self._maker.hurry(self._made, self._make, self._user)
        return made

    def _tell(self) -> None:
        """
        It is made, or cannot be.
        """
        if not self._made.done():
            # It could not be, and somebody has begun anew since: all wait for that.
            return
        waiting, self._waiting = tuple(self._waiting), WeakSet()
        error = self._made.exception()
        for each in waiting:
            if error is None:
                each.callback(None)
            else:
                each.errback(error)

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        self.prepare()
        return self._made.result()

    @property
    def public(self) -> bytes:
        """
        What programs are given of it; in a turn of the reactor it has to be made already.
        """
        key = self._key.public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def decrypted(self, encrypted: bytes, scramble: bytes) -> bytes | None:
        """
        The password in C{encrypted}, with the NUL at its end, as a server takes it inside TLS.

        @return: C{None} if it was not encrypted with this key and scramble, for whatever reason.
        """
        if not self.isMade:
            # Nobody has been given it.
            return None
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
    The keys of this process, one for each server and user.
    """

    def __init__(self, file: AnonymousFile) -> None:
        """
        @param file: where workers have them in common.
        """
        self._file = file
        self._kept: OrderedDict[tuple[int | None, str], PasswordKey] = OrderedDict()

    def of(self, server: str, user: int | None = None) -> PasswordKey:
        """
        The one for C{server}.

        @param user: whose programs it is for, where there are several users; they are served by one
            process.
        """
        found = self._kept.get((user, server))
        if found is None:
            make = CommonKey(self._file, server) if user is None else generate
            found = self._kept[user, server] = PasswordKey(make, user)
            if len(self._kept) > MOST_KEYS:
                self._forgetOne()
        self._kept.move_to_end((user, server))
        return found

    def _forgetOne(self) -> None:
        ((most, _),) = Counter(user for user, _ in self._kept).most_common(1)
        del self._kept[next(each for each in self._kept if each[0] == most)]


keys = PasswordKeys(common)
