"""
What all words of C{reveal} share: how a backend is told who is there, in its own protocol.

A L{Word} is the description of one, as a dialect has one; its L{Introduction} speaks, on one
connection, once TLS is up with a verified client and the backend is connected.  It has the two
conversations and the facts, and nothing else: dialling, limits and logging belong to
L{tlstunnel.tunnel.serverpair}.

What must never happen: that anything is told which was not proved, or that a client says what only
we may say, inside TLS, in whatever spelling, and is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tlstunnel.interfaces import IFilter
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.facts import Facts


class Introduction:
    """
    Tells one backend who is there.

    @ivar facts: what is known.
    @ivar known: what C{prepare} of the word has given.
    @ivar client: the conversation with the client, within TLS.
    @ivar backend: the conversation with the backend.
    @ivar isGreeted: whether the client has had a greeting already, and the backend's was read: it
        is, where the protocol has one and TLS began with STARTTLS.  Where not, the backend's
        greeting, if there is one, is still to be read, and it or another one to be sent.
    @ivar heard: which of these two is listened to in C{converse}: what goes wrong is about it.
    @ivar toPlain: filters of what the client says, in order.
    @ivar toNetwork: filters of what the backend says.
    """

    def __init__(
        self,
        facts: Facts,
        known: Any,
        client: Conversation,
        backend: Conversation,
        isGreeted: bool,
    ) -> None:
        self.facts = facts
        self.known = known
        self.client = client
        self.backend = backend
        self.isGreeted = isGreeted
        self.heard = client
        self.toPlain: list[IFilter] = []
        self.toNetwork: list[IFilter] = []

    async def introduce(self) -> None:
        """
        Speak to the backend.  The client has heard nothing yet and is not heard, so that another
        backend may be tried if this one fails.

        @raise TunnelError: if the backend does not take it; then nothing of the client's is sent.
            It is about the backend.
        """

    async def converse(self) -> None:
        """
        Speak with both, as long as it takes; what they say from then on passes the filters.

        @raise TunnelError: if the client is not to be served.  Whose it is need not be said: that
            of the one who is heard.
        """


@dataclass(frozen=True)
class Word:
    """
    One way to tell who is there.

    @ivar name: what C{reveal} takes.
    @ivar summary: what it does, in a line.
    @ivar dialects: for which it is, beside TLS from the first byte: the names of dialects.
    @ivar introduction: what speaks, or only filters.
    @ivar needsIdentity: whether there is nothing to tell of clients that have not proved who they
        are.
    @ivar conversationSeconds: how long C{converse} may take.
    @ivar alpn: what may be agreed on by ALPN, preferred first, and nothing else, as that would be
        a protocol that it cannot read; empty for anything.
    @ivar prepare: reads what it needs, when the tunnel is prepared; raises a
        L{ConfigurationError} if that is missing or wrong.
    """

    name: str
    summary: str
    dialects: tuple[str, ...]
    introduction: type[Introduction]
    needsIdentity: bool = False
    conversationSeconds: float = 60.0
    alpn: tuple[bytes, ...] = ()
    prepare: Callable[[Disclosure], Any] = lambda disclosure: None
