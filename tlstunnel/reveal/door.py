"""
What the C{login} of all protocols has in common.

A L{Door} is before a backend that nobody has logged in to: it plays the server for the client until
that wants to log in, and then the client for the backend.  Nothing that the client says reaches the
backend before; what it says behind its login waits until the backend has taken it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import TypeVar

from tlstunnel.errors import TooManyErrors, TunnelError
from tlstunnel.protocols.base import ServerRole
from tlstunnel.protocols.conversation import Conversation

T = TypeVar("T")

#: How often a client is refused, before it has to go.
MAX_REFUSALS = 10


class Door:
    """
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
