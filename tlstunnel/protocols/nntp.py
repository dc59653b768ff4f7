"""
NNTP (RFC 4642, RFC 3977)::

    S: 200 ready                        or 201: posting prohibited
    C: STARTTLS
    S: 382 Continue with TLS negotiation
    == TLS ==                           no greeting; the client asks for CAPABILITIES again

The app is always greeted with 200: whether it may post it learns from the answer to MODE READER or
POST, inside TLS.
"""

from __future__ import annotations

from tlstunnel.errors import BackendRefused, Quit
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.farewells import isLine
from tlstunnel.protocols.hiding import Commands, DottedLists
from tlstunnel.protocols.replies import Continuation, isRefusal, readReply, refusal

_GREETINGS = (b"200", b"201")

# 401 says so (RFC 3977, section 3.2.1), and is what INN answers; the others may mean it.
_WRONG_MODE = (b"401", b"500", b"502")

# RFC 3977, RFC 4643, RFC 4644 and RFC 2980.
_COMMANDS = frozenset(
    b"MODE AUTHINFO GROUP LISTGROUP LAST NEXT ARTICLE HEAD BODY STAT POST IHAVE DATE HELP NEWGROUPS"
    b" NEWNEWS LIST OVER HDR CHECK TAKETHIS SLAVE XOVER XHDR XPAT XPATH XGTITLE XINDEX XTHREAD"
    b" XREPLIC COMPRESS".split()
)


class NNTPClient(ClientRole):
    """
    Asks a remote NNTP server for TLS.
    """

    async def readGreeting(self) -> None:
        """
        RFC 3977, section 5.1.
        """
        await self._expect(*_GREETINGS)

    async def negotiate(self) -> None:
        """
        RFC 4642, section 2.2.  A server that changes its mode knows STARTTLS in one of them only
        (RFC 3977, section 3.4.2).
        """
        hint = "; --dialect-option mode-reader may help"
        if "mode-reader" in self.setting.options:
            hint = ""
            self.sendLine(b"MODE READER")
            await self._expect(*_GREETINGS)
        self.sendLine(b"STARTTLS")
        await self._expect(b"382", hint=hint)

    async def _expect(self, *codes: bytes, hint: str = "") -> None:
        code, line = await readReply(self, Continuation.NONE)
        if code not in codes:
            raise refusal(code, line, *codes, hint=hint if code in _WRONG_MODE else "")

    def isFarewell(self, said: bytes) -> bool | None:
        """
        RFC 3977, section 3.2.1: also unasked, before the server closes.
        """
        return isLine(said, b"400")

    def appGreeting(self) -> bytes:
        """
        The greeting that the app awaits.
        """
        return b"200 " + self.setting.peerName + b" ready\r\n"


class NNTPServer(ServerRole):
    """
    Offers an NNTP client TLS, and nothing else before it.
    """

    async def negotiate(self) -> None:
        """
        RFC 4642, section 2.2.
        """
        self.sendLine(b"200 " + self.setting.ourName + b" ready")
        while True:
            line = await self.readCommand()
            command, _, argument = line.partition(b" ")
            command, argument = command.upper(), argument.strip()
            if command == b"STARTTLS" and not argument:
                self.goAhead(b"382 Continue with TLS negotiation")
                return
            self.answer(command)

    def answer(self, command: bytes) -> None:
        """
        Answer any command but STARTTLS.
        """
        if command == b"CAPABILITIES":
            self.sendLine(b"101 Capability list:\r\nVERSION 2\r\nSTARTTLS\r\n.")
        elif command == b"QUIT":
            self.sendLine(b"205 bye")
            raise Quit()
        elif command in _COMMANDS:
            # RFC 3977, section 3.2.1: the code for what needs a protected connection.
            self.refuse(b"483 TLS required")
        elif command == b"STARTTLS":
            self.refuseSyntax(b"501 Syntax: STARTTLS", b"400 too many errors")
        else:
            self.refuseSyntax(b"500 What?", b"400 too many errors")

    async def meetBackend(self) -> None:
        """
        The client has had its greeting: the backend's is swallowed, and so is its STARTTLS.
        """
        code, line = await readReply(self.plain, Continuation.NONE)
        if code not in _GREETINGS:
            if isRefusal(code):
                await self.turnAway(self.refuseAll(line, bye=b"205 bye"))
            raise BackendRefused("expected 200 or 201", line)
        hiding = Capabilities()
        self.toNetwork.append(hiding)
        self.toPlain.append(Commands(hiding))


class Capabilities(DottedLists):
    """
    Hides STARTTLS in the replies to CAPABILITIES, until somebody is authenticated, or asks for
    anything that is answered with more than a line.
    """

    keyword = b"STARTTLS"
    conversing = b"AUTHINFO"

    # RFC 3977, RFC 4643 and RFC 4644: what ends a reply to these, and begins none of several lines.
    _SINGLE = frozenset(
        (
            *((b"MODE", code) for code in (b"200", b"201", b"203")),
            *((b"GROUP", b"211"), (b"STAT", b"223"), (b"NEXT", b"223"), (b"LAST", b"223")),
            *((b"DATE", b"111"), (b"AUTHINFO", b"381"), (b"CHECK", b"238")),
        )
    )

    def asked(self, words: list[bytes]) -> None:
        """
        Await a reply, unless an article follows (RFC 4644, section 2.5).
        """
        if words and words[0].upper() == b"TAKETHIS" and not self.isConversing:
            self.stop()
        super().asked(words)

    def status(self, line: bytes, code: bytes) -> None:
        """
        RFC 3977, section 3.2: 4xx and 5xx are single lines, whatever was asked.
        """
        if not self.command:
            self.stop()
        elif (self.command, code) in self._SINGLE or code[:1] in (b"4", b"5"):
            self.answered()
        elif self.command == b"CAPABILITIES" and code == b"101":
            self.listBegins()
        elif self.command != b"AUTHINFO" or code != b"383":
            # 383: a challenge, whose answer is no command.
            self.stop()


nntp = Dialect(
    name="nntp",
    marksEnd=True,
    client=NNTPClient,
    server=NNTPServer,
    summary="reading of news (RFC 3977, RFC 4642)",
    ports=(119, 433),
    implicitPort=563,
    alpn=(b"nntp",),
    options={"mode-reader": "send MODE READER before STARTTLS, as INN may need it"},
    onlyIn={"mode-reader": "client"},
)
