"""
What both modes of mysql have in common where one end of a login takes its leg for secure, since it
is TLS, and the other does not: then a password has to be decrypted or encrypted on its way, and
that takes packets more on the plain leg::

    within TLS          on the plain leg
                        02                         with which key shall I encrypt it? (01 for
                                                   sha256_password)
                        01 PEM
    password 00         RSA(password 00 XOR scramble)

This knows the packets.  Who answers whom is in L{tlstunnel.protocols.mysqlapp}, for an app on the
plain leg, and L{tlstunnel.protocols.mysqlbackend}, for a backend.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from tlstunnel.interfaces import ISpontaneous
from tlstunnel.protocols.mysqlpackets import (
    AUTH_MORE_DATA,
    AUTH_NEXT_FACTOR,
    AUTH_SWITCH,
    Renumbered,
    Verdict,
)

CACHING_SHA2, SHA256 = b"caching_sha2_password", b"sha256_password"

#: With what a program asks for a key, by plugin.
REQUESTS = {CACHING_SHA2: b"\x02", SHA256: b"\x01"}

#: Passwords that are decrypted or encrypted on one connection at most: there are three factors.
MOST_PASSWORDS = 3

# Bytes of a question that are looked at: the name of a plugin, and a scramble.
_LONGEST_QUESTION = 256

_SCRAMBLE_BYTES = 20

# What caching_sha2_password says where a hash does not do.
_FULL = bytes((AUTH_MORE_DATA, 4))


class Authentication:
    """
    What is known of a login under way.

    @ivar plugin: the one by which it is.
    @ivar scramble: what the server has given the client to prove itself by.
    @ivar awaitsPassword: whether what the client says next is its password, or leads to it.
    @ivar mayAsk: whether it may ask for a key then.
    @ivar due: what we have to say on the plain leg ourselves, between two packets.
    @ivar wake: called when there is something due.
    """

    def __init__(self, plugin: bytes, salt: bytes) -> None:
        """
        @param salt: that in the greeting.
        """
        self.plugin = plugin
        self.scramble = salt[:_SCRAMBLE_BYTES]
        self.awaitsPassword = self.mayAsk = False
        self.due = b""
        self.wake: Callable[[], None] = lambda: None
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
        self.mayAsk = self.awaitsPassword

    def isAnswered(self) -> bool:
        """
        The client says something.

        @return: whether that is its password, or leads to it.
        """
        awaited, self.awaitsPassword = self.awaitsPassword, False
        return awaited

    @property
    def isSpent(self) -> bool:
        """
        Whether the next password would be one too many.
        """
        return self._left <= 0

    def mayCount(self) -> bool:
        """
        Count a password.

        @return: whether it is not one too many.
        """
        self._left -= 1
        return self._left >= 0

    def tell(self, message: bytes) -> None:
        """
        Have C{message} said on the plain leg.
        """
        self.due = message
        self.wake()


class Asking(Verdict):
    """
    What a server says: it decides about what may be answered.
    """

    def __init__(self, step: int, answers: Renumbered, authentication: Authentication) -> None:
        super().__init__(step, answers)
        self.authentication = authentication
        self._question = bytearray()

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
        self._question += part[: _LONGEST_QUESTION - len(self._question)]
        passed = super().payload(part)
        if not (self._left or self.done):
            self.authentication.heard(bytes(self._question))
        return passed


class Holding(Renumbered):
    """
    Looks at some packets as a whole.
    """

    # The header of one of them, and what has come of the rest.
    _start = _held = b""

    def isToHold(self, size: int) -> bool:
        """
        Whether a packet that begins is one of them.

        @param size: of its payload.
        """
        raise NotImplementedError

    def whole(self, number: int, content: bytes) -> bytes:
        """
        What is to be passed on for one.
        """
        raise NotImplementedError

    def header(self, header: bytes) -> bytes:
        """
        A packet begins.
        """
        passed = super().header(header)
        isToHold = self.isToHold(self._left)
        if not (isToHold and self._left):
            return passed
        self._start = header
        return b""

    def payload(self, part: bytes) -> bytes:
        """
        Hold a part of its payload.
        """
        passed = super().payload(part)
        if not self._start:
            return passed
        self._held += part
        if self._left:
            return b""
        number, content = self._start[3], self._held
        self._start = self._held = b""
        return self.whole(number, content)

    def flush(self) -> bytes:
        """
        What does not become whole is as it came.
        """
        held = self.renumbered(self._start) + self._held if self._start else b""
        self._start = self._held = b""
        return held + super().flush()


@implementer(ISpontaneous)
class Telling(Renumbered):
    """
    The direction of the plain leg, in which there may be something to say of our own.
    """

    authentication: Authentication

    @property
    def wake(self) -> Callable[[], None]:
        """
        See L{ISpontaneous}.
        """
        return self.authentication.wake

    @wake.setter
    def wake(self, wake: Callable[[], None]) -> None:
        self.authentication.wake = wake

    def feed(self, data: bytes) -> bytes:
        """
        Pass packets, and before or behind them what is due.
        """
        return self._takeDue() + super().feed(data) + self._takeDue()

    def _takeDue(self) -> bytes:
        """
        What is due, if it is the time.
        """
        authentication = self.authentication
        if not authentication.due or self.done or self._left or self._kept:
            return b""
        due, authentication.due = authentication.due, b""
        # The other end has said two packets less.
        self._step += 2
        return due
