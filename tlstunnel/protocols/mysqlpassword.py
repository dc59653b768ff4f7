"""
How an app without TLS gives a server within TLS its password (caching_sha2_password and
sha256_password of MySQL)::

    A: id 1   login by caching_sha2_password    C: id 2   the same
    T: id 2   01 04                             S: id 3   01 04: the password itself, please
    A: id 3   02                                          with which key shall I encrypt it?
    T: id 4   01 PEM                                      with this one, which is ours
    A: id 5   RSA(password 00 XOR scramble)     C: id 4   password 00
    T: id 6   00 OK                             S: id 5   00 OK

sha256_password has no question: its password, or 01, the request for a key, is in the login, or the
answer to an AuthSwitchRequest.

What cannot be decrypted passes as it came, as with a server of its own key, and is then a wrong
password: nobody is told what was wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zope.interface import implementer

from tlstunnel.errors import Malformed
from tlstunnel.interfaces import ISpontaneous
from tlstunnel.protocols import mysqlkey
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.mysqlfields import Fields, counted
from tlstunnel.protocols.mysqlkey import KEY_BYTES
from tlstunnel.protocols.mysqlpackets import (
    AUTH_MORE_DATA,
    AUTH_NEXT_FACTOR,
    AUTH_SWITCH,
    CONNECT_WITH_DB,
    LENENC_CLIENT_DATA,
    PLUGIN_AUTH,
    Renumbered,
    Verdict,
    packet,
    readPacket,
)

CACHING_SHA2, SHA256 = b"caching_sha2_password", b"sha256_password"

#: With what a program asks for a key, by plugin.
REQUESTS = {CACHING_SHA2: b"\x02", SHA256: b"\x01"}

#: Passwords that are decrypted on one connection at most: there are three factors.
MOST_PASSWORDS = 3

#: Bytes of the longest question that is looked at: the name of a plugin, and a scramble.
LONGEST_QUESTION = 256

_SCRAMBLE_BYTES = 20

# What caching_sha2_password says where a hash does not do.
_FULL = bytes((AUTH_MORE_DATA, 4))


def keyPacket(number: int) -> bytes:
    """
    The answer to a request for a key.
    """
    return packet(number, bytes((AUTH_MORE_DATA,)) + mysqlkey.process.public)


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


class Authentication:
    """
    What is known of a login under way.

    @ivar plugin: the one by which it is.
    @ivar scramble: what the server has given the app to prove itself by.
    @ivar awaitsPassword: whether what the app says next is its password, or leads to it.
    @ivar due: what is to be told to the app, between two packets of the server.
    @ivar wake: called when there is something due.
    """

    def __init__(self, salt: bytes, proof: Proof) -> None:
        """
        @param salt: that in the greeting.
        """
        self.plugin = proof.plugin
        self.scramble = salt[:_SCRAMBLE_BYTES]
        self.awaitsPassword = False
        self.due = b""
        self.wake: Callable[[], None] = lambda: None
        self._mayAsk = False
        self._left = MOST_PASSWORDS

    def heard(self, question: bytes) -> None:
        """
        Take what the server has said, the beginning of which is C{question}.
        """
        if question[0] in (AUTH_SWITCH, AUTH_NEXT_FACTOR):
            self.plugin, _, data = question[1:].partition(b"\0")
            self.scramble = data[:_SCRAMBLE_BYTES].removesuffix(b"\0") or self.scramble
            self.awaitsPassword = self.plugin == SHA256
        else:
            self.awaitsPassword = self.plugin == CACHING_SHA2 and question == _FULL
        self._mayAsk = self.awaitsPassword

    def asksForKey(self, answer: bytes) -> bool:
        """
        Whether C{answer} of the app is the request for a key; it is one only once.
        """
        mayAsk, self._mayAsk = self._mayAsk, False
        return mayAsk and answer == REQUESTS[self.plugin]

    def opened(self, answer: bytes) -> bytes | None:
        """
        The password in C{answer}, if there is one.
        """
        self.awaitsPassword = False
        if len(answer) != KEY_BYTES or not self._left:
            return None
        self._left -= 1
        return mysqlkey.process.opened(answer, self.scramble)

    def tell(self, message: bytes) -> None:
        """
        Let the app hear C{message}.
        """
        self.due = message
        self.wake()


@implementer(ISpontaneous)
class Questions(Verdict):
    """
    What the server says, and the key that the app has asked for.
    """

    def __init__(self, step: int, answers: Renumbered, authentication: Authentication) -> None:
        super().__init__(step, answers)
        self._authentication = authentication
        self._question = bytearray()

    @property
    def wake(self) -> Callable[[], None]:
        """
        See L{ISpontaneous}.
        """
        return self._authentication.wake

    @wake.setter
    def wake(self, wake: Callable[[], None]) -> None:
        self._authentication.wake = wake

    def begin(self) -> None:
        """
        Nothing is known of it yet.
        """
        super().begin()
        self._question.clear()

    def payload(self, part: bytes) -> bytes:
        """
        Remember what may be of interest.
        """
        self._question += part[: LONGEST_QUESTION - len(self._question)]
        passed = super().payload(part)
        if not (self._left or self.done):
            self._authentication.heard(bytes(self._question))
        return passed

    def feed(self, data: bytes) -> bytes:
        """
        Pass packets, and what is due.
        """
        passed = super().feed(data)
        authentication = self._authentication
        if authentication.due and not (self.done or self._left or self._kept):
            passed += authentication.due
            authentication.due = b""
            self._step += 2
        return passed


class Answers(Renumbered):
    """
    What the app says: where the server awaits a password, that.
    """

    def __init__(self, step: int, authentication: Authentication) -> None:
        super().__init__(step)
        self._authentication = authentication
        # The header of a packet that is looked at as a whole, as the app has sent it, and the rest.
        self._header: bytes = b""
        self._answer = bytearray()

    def header(self, header: bytes) -> bytes:
        """
        A packet begins; passwords, and what leads to one, have their lengths.
        """
        passed = super().header(header)
        authentication = self._authentication
        if authentication.awaitsPassword and self._left in (1, KEY_BYTES):
            self._header = header
            return b""
        authentication.awaitsPassword = False
        return passed

    def payload(self, part: bytes) -> bytes:
        """
        Look at a part of its payload.
        """
        if not self._header:
            return part
        self._answer += part
        if self._left:
            return b""
        number, answer = self._header[3], bytes(self._answer)
        self._header = b""
        self._answer.clear()
        if self._authentication.asksForKey(answer):
            self._step -= 2
            self._authentication.tell(keyPacket((number + 1) % 256))
            return b""
        return packet((number + self._step) % 256, self._authentication.opened(answer) or answer)

    def flush(self) -> bytes:
        """
        What is not whole is no password.
        """
        held = self.renumbered(self._header) + self._answer if self._header else b""
        self._header = b""
        self._answer.clear()
        return held + super().flush()


async def finishLogin(
    app: Conversation, login: bytes, proof: Proof, authentication: Authentication
) -> tuple[bytes, int]:
    """
    Let C{app} give its password, where its login has asked for a key instead of that.

    @return: the login, and by how many packets the numbers have come closer.
    """
    if proof.plugin != SHA256:
        return login, 0
    sealed, packets = proof.value, 0
    if sealed == REQUESTS[SHA256]:
        app.write(keyPacket(2))
        sealed, packets = await readPacket(app, 3), 2
    password = authentication.opened(sealed)
    return (login if password is None else proof.by(password)), packets
