"""
C{pop3}: Dovecot's XCLIENT, for those in C{login_trusted_networks}::

    B: +OK [XCLIENT] ready
    T: XCLIENT ADDR=192.0.2.1 PORT=4711 CLIENT-TRANSPORT=TLS
    B: +OK Updated
"""

from __future__ import annotations

from tlstunnel.errors import BackendRefused
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.pop3 import indicator
from tlstunnel.reveal.lineguard import REFUSED, LineGuard
from tlstunnel.reveal.origin import Origin, Part, xclient
from tlstunnel.reveal.word import Word

# The second is what nginx says as Zimbra has it, which Dovecot takes for the same.
_OURS = (b"XCLIENT", b"XOIP")


async def readGreeting(backend: Conversation) -> bytes:
    """
    The greeting of a backend.

    @raise BackendRefused: it does not greet.
    """
    line = await backend.readLine()
    if indicator(line) != b"+OK":
        raise BackendRefused("expected +OK", line)
    return line + b"\r\n"


class Originating(Origin):
    """
    By XCLIENT.
    """

    async def tell(self) -> None:
        """
        See L{Origin}.
        """
        backend = self.backend
        greeting = b"" if self.isGreeted else await readGreeting(backend)
        if self.mayBeName and b"[XCLIENT]" not in greeting:
            backend.putBack(greeting)
            return
        backend.sendLine(xclient(self.facts.peer))
        line = await backend.readLine()
        # Dovecot says +OK also to those that it does not trust: "You are not from trusted IP".
        if indicator(line) != b"+OK" or b"not from trusted" in line:
            raise BackendRefused("expected +OK to XCLIENT", line, cause="no XCLIENT")
        backend.putBack(greeting)

    def guard(self) -> None:
        """
        See L{Origin}.
        """
        self.toPlain.append(XCLIENTGuard())


class XCLIENTGuard(LineGuard):
    """
    Lets no client say XCLIENT, ever: all that it says are lines.
    """

    def line(self, line: bytes) -> bytes:
        """
        A command, or what answers a challenge.
        """
        words = line.split(None, 1)
        return REFUSED if words and words[0].upper() in _OURS else line


pop3 = Word(
    name="pop3",
    summary="where the client is, to Dovecot (XCLIENT)",
    dialects=("pop3",),
    introduction=Originating,
    prepare=Part.of,
)
