"""
SMTP, and LMTP which differs from it in one verb (RFC 5321, RFC 3207; RFC 2033)::

    S: 220 mx.example.org ESMTP         1..n lines
    C: EHLO tunnel.example.net          in LMTP: LHLO
    S: 250-mx.example.org               1..n lines
    S: 250 STARTTLS
    C: STARTTLS
    S: 220 2.0.0 Ready to start TLS
    == TLS ==                           no new greeting; the client begins with EHLO
"""

from __future__ import annotations

from tlstunnel.errors import BackendRefused, Quit, ServerSpokeFirst
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.farewells import isReply
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.hiding import Commands, NumericLists
from tlstunnel.protocols.replies import expectReply, isRefusal, readReply

# Known commands that need TLS first: RFC 5321 and the registry of its extensions.
_NEED_TLS = frozenset(
    b"MAIL RCPT DATA BDAT AUTH VRFY EXPN HELP ETRN ATRN TURN SEND SAML SOML BURL".split()
)

# What begins a mail, or may come with a part of it (RFC 3030 for BDAT).
_MAIL = frozenset(b"MAIL SEND SOML SAML DATA BDAT".split())


class NoGreetingInside(Filter):
    """
    The first line inside TLS cannot start with 220: no first command is answered so, and the
    greeting of a spliced implicit-TLS port is (rule 10).
    """

    def feed(self, data: bytes) -> bytes:
        """
        Look at the first three bytes.
        """
        self._kept += data
        if len(self._kept) < 3 and b"220".startswith(self._kept):
            return b""
        if self._kept.startswith(b"220"):
            raise ServerSpokeFirst("inside TLS the server greeted a second time", bytes(self._kept))
        self.done = True
        return self.flush()


class SMTPClient(ClientRole):
    """
    Asks a remote SMTP server for TLS.
    """

    hello = b"EHLO"
    protocol = b"ESMTP"

    async def readGreeting(self) -> None:
        """
        RFC 5321, section 3.1: all its lines are awaited.
        """
        await expectReply(self, b"220")

    async def negotiate(self) -> None:
        """
        RFC 3207, section 4; whether STARTTLS is in the list decides nothing (rule 5).
        """
        self.sendLine(self.hello + b" " + self.setting.ourName)
        await expectReply(self, b"250")
        self.sendLine(b"STARTTLS")
        await expectReply(self, b"220")

    def appGreeting(self) -> bytes:
        """
        The greeting that the app awaits.
        """
        return b"220 " + self.setting.peerName + b" " + self.protocol + b"\r\n"

    def isFarewell(self, said: bytes) -> bool | None:
        """
        RFC 5321, section 3.8: a server that shuts down says so, also unasked.
        """
        return isReply(said, b"421")

    async def greetApp(self) -> None:
        """
        Greet, and be wary of a second greeting from inside.
        """
        self.toPlain.append(NoGreetingInside())
        await super().greetApp()


class SMTPServer(ServerRole):
    """
    Offers an SMTP client TLS, and nothing else before it.
    """

    protocol = b"ESMTP"

    async def negotiate(self) -> None:
        """
        RFC 3207, section 4; EHLO before STARTTLS is not insisted on.
        """
        name = self.setting.ourName
        self.sendLine(b"220 " + name + b" " + self.protocol)
        while True:
            line = await self.readCommand()
            verb, _, argument = line.partition(b" ")
            verb, argument = verb.upper(), argument.strip()
            if verb == b"STARTTLS" and not argument:
                self.goAhead(b"220 2.0.0 Ready to start TLS")
                return
            self.answer(verb, argument)

    farewell = b"421 4.7.0 Too many errors"

    def answer(self, verb: bytes, argument: bytes) -> None:
        """
        Answer any command but STARTTLS.
        """
        if verb == b"STARTTLS":
            self.refuseSyntax(b"501 5.5.4 Syntax: STARTTLS", self.farewell)
        elif verb in (b"EHLO", b"HELO", b"LHLO"):
            self.answerHello(verb, argument)
        elif verb in (b"NOOP", b"RSET"):
            self.sendLine(b"250 2.0.0 Ok")
        elif verb == b"QUIT":
            self.sendLine(b"221 2.0.0 Bye")
            raise Quit()
        elif verb in _NEED_TLS:
            # RFC 3207, section 4: the code for commands that must wait.
            self.refuse(b"530 5.7.0 Must issue a STARTTLS command first")
        else:
            self.refuseSyntax(b"500 5.5.2 Command not recognized", self.farewell)

    def answerHello(self, verb: bytes, argument: bytes) -> None:
        """
        RFC 5321, section 4.1.1.1.
        """
        if verb == b"LHLO":
            self.refuseSyntax(b"500 5.5.1 EHLO expected", self.farewell)
        elif not argument:
            self.refuseSyntax(b"501 5.5.4 Syntax: " + verb + b" hostname", self.farewell)
        elif verb == b"EHLO":
            self.sendLine(b"250-" + self.setting.ourName + b"\r\n250 STARTTLS")
        else:
            self.sendLine(b"250 " + self.setting.ourName)

    async def meetBackend(self) -> None:
        """
        The client has had its greeting: the backend's is swallowed, and so is its STARTTLS.
        """
        code, line = await readReply(self.plain)
        if code != b"220":
            if isRefusal(code):
                # RFC 5321, section 3.1: nothing else is said until the client quits.
                await self.turnAway(self.refuseAll(line, bye=b"221 2.0.0 Bye"))
            raise BackendRefused("expected 220", line)
        hiding = Extensions()
        self.toNetwork.append(hiding)
        self.toPlain.append(Commands(hiding))


class Extensions(NumericLists):
    """
    Hides STARTTLS in the replies to EHLO, until somebody is authenticated, or the first mail comes.
    """

    code = b"250"
    keyword = b"STARTTLS"
    listing = (b"EHLO", b"LHLO")
    conversing = b"AUTH"

    def asked(self, words: list[bytes]) -> None:
        """
        Await a reply, unless a mail may follow, in which lines are no commands.
        """
        if words and words[0].upper() in _MAIL and not self.isConversing:
            self.stop()
        super().asked(words)

    def status(self, code: bytes) -> None:
        """
        RFC 4954, section 4: 235 is success, and 334 a challenge, whose answer is no command.
        """
        if self.command != b"AUTH" or code[:1] in (b"4", b"5"):
            self.answered()
        elif code != b"334":
            self.stop()


class LMTPClient(SMTPClient):
    """
    Asks a remote LMTP server for TLS.
    """

    hello = b"LHLO"
    protocol = b"LMTP"


class LMTPServer(SMTPServer):
    """
    Offers an LMTP client TLS.
    """

    protocol = b"LMTP"

    def answerHello(self, verb: bytes, argument: bytes) -> None:
        """
        RFC 2033, section 4.1: LHLO instead of both others.
        """
        if verb != b"LHLO":
            self.refuseSyntax(b"500 5.5.1 LHLO expected", self.farewell)
        elif not argument:
            self.refuseSyntax(b"501 5.5.4 Syntax: LHLO hostname", self.farewell)
        else:
            self.sendLine(b"250-" + self.setting.ourName + b"\r\n250 STARTTLS")


smtp = Dialect(
    name="smtp",
    marksEnd=True,
    client=SMTPClient,
    server=SMTPServer,
    summary="mail transfer and submission (RFC 3207)",
    aliases=("submission",),
    ports=(25, 587),
    implicitPort=465,
    # Postfix's mynetworks, Exim's relay_from_hosts.
    favours={25: "send mail to all the world"},
)

lmtp = Dialect(
    name="lmtp",
    marksEnd=True,
    client=LMTPClient,
    server=LMTPServer,
    summary="local mail delivery (RFC 2033, RFC 3207)",
    ports=(24,),
)
