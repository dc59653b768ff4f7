"""
How an app without TLS gives a server within TLS its password (caching_sha2_password and
sha256_password of MySQL)::

    A: id 1   login by caching_sha2_password    C: id 2   the same
    T: id 2   01 04                             S: id 3   01 04: the password itself, please
    A: id 3   02
    T: id 4   01 PEM                            the key is ours
    A: id 5   RSA(password 00 XOR scramble)     C: id 4   password 00
    T: id 6   00 OK                             S: id 5   00 OK

sha256_password has no question: its password, or the request for a key, is in the login, or the
answer to an AuthSwitchRequest.

What cannot be decrypted passes as it came, as what is encrypted for the server's own key does, and
is then a wrong password: nobody is told what was wrong with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.errors import Malformed
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.mysqlexchange import (
    REQUESTS,
    SHA256,
    Asking,
    Authentication,
    Holding,
    Telling,
)
from tlstunnel.protocols.mysqlfields import Fields, counted
from tlstunnel.protocols.mysqlkey import KEY_BYTES, PasswordKey, keys
from tlstunnel.protocols.mysqlpackets import (
    AUTH_MORE_DATA,
    CONNECT_WITH_DB,
    ERR,
    LENENC_CLIENT_DATA,
    PLUGIN_AUTH,
    packet,
    readPacket,
)
from tlstunnel.protocols.setting import Setting
from tlstunnel.protocols.weakly import weakly


def keyFor(setting: Setting) -> PasswordKey:
    """
    The key for the server behind a tunnel.
    """
    return keys.of(f"{setting.tunnel} {setting.remoteID} {setting.peerName!r}", setting.user)


def keyPacket(number: int, key: PasswordKey) -> bytes:
    """
    The answer to a request for a key.
    """
    return packet(number, bytes((AUTH_MORE_DATA,)) + key.public)


@dataclass(frozen=True)
class Proof:
    """
    With what a login proves who it is (Protocol::HandshakeResponse41).

    @ivar plugin: how; empty where that is not known.
    @ivar head: all before it.
    @ivar tail: all behind it.
    """

    plugin: bytes
    head: bytes
    value: bytes
    tail: bytes

    @classmethod
    def of(cls, login: bytes, capabilities: int) -> Proof:
        """
        That of C{login}, which is for the server to judge.
        """
        fields = Fields(login, 32)
        try:
            fields.string()
            start = fields.at
            value = fields.counted() if capabilities & LENENC_CLIENT_DATA else fields.short()
            end = fields.at
            if capabilities & CONNECT_WITH_DB:
                fields.string()
            plugin = fields.string() if capabilities & PLUGIN_AUTH else b""
        except Malformed:
            return cls(b"", login, b"", b"")
        return cls(plugin, login[:start], value, login[end:])

    def by(self, password: bytes) -> bytes:
        """
        The same login, by the password itself.
        """
        return self.head + counted(password) + self.tail


class Decryption(Authentication):
    """
    A login for which passwords are decrypted.

    @ivar key: with which.
    @ivar awaited: the number of the next packet, for the app.
    """

    _log = Logger()

    def __init__(self, plugin: bytes, salt: bytes, key: PasswordKey, reactor: Any = None) -> None:
        """
        @param reactor: whose thread has to be told of a key that is not made yet.
        """
        super().__init__(plugin, salt)
        self.key = key
        # The login has 1.
        self.awaited = 2
        self._reactor = reactor
        self._number = 0
        # Whoever keeps it waits for the key.
        self._wanted: Deferred[None] | None = None

    def whenThereIsAKey(self) -> Deferred[None]:
        """
        Wait for it.
        """
        if self.key.isMade:
            return succeed(None)
        return self.key.whenMade(self._reactor.callFromThread)

    def tellKey(self, number: int) -> None:
        """
        Answer the request for a key, as soon as there is one.
        """
        self._number = number
        tell = weakly(self._tellKey)
        self._wanted = self.whenThereIsAKey()
        self._wanted.addCallback(lambda _: tell()).addErrback(self._noKey)

    def _tellKey(self) -> None:
        self.tell(keyPacket(self._number, self.key))

    @classmethod
    def _noKey(cls, failure: Failure) -> None:
        """
        The program waits as long as its server does.
        """
        cls._log.failure("no key could be made for a password", failure)

    def decrypted(self, answer: bytes) -> bytes | None:
        """
        The password in C{answer}, if there is one.
        """
        if len(answer) != KEY_BYTES or not self.mayCount():
            return None
        return self.key.decrypted(answer, self.scramble)


async def finishLogin(
    app: Conversation, login: bytes, proof: Proof, authentication: Decryption
) -> tuple[bytes, int]:
    """
    Let C{app} give its password, where its login has asked for a key instead of that.

    @return: the login, and by how many packets the app is ahead.
    """
    if proof.plugin != SHA256:
        return login, 0
    encrypted, ahead = proof.value, 0
    if encrypted == REQUESTS[SHA256]:
        await authentication.whenThereIsAKey()
        app.write(keyPacket(2, authentication.key))
        encrypted, ahead = await readPacket(app, 3), 2
    password = authentication.decrypted(encrypted)
    return (login if password is None else proof.by(password)), ahead


class AppAnswers(Holding):
    """
    What an app says: where the server awaits a password, that.
    """

    def __init__(self, step: int, authentication: Decryption) -> None:
        super().__init__(step)
        self._authentication = authentication

    def header(self, header: bytes) -> bytes:
        """
        A packet begins.
        """
        self._authentication.awaited = header[3] + 1
        return super().header(header)

    def isToHold(self, size: int) -> bool:
        """
        Passwords that are encrypted, and what leads to one, have their lengths.
        """
        return self._authentication.isAnswered() and size in (1, KEY_BYTES)

    def whole(self, number: int, content: bytes) -> bytes:
        """
        What the server gets for it.
        """
        authentication = self._authentication
        if authentication.mayAsk and content == REQUESTS[authentication.plugin]:
            authentication.mayAsk, authentication.awaitsPassword = False, True
            self._step -= 2
            authentication.tellKey((number + 1) % 256)
            return b""
        password = authentication.decrypted(content)
        return packet((number + self._step) % 256, content if password is None else password)


class AppQuestions(Telling, Asking):
    """
    What an app hears: the server, and the key that it has asked for.

    A server may end the login while the app is still about to say something, or waits for a key.
    What the app awaits is an answer to what it has said last, and by its number alone it knows one.
    """

    authentication: Decryption

    # The header of a packet of which nothing else has come.
    _start = b""

    def header(self, header: bytes) -> bytes:
        """
        A packet begins; what it is, is not known yet.
        """
        passed = super().header(header)
        if not self._left:
            return self._numbered(passed, passed[3])
        self._start = passed
        return b""

    def payload(self, part: bytes) -> bytes:
        """
        An error has the number that the app awaits.
        """
        start, self._start = self._start, b""
        if start:
            isError = part[0] == ERR
            number = self.authentication.awaited if isError else start[3]
            start = self._numbered(start, number)
        return start + super().payload(part)

    def flush(self) -> bytes:
        """
        What does not become whole is as it came.
        """
        start, self._start = self._start, b""
        return start + super().flush()

    def _takeDue(self) -> bytes:
        """
        The key, if it is the time.
        """
        due = super()._takeDue()
        return self._numbered(due, due[3]) if due else due

    def _numbered(self, start: bytes, number: int) -> bytes:
        """
        A packet with the app's next number, and what follows.
        """
        self.authentication.awaited = number + 1
        return start[:3] + bytes((number % 256,)) + start[4:]
