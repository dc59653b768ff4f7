"""
What the words have in common that tell a mail server where its client is.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlstunnel.address import Address
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.facts import hostAndPort
from tlstunnel.reveal.word import Introduction


@dataclass(frozen=True)
class Part:
    """
    What is left to be done by a word that tells where the client is.

    @ivar tells: whether to tell it: nothing else does.  A backend that has had a header of the
        PROXY protocol takes us for the client, and does not believe what we say of others.
    @ivar guards: whether clients are to be kept from telling it: they speak to the backend before
        anybody is logged in.
    """

    tells: bool = True
    guards: bool = True

    @classmethod
    def of(cls, disclosure: Disclosure) -> Part:
        """
        Beside what else is told.
        """
        return cls(not disclosure.proxyOut, "login" not in disclosure.words)


class Origin(Introduction):
    """
    Tells the backend where the client is; C{known} is a L{Part}.
    """

    known: Part

    async def introduce(self) -> None:
        """
        Say it, and see that nobody else does.
        """
        if self.known.tells:
            await self.tell()
        if self.known.guards:
            self.guard()

    async def tell(self) -> None:
        """
        Be the first to say it.  A greeting that the client has not had stays to be read.

        @raise BackendRefused: we are not believed.
        """
        raise NotImplementedError

    def guard(self) -> None:
        """
        Look at all that the client says, so that it cannot say the same.
        """
        raise NotImplementedError

    @property
    def mayBeName(self) -> bool:
        """
        Whether the word may be there only to say which protocol it is, for C{login}.
        """
        return not (self.known.guards or self.isGreeted)


def xclient(peer: Address) -> bytes:
    """
    The command by which Dovecot's pop3 and Pigeonhole's sieve learn who is there.

    Versions before 2.4 do not know C{CLIENT-TRANSPORT}, and pass over what they do not know.
    """
    place = hostAndPort(peer)
    words = ["XCLIENT"]
    if place is not None:
        words += [f"ADDR={place[0]}", f"PORT={place[1]}"]
    return " ".join([*words, "CLIENT-TRANSPORT=TLS"]).encode()
