"""
What the C{login} of all protocols has in common.

A L{LoginDialogue} stands between a client and a backend to which nobody is logged in: it plays the
server until the client wants to log in, and then plays the client.  Nothing that the client says
before that reaches the backend; what it says behind its login waits until the backend has taken it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Collection
from typing import TypeVar

from tlstunnel.errors import TooManyErrors, TunnelError
from tlstunnel.protocols.base import ServerRole
from tlstunnel.protocols.conversation import Conversation

T = TypeVar("T")

#: How often a client is refused, before it has to go.
MAX_REFUSALS = 10

_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class LoginDialogue:
    """
    The dialogue of one protocol, on one connection.

    @ivar client: what speaks to the client.
    @ivar backend: what speaks to the backend.
    @ivar isGreeted: whether both have been greeted already.
    @ivar answer: how the backend has answered our login.
    """

    answer: bytes = b""

    def __init__(self, client: ServerRole, backend: Conversation, isGreeted: bool) -> None:
        self.client = client
        self.backend = backend
        self.isGreeted = isGreeted
        self._refusals = 0

    async def meet(self, isAsked: bool) -> Collection[bytes]:
        """
        Hear what the backend offers.  Its greeting stays to be read, by others that are to speak to
        it.

        @param isAsked: whether anybody wants to know.
        @return: the mechanisms of SASL that it has, in upper case.
        @raise TunnelError: it does not greet.
        """
        raise NotImplementedError

    async def greet(self) -> None:
        """
        Greet the client, if it awaits that, and forget how the backend did.
        """
        raise NotImplementedError

    async def hear(self) -> tuple[bytes, ...]:
        """
        Answer the client until it wants to log in.

        @return: the names that it has given; the last that is not empty is whom it wants to be.
        """
        raise NotImplementedError

    def refuse(self, why: str) -> None:
        """
        Tell it that it may not.

        @raise TooManyErrors: it was told often enough.
        """
        raise NotImplementedError

    async def enter(self, mechanism: bytes, response: bytes) -> bool:
        """
        Log in at the backend, and tell the client what came of it.

        @param response: what the backend has to know, not encoded.
        @return: whether the backend has taken it.
        """
        raise NotImplementedError

    async def heard(self, reading: Awaitable[T]) -> T:
        """
        What the client says, of which nothing is for the log: it may be a password.
        """
        try:
            return await reading
        except TunnelError as error:
            error.unquoted()
            raise

    def say(self, line: bytes) -> None:
        """
        Tell the client a line.
        """
        self.client.sendLine(line)

    def count(self) -> None:
        """
        Count something that was refused.

        @raise TooManyErrors: it was once too often.
        """
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            raise TooManyErrors("too many commands before a login")


def addArguments(form: re.Pattern[bytes], text: bytes, arguments: list[bytes]) -> bool:
    """
    Add the arguments that are in C{text}.

    @param form: one of them: in its first group what is quoted, in a second one, if it has that,
        what is not.
    @return: whether there is nothing else.
    """
    at = 0
    text = text.rstrip(b" ")
    while at < len(text):
        found = form.match(text, at)
        if found is None:
            return False
        at = found.end()
        quoted = found[1]
        arguments.append(found[2] if quoted is None else _ESCAPED.sub(rb"\1", quoted))
    return True
