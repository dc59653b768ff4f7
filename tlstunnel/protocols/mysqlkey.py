"""
Encrypting passwords as MySQL does it where there is no TLS (sha2_password.cc): RSAES-OAEP with
SHA-1, over the password and a NUL, combined with the scramble.

For what programs encrypt there is one key for each process.  It is made in a thread, when the first
tunnel needs it, is written nowhere, and is gone with the process.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

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

    @raise ValueError: if that is no RSA key, or one that is too short.
    """
    try:
        key = load_pem_public_key(pem)
    except UnsupportedAlgorithm as error:
        raise ValueError("an unknown kind of key") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("no RSA key")
    return key.encrypt(combined(password, scramble), _OAEP)


class PasswordKey:
    """
    A key of our own.
    """

    def __init__(self) -> None:
        self._made: Future[rsa.RSAPrivateKey] | None = None

    def prepare(self) -> None:
        """
        Begin to make it, unless that is done.
        """
        if self._made is None:
            thread = ThreadPoolExecutor(1, "tlstunnel-rsa")
            self._made = thread.submit(rsa.generate_private_key, 65537, 8 * KEY_BYTES)
            thread.shutdown(wait=False)

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        self.prepare()
        assert self._made is not None
        # It takes a tenth of a second, and was begun before connections were accepted.
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


#: That of this process.
process = PasswordKey()
