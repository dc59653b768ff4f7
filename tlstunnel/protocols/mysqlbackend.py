"""
How a client within TLS gives a backend without TLS its password (caching_sha2_password and
sha256_password of MySQL)::

    C: id 2   login by caching_sha2_password    T: id 1   the same
    S: id 3   01 04                             B: id 2   01 04: the password itself, please
    C: id 4   password 00                       T: id 3   02
                                                B: id 4   01 PEM: the key is the backend's
                                                T: id 5   RSA(password 00 XOR scramble)
    S: id 5   00 OK                             B: id 6   00 OK

A backend on a UNIX socket takes that for secure by caching_sha2_password, not by sha256_password.
"""

from __future__ import annotations

from collections.abc import Collection

from tlstunnel.errors import Malformed
from tlstunnel.protocols.mysqlexchange import (
    REQUESTS,
    Asking,
    Authentication,
    Holding,
    Telling,
)
from tlstunnel.protocols.mysqlkey import encrypted
from tlstunnel.protocols.mysqlpackets import AUTH_MORE_DATA, packet

#: Bytes of the longest password, its NUL included: an encrypted one is no longer, nor is a hash.
MAX_PASSWORD_BYTES = 257

#: Bytes of the longest key, in PEM.
MAX_KEY_BYTES = 4096


class Pending(Authentication):
    """
    A login, with a password that the backend has not got yet.

    @ivar password: that.
    """

    password = b""

    def heard(self, question: bytes) -> None:
        """
        A backend that asks once more would get the password as it is.

        @raise Malformed: if it does.
        """
        super().heard(question)
        if self.awaitsPassword and self.isSpent:
            raise Malformed("more passwords are asked for than there are factors")


class ClientAnswers(Telling, Holding):
    """
    What a client says: where the backend awaits a password, a request for its key.
    """

    authentication: Pending

    def __init__(self, step: int, authentication: Pending, plugins: Collection[bytes]) -> None:
        """
        @param plugins: those by which a password has to be encrypted.
        """
        super().__init__(step)
        self.authentication = authentication
        self._plugins = plugins

    def isToHold(self, size: int) -> bool:
        """
        A password has its end, and more than that.
        """
        isAnswered = self.authentication.isAnswered()
        isTheirs = self.authentication.plugin in self._plugins
        return isAnswered and isTheirs and 1 < size <= MAX_PASSWORD_BYTES

    def whole(self, number: int, content: bytes) -> bytes:
        """
        What the backend gets for it.
        """
        authentication = self.authentication
        if content.endswith(b"\0"):
            authentication.mayCount()
            authentication.password = content
            content = REQUESTS[authentication.plugin]
        return packet((number + self._step) % 256, content)


class BackendQuestions(Holding, Asking):
    """
    What a backend says, but for its key.
    """

    authentication: Pending

    def isToHold(self, size: int) -> bool:
        """
        The answer to the request.
        """
        return bool(self.authentication.password) and size <= MAX_KEY_BYTES

    def whole(self, number: int, content: bytes) -> bytes:
        """
        What the client gets: nothing of a key.
        """
        authentication = self.authentication
        password, authentication.password = authentication.password, b""
        if content[0] != AUTH_MORE_DATA:
            return packet((number + self._step) % 256, content)
        try:
            said = encrypted(password, authentication.scramble, content[1:])
        except ValueError as error:
            raise Malformed(str(error)) from None
        self._step -= 2
        authentication.tell(packet((number + 1) % 256, said))
        return b""
