"""
What the words for mail servers have in common: they hear what a server offers, tell it of the
client, and guard it from then on (L{tlstunnel.reveal.mailguard}).

::

    S: 220 mx.example.org ESMTP         read already, where the client was greeted before TLS
    T: EHLO tunnel.example.net
    S: 250-mx.example.org
    S: 250-XCLIENT NAME ADDR PORT LOGIN
    S: 250 XFORWARD NAME ADDR PORT PROTO HELO SOURCE
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tlstunnel.errors import BackendRefused
from tlstunnel.protocols.base import ServerRole
from tlstunnel.protocols.replies import isRefusal, readReplyLines
from tlstunnel.protocols.smtp import LMTPServer
from tlstunnel.reveal.mailanswers import Answers
from tlstunnel.reveal.mailguard import Guard
from tlstunnel.reveal.word import Introduction
from tlstunnel.reveal.xclient import command, forwardAttributes

#: What a server says that has no such command, or does not take it from us.
NOT_FOR_US = (b"500", b"501", b"502", b"503", b"504", b"550")


class MailIntroduction(Introduction):
    """
    Speaks to a mail server.

    @ivar isLMTP: whether it speaks LMTP.
    @ivar offers: the extensions that it offers, each with its parameters, all in upper case.
    @ivar greeting: with what the client is to be greeted; empty where it has been already.
    """

    isLMTP = False
    greeting = b""

    async def meet(self) -> None:
        """
        Hear the greeting, if that has not been heard, and what is offered.
        """
        if not self.isGreeted:
            await self.greetWith(await readReplyLines(self.backend))
        self.offers = await self._hello()

    async def greetWith(self, lines: Sequence[bytes]) -> None:
        """
        Take an answer for a greeting.

        @raise BackendRefused: it is none; a refusal is for the client to hear.
        """
        if lines[-1][:3] == b"220":
            self.greeting = _joined(lines)
            return
        role = self.client
        assert isinstance(role, ServerRole)
        if isRefusal(lines[-1][:3]):
            await role.turnAway(self._refuse(role, lines))
        raise BackendRefused("expected 220", lines[-1])

    async def _refuse(self, role: ServerRole, lines: Sequence[bytes]) -> None:
        if not self.isGreeted:
            role.write(_joined(lines))
        # RFC 5321, section 3.1: nothing else is said until the client quits.
        await role.refuseAll(lines[-1], bye=b"221 2.0.0 Bye")

    async def _hello(self) -> dict[bytes, list[str]]:
        """
        Say hello: where TLS came first, nobody has said which of both protocols it is.
        """
        role = self.client
        assert isinstance(role, ServerRole)
        hellos = [b"EHLO", b"LHLO"]
        if self.isGreeted:
            hellos = [b"LHLO"] if isinstance(role, LMTPServer) else [b"EHLO"]
        for hello in hellos:
            self.backend.sendLine(hello + b" " + role.setting.ourName)
            lines = await readReplyLines(self.backend)
            if lines[0].startswith(b"250"):
                self.isLMTP = hello == b"LHLO"
                break
        else:
            raise BackendRefused("expected 250", lines[-1], cause="no XCLIENT")
        offers = [line[4:].upper().decode("latin-1").split() for line in lines[1:]]
        return {words[0].encode("latin-1"): words[1:] for words in offers if words}

    def guard(self) -> None:
        """
        Let nobody else say what we have said.
        """
        self._filter(None)

    async def forward(self) -> None:
        """
        Tell it before each mail, by XFORWARD, and let nobody else say that; and tell it now, to see
        that it is taken.

        @raise BackendRefused: it is not.
        """
        taken = self.offers.get(b"XFORWARD", [])
        if "ADDR" not in taken:
            raise BackendRefused("it does not take XFORWARD from us", cause="no XFORWARD")
        self.backend.sendLine(self._forwarded(taken, b"EHLO", b""))
        lines = await readReplyLines(self.backend)
        if lines[-1][:3] != b"250":
            raise notTaken("XFORWARD", lines[-1])
        self._filter(partial(self._forwarded, taken))

    def _forwarded(self, taken: Sequence[str], hello: bytes, name: bytes) -> bytes:
        return command(b"XFORWARD", forwardAttributes(self.facts, hello, name), taken)

    def _filter(self, forward: Callable[[bytes, bytes], bytes] | None) -> None:
        guard = Guard(self.isLMTP, forward)
        self.toPlain = [guard]
        self.toNetwork = [Answers(guard)]

    async def converse(self) -> None:
        """
        Greet the client, if nobody has.
        """
        if not self.isGreeted:
            self.client.write(self.greeting)


def notTaken(verb: str, line: bytes) -> BackendRefused:
    """
    What it means that a server has offered such a command, and has refused it.

    @param line: the last one of its answer; 501 is about a value.
    """
    cause = "no IPv6" if line.startswith(b"501") else f"no {verb}"
    return BackendRefused(f"it does not take {verb} from us", line, cause)


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)
